//! Another sealing key: everything is sealed anew, wherever a crash comes, and each key that is missing or wrong is told.

use crate::backups::{create, done, lose_the_folder, restore};
use crate::callers::{Caller, Door, Outcome, now};
use crate::journal;
use crate::place::Place;
use crate::server::{Server, audit_verify, lanyard, words};
use crate::vault::ScriptedVault;
use crate::vault::transit::Transit;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::runtime::Runtime;

const PERSONS_SEALED: &str = "[audit]\npeople = \"sealed\"\n[keys]\nrotation = \"automatic\"\n";
const FILES: [&str; 3] = ["new.key", "keyring.json", "people.keys"];

/// A stopped server in whose folder somebody got an identity.
async fn stopped() -> Place {
    let place = Place::with(PERSONS_SEALED);
    let server = Server::start(&place);
    let outcome = Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await;
    assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
    stop(server);
    place
}

fn stop(server: Server) {
    server.ask_to_end();
    let (status, said) = server.wait();
    assert!(status.success(), "{status}: {said}");
}

/// `[keys]` with these lines and no others.
fn keys(place: &Place, lines: &str) {
    let text = fs::read_to_string(place.config()).unwrap();
    let (before, rest) = text.split_once("[keys]\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    fs::write(place.config(), format!("{before}[keys]\n{lines}\n\n{after}")).unwrap();
}

const CHANGE: &str = "sealing_key_file = \"data/new.key\"\nformer_sealing_key_file = \"data/sealing.key\"";
const CHANGED: &str = "sealing_key_file = \"data/new.key\"";
const BEFORE: &str = "sealing_key_file = \"data/sealing.key\"";

/// What a start says that comes to nothing.
fn refused(place: &Place) -> String {
    let (status, said) = Server::spawn(&place.config()).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

fn changes(place: &Place) -> usize {
    journal::records(place).iter().filter(|record| record["entry"]["kind"] == "sealing_key_changed").count()
}

/// Who started jobs, as an auditor reads it.
fn users(place: &Place) -> String {
    let show = ["audit", "show", "--kind", "intent", "--config"];
    words(&lanyard().args(show).arg(place.config()).output().unwrap())
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_sealed_under_a_new_key_whatever_point_a_crash_comes_at() {
    let place = stopped().await;
    let before = place.file("before");
    copy(&place.data(), &before);
    keys(&place, CHANGE);
    stop(Server::start(&place));
    let after = place.file("after");
    copy(&place.data(), &after);
    for name in ["keyring.json", "people.keys"] {
        assert_ne!(fs::read(before.join(name)).unwrap(), fs::read(after.join(name)).unwrap(), "{name}");
    }
    assert_eq!(fs::metadata(after.join("new.key")).unwrap().permissions().mode() & 0o777, 0o600);
    // The order in which files become durable: a crash leaves so many of them.
    for durable in 0..=FILES.len() {
        fs::remove_dir_all(place.data()).unwrap();
        copy(&before, &place.data());
        for name in &FILES[..durable] {
            fs::copy(after.join(name), place.data().join(name)).unwrap();
        }
        keys(&place, CHANGE);
        stop(Server::start(&place));
        assert_eq!(changes(&place), 1, "after {durable} files");
        fs::remove_file(place.data().join("sealing.key")).unwrap();
        // The former one is not needed any more, whether the configuration still names it or not.
        for lines in [CHANGE, CHANGED] {
            keys(&place, lines);
            stop(Server::start(&place));
        }
        assert_eq!(changes(&place), 1);
        assert!(users(&place).contains("ada"), "{}", users(&place));
        done(&audit_verify(&place));
        fs::copy(before.join("sealing.key"), place.data().join("sealing.key")).unwrap();
        keys(&place, BEFORE);
        let said = refused(&place);
        assert!(said.contains("is sealed under the sealing key") && said.contains("wrong sealing key"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_done_is_refused_with_what_to_do_and_changes_nothing() {
    let place = stopped().await;
    let data = place.data();
    let untouched = || FILES.map(|name| fs::read(data.join(name)).ok());
    let before = untouched();
    let copied = || assert!(fs::copy(data.join("sealing.key"), data.join("new.key")).is_ok());
    let other = || {
        fs::write(data.join("new.key"), [7; 32]).unwrap();
        fs::set_permissions(data.join("new.key"), Permissions::from_mode(0o600)).unwrap();
    };
    let nothing = || {};
    let strange = || {
        fs::write(data.join("strange.key"), [9; 32]).unwrap();
        fs::set_permissions(data.join("strange.key"), Permissions::from_mode(0o600)).unwrap();
    };
    let cases: [(&str, &dyn Fn(), &str, &str); 6] = [
        ("no former key", &nothing, CHANGED, "new.key is missing, and the keyring needs it"),
        ("another key, and no former one", &other, CHANGED, "name its file as former_sealing_key_file in [keys]"),
        ("a copy of the former key", &copied, CHANGE, "holds the same key as"),
        (
            "a former key that is gone",
            &nothing,
            "sealing_key_file = \"data/new.key\"\nformer_sealing_key_file = \"data/gone.key\"",
            "new.key is missing, and the keyring needs it",
        ),
        (
            "a former key that is another's",
            &strange,
            "sealing_key_file = \"data/new.key\"\nformer_sealing_key_file = \"data/strange.key\"",
            "is made only after a former one that opens the keyring",
        ),
        (
            "one file for both",
            &nothing,
            "former_sealing_key_file = \"data/sealing.key\"",
            "keys.former_sealing_key_file: the file of the key that is to replace it",
        ),
    ];
    for (what, lay, lines, says) in cases {
        lay();
        keys(&place, lines);
        let said = refused(&place);
        assert!(said.contains(says), "{what}: {said}");
        drop(fs::remove_file(data.join("new.key")));
        assert!(untouched() == before, "{what}: a file was changed");
    }
    keys(&place, BEFORE);
    stop(Server::start(&place));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_the_former_key_is_restored_with_it_and_sealed_under_the_new_one() {
    let place = stopped().await;
    let server = Server::start(&place);
    let file = place.file("former.tar");
    done(&create(&place, &file));
    stop(server);
    keys(&place, "sealing_key_file = \"new.key\"\nformer_sealing_key_file = \"data/sealing.key\"");
    stop(Server::start(&place));
    let kept = lose_the_folder(&place).join("sealing.key");

    keys(&place, "sealing_key_file = \"new.key\"");
    let refused = restore(&place, &file, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("name its file as former_sealing_key_file"), "{}", words(&refused));
    let former = format!("sealing_key_file = \"new.key\"\nformer_sealing_key_file = \"{}\"", kept.display());
    keys(&place, &former);
    done(&restore(&place, &file, &[]));
    keys(&place, "sealing_key_file = \"new.key\"");
    stop(Server::start(&place));
    assert_eq!(changes(&place), 1);
    assert!(users(&place).contains("ada"), "{}", users(&place));
}

#[test]
fn a_backup_brings_the_wrapped_key_and_is_worth_nothing_without_its_place() {
    let runtime = Runtime::new().unwrap();
    let vault = runtime.block_on(ScriptedVault::with(vec![("transit", Arc::new(Transit::default()))]));
    let place = "[[keys.place]]\nname = \"vault\"\nin = \"vault-transit\"\n";
    let place = Place::with(&format!("[keys]\nsealing_place = \"vault\"\n{place}{}", vault.section()));
    let server = Server::start(&place);
    let file = place.file("a.tar");
    done(&create(&place, &file));
    stop(server);
    let typed = |words: &[&str]| lanyard().args(words).arg("--config").arg(place.config()).output().unwrap();
    let with_key =
        typed(&["backup", "create", "--with-sealing-key", "--to", &place.file("b.tar").display().to_string()]);
    assert!(words(&with_key).contains("a place wraps the sealing key"), "{}", words(&with_key));
    assert_eq!(with_key.status.code(), Some(2));

    fs::rename(place.data(), place.file("lost")).unwrap();
    fs::create_dir(place.data()).unwrap();
    fs::set_permissions(place.data(), Permissions::from_mode(0o700)).unwrap();
    vault.seal(true);
    let away = restore(&place, &file, &[]);
    assert_eq!(away.status.code(), Some(1));
    assert!(words(&away).contains("its operators must unseal it"), "{}", words(&away));
    vault.seal(false);
    done(&typed(&["backup", "verify", &file.display().to_string()]));
    done(&restore(&place, &file, &[]));
    assert!(!place.data().join("sealing.key").exists() && place.data().join("sealing.wrapped").exists());
    stop(Server::start(&place));
    vault.seal(true);
    let said = refused(&place);
    assert!(said.contains("its operators must unseal it") && said.contains("nothing is changed or lost"), "{said}");
    vault.seal(false);
    stop(Server::start(&place));
}
