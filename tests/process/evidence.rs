//! What an auditor does with copies of data folders, the key, and checkpoints that were sent away.

use crate::callers::{Caller, Door, Outcome, now};
use crate::place::Place;
use crate::server::{Server, audit_verify, lanyard, words};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// A replica that gave out some identities and was stopped; its checkpoints go to this folder too.
async fn replica(name: &str, elsewhere: &Path, identities: usize) -> Place {
    let folder = elsewhere.display();
    let place = Place::with(&format!(
        "segment_bytes = \"2KiB\"\n[checkpoints]\nfolder = \"{folder}\"\nreplica = \"{name}\"\nrecords = \"3\""
    ));
    let server = Server::start(&place);
    for _ in 0..identities {
        let outcome = Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await;
        assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
    }
    server.ask_to_end();
    assert!(server.wait().0.success());
    place
}

fn verify(places: &[&Place], elsewhere: &Path, more: &[&str]) -> Output {
    let mut command = lanyard();
    command.args(["audit", "verify", "--checkpoints"]).arg(elsewhere).args(more);
    for place in places {
        command.arg("--data-dir").arg(place.data());
    }
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_judges_every_replica_and_names_what_is_missing() {
    let elsewhere = TempDir::new().unwrap();
    let (one, two) = (replica("one", elsewhere.path(), 2).await, replica("two", elsewhere.path(), 3).await);
    let whole = verify(&[&one, &two], elsewhere.path(), &[]);
    assert!(whole.status.success(), "{}", words(&whole));
    for name in ["one", "two"] {
        let sentence = format!("ci.example.org/-/lanyard/journal/{name} is whole");
        assert!(words(&whole).contains(&sentence), "{sentence}: {}", words(&whole));
    }

    let missing = verify(&[&two], elsewhere.path(), &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(words(&missing).contains("journal/one, and none of these journals is"), "{}", words(&missing));

    // Cut at a line, with everything in the folder that could tell.
    let segment = one.segments().pop().unwrap();
    match fs::read_to_string(&segment).unwrap().trim_end().rsplit_once('\n') {
        Some((kept, _last)) => fs::write(&segment, kept.to_owned() + "\n").unwrap(),
        None => fs::remove_file(&segment).unwrap(),
    }
    fs::remove_file(one.data().join("checkpoint")).unwrap();
    fs::remove_dir_all(one.data().join("index")).unwrap();
    let alone = audit_verify(&one);
    assert!(alone.status.success(), "from the folder alone nobody can know: {}", words(&alone));
    let cut = verify(&[&one, &two], elsewhere.path(), &["--json"]);
    assert_eq!(cut.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&cut.stdout).unwrap();
    let [first, second] = [&told["journals"][0], &told["journals"][1]];
    assert_eq!((&first["whole"], &second["whole"]), (&Value::Bool(false), &Value::Bool(true)), "{told}");
    assert!(first["why"].as_str().unwrap().contains("its end was cut off"), "{told}");
    let (status, said) = Server::spawn(&one.config()).wait();
    assert_eq!(status.code(), Some(1), "a server that finds its own checkpoint elsewhere does not go on: {said}");
    assert!(said.contains("records that were acknowledged are missing"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archived_segments_leave_a_journal_that_starts_and_says_where_they_went() {
    let (elsewhere, archive) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let place = replica("one", elsewhere.path(), 6).await;
    let ask = |more: &[&str]| {
        let command = ["audit", "archive", "--keep", "0", "--reason", "the year is over", "--to"];
        lanyard().args(command).arg(archive.path()).arg("--data-dir").arg(place.data()).args(more).output().unwrap()
    };
    let server = Server::start(&place);
    assert!(words(&ask(&[])).contains("in use by another server"));
    server.ask_to_end();
    assert!(server.wait().0.success());
    let archived = ask(&[]);
    assert!(archived.status.success() && words(&archived).contains("moved to"), "{}", words(&archived));

    let rest = verify(&[&place], elsewhere.path(), &[]);
    assert!(rest.status.success() && words(&rest).contains("it begins with record"), "{}", words(&rest));
    assert!(words(&rest).contains("was archived by uid ") && words(&rest).contains("(the year is over)"));
    let both = verify(&[&place], elsewhere.path(), &["--archive", archive.path().to_str().unwrap()]);
    assert!(both.status.success() && !words(&both).contains("it begins with record"), "{}", words(&both));
    let alone = lanyard().args(["audit", "verify", "--data-dir"]).arg(archive.path()).output().unwrap();
    assert!(alone.status.success(), "{}", words(&alone));

    let server = Server::start(&place);
    let outcome = Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await;
    assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
    server.kill();
    let asked = ["audit", "show", "--request-id", "00000000", "--data-dir"];
    let shown = words(&lanyard().args(asked).arg(place.data()).output().unwrap());
    assert!(shown.contains(&format!("were archived to {}", archive.path().display())), "{shown}");
    let command = ["explain", "--request-id", "00000000", "--config"];
    let explained = words(&lanyard().args(command).arg(place.config()).output().unwrap());
    assert!(explained.contains("were archived to"), "{explained}");
}
