//! A backup of a server at work, and what the server that is restored from it believes.

use crate::callers::{Caller, Door, Outcome, now};
use crate::journal;
use crate::place::Place;
use crate::server::{Server, audit_verify, lanyard, words};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use time::format_description::well_known::Rfc3339;

/// `lanyard backup create` at the admin socket of a running server.
pub(crate) fn create(place: &Place, file: &Path) -> Output {
    let socket = place.data().join("admin.sock");
    lanyard().args(["backup", "create", "--to"]).arg(file).arg("--admin-socket").arg(socket).output().unwrap()
}

/// `lanyard backup restore` into the place's data folder, with these words more.
pub(crate) fn restore(place: &Place, file: &Path, more: &[&str]) -> Output {
    let mut command = lanyard();
    command.args(["backup", "restore", "--reason", "the disk died"]).arg(file).arg("--config").arg(place.config());
    command.args(more).output().unwrap()
}

/// The data folder is gone, and an empty one is there with the sealing key, which was kept elsewhere.
pub(crate) fn lose_the_folder(place: &Place) -> PathBuf {
    let lost = place.file("lost");
    if lost.exists() {
        fs::remove_dir_all(&lost).unwrap();
    }
    fs::rename(place.data(), &lost).unwrap();
    Command::new("mkdir").args(["-m", "700"]).arg(place.data()).status().unwrap();
    fs::copy(lost.join("sealing.key"), place.data().join("sealing.key")).unwrap();
    lost
}

pub(crate) fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", words(output));
    words(output)
}

fn roots(bundle: &Value) -> Vec<Value> {
    bundle["keys"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_server_has_its_keys_and_takes_no_token_for_unused_that_may_have_been_used() {
    let place = Place::new();
    let server = Server::start(&place);
    let (door, file) = (Door::of(&place), place.file("a.tar"));
    let (agent, early) = (Caller::agent(&place), place.issuer.token(now()));
    assert!(matches!(agent.offer(&early, &door).await, Outcome::Issued(_)));
    let said = done(&create(&place, &file));
    assert!(said.contains("the sealing key is not in it"), "{said}");
    let late = place.issuer.token(now());
    assert!(matches!(Caller::curl().offer(&late, &door).await, Outcome::Issued(_)), "the server goes on");
    let before = door.bundle().await;
    server.kill();
    let stopped_at = now();
    lose_the_folder(&place);

    let said = done(&restore(&place, &file, &["--accept-tokens-since", &stopped_at.format(&Rfc3339).unwrap()]));
    assert!(said.contains("are refused, and sessions of before are over"), "{said}");
    assert!(said.contains("do it again: bans, revocations, erasures"), "{said}");
    let _server = Server::start(&place);
    let door = Door::of(&place);
    let after = door.bundle().await;
    assert_eq!(roots(&before), roots(&after), "other keys than before");
    assert!(after["spiffe_sequence"].as_u64() > before["spiffe_sequence"].as_u64().map(|one| one + 1000));
    for (token, whose) in [(&late, "used after the backup"), (&early, "of a session in the backup")] {
        let refused = Outcome::Refused("403 server_restored".to_owned());
        assert_eq!(Caller::curl().offer(token, &door).await, refused, "{whose}");
    }
    assert_eq!(agent.offer(&early, &door).await, Outcome::Refused("server_restored".to_owned()));
    // What the issuer's clock may be ahead by counts as before, too.
    let later = place.issuer.token(stopped_at + time::Duration::seconds(31));
    let mut fresh = Caller::curl().offer(&later, &door).await;
    while fresh == Outcome::Refused("401 token_not_yet_valid".to_owned()) {
        fresh = Caller::curl().offer(&later, &door).await;
    }
    assert!(matches!(fresh, Outcome::Issued(_)), "{fresh:?}");
    done(&audit_verify(&place));
    let records = journal::records(&place);
    let restored = records.iter().find(|record| record["entry"]["kind"] == "restored").unwrap();
    assert_eq!(restored["entry"]["say"], "the disk died");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_moves_to_another_machine_loses_nothing() {
    let place = Place::new();
    let server = Server::start(&place);
    let (door, file) = (Door::of(&place), place.file("a.tar"));
    let (agent, token) = (Caller::agent(&place), place.issuer.token(now()));
    assert!(matches!(agent.offer(&token, &door).await, Outcome::Issued(_)));
    server.ask_to_end();
    assert!(server.wait().0.success());
    let mut at_rest = lanyard();
    at_rest.args(["backup", "create", "--json", "--config"]).arg(place.config()).arg("--to").arg(&file);
    let told: Value = serde_json::from_slice(&at_rest.output().unwrap().stdout).unwrap();
    lose_the_folder(&place);
    let said = done(&restore(&place, &file, &["--accept-tokens-since", told["head"]["made_at"].as_str().unwrap()]));
    assert!(said.contains("nothing was lost"), "{said}");
    let _server = Server::start(&place);
    let door = Door::of(&place);
    assert!(matches!(agent.offer(&token, &door).await, Outcome::Issued(_)), "the session goes on");
    assert_eq!(Caller::curl().offer(&token, &door).await, Outcome::Replayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_server_at_work_never_restores_without_a_loss() {
    let place = Place::new();
    let server = Server::start(&place);
    let socket = place.data().join("admin.sock");
    let (door, file) = (Door::of(&place), place.file("a.tar"));
    let mut create = lanyard();
    create.args(["backup", "create", "--json", "--admin-socket"]).arg(socket).arg("--to").arg(&file);
    let told: Value = serde_json::from_slice(&create.output().unwrap().stdout).unwrap();
    let token = place.issuer.token(now());
    assert!(matches!(Caller::curl().offer(&token, &door).await, Outcome::Issued(_)), "used after the backup");
    server.kill();
    lose_the_folder(&place);
    let refused = restore(&place, &file, &["--accept-tokens-since", "2h"]);
    assert_eq!(refused.status.code(), Some(1), "{}", words(&refused));
    assert!(words(&refused).contains("name the time when it stopped"), "{}", words(&refused));
    let said = done(&restore(&place, &file, &["--accept-tokens-since", told["head"]["made_at"].as_str().unwrap()]));
    assert!(said.contains("are refused, and sessions of before are over"), "{said}");
    let _server = Server::start(&place);
    let again = Caller::curl().offer(&token, &Door::of(&place)).await;
    assert_eq!(again, Outcome::Refused("403 server_restored".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_of_one_record_however_much_is_written_meanwhile_and_delays_nobody_for_long() {
    let place = Place::with("segment_bytes = \"16KiB\"");
    let server = Server::start(&place);
    let door = Door::of(&place);
    for round in 0..4 {
        let file = place.file(format!("{round}.tar"));
        let mut command = lanyard();
        command
            .args(["backup", "create", "--to"])
            .arg(&file)
            .arg("--admin-socket")
            .arg(place.data().join("admin.sock"));
        let asked = std::thread::spawn(move || command.output());
        while !asked.is_finished() {
            let outcome = Caller::curl().offer(&place.issuer.token(now()), &door).await;
            assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
        }
        done(&asked.join().unwrap().unwrap());
        let whole = done(&lanyard().args(["backup", "verify"]).arg(&file).output().unwrap());
        assert!(whole.contains("is whole") && !whole.contains("covered by no signature"), "{whole}");
    }
    server.kill();
    lose_the_folder(&place);
    done(&restore(&place, &place.file("3.tar"), &[]));
    Server::start(&place).kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_house_has_can_open_a_backup_and_nothing_in_it_signs() {
    let place = Place::new();
    let server = Server::start(&place);
    let file = place.file("a.tar");
    done(&create(&place, &file));
    let again = create(&place, &file);
    assert_eq!(again.status.code(), Some(2), "{}", words(&again));
    drop(server);
    let folder = place.file("looked-into");
    fs::create_dir(&folder).unwrap();
    assert!(Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&folder).status().unwrap().success());
    let sums = Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&folder).status();
    assert!(sums.unwrap().success());
    let names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name == "sealing.key" || name == "door-ca-key.pem"), "{names:?}");
    let key = fs::read(place.data().join("sealing.key")).unwrap();
    let bytes = fs::read(&file).unwrap();
    assert!(!bytes.windows(key.len()).any(|window| window == key));
    assert!(!String::from_utf8_lossy(&bytes).contains("PRIVATE KEY"));

    let whole = place.file("whole.tar");
    let asked = ["backup", "create", "--with-sealing-key", "--config"];
    let said = done(&lanyard().args(asked).arg(place.config()).arg("--to").arg(&whole).output().unwrap());
    assert!(said.contains("whoever has this file has your authority"), "{said}");
    assert!(fs::read(&whole).unwrap().windows(key.len()).any(|window| window == key));
    lose_the_folder(&place);
    fs::remove_file(place.data().join("sealing.key")).unwrap();
    let without = restore(&place, &file, &[]);
    assert_eq!(without.status.code(), Some(1));
    assert!(words(&without).contains("a backup does not hold it: put it there"), "{}", words(&without));
    done(&restore(&place, &whole, &[]));
    Server::start(&place).kill();
}
