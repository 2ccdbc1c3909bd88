//! What a crash leaves is healed; what somebody changed is named and not built upon.

use crate::callers::{Caller, Door, Outcome, now};
use crate::journal;
use crate::place::Place;
use crate::server::{Server, audit_verify, lanyard, words};
use lanyard::crypto::Digest;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// A folder with a token that `curl` holds, and whose server is dead.
async fn place_with_history() -> (Place, Caller, String) {
    let place = Place::new();
    let server = Server::start(&place);
    let (curl, door) = (Caller::curl(), Door::of(&place));
    let token = place.issuer.token(now());
    assert!(matches!(curl.offer(&token, &door).await, Outcome::Issued(_)));
    for _ in 0..8 {
        let outcome = Caller::curl().offer(&place.issuer.token(now()), &door).await;
        assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
    }
    server.kill();
    (place, curl, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_heals_and_loses_nothing() {
    let (place, curl, token) = place_with_history().await;
    let whole = journal::records(&place);
    let last = place.segments().pop().unwrap();
    let mut file = OpenOptions::new().append(true).open(last).unwrap();
    file.write_all(br#"3f9a755c {"position":99999,"at":"2026-"#).unwrap();
    let verified = audit_verify(&place);
    assert!(verified.status.success(), "a torn tail is no tampering: {}", words(&verified));
    let _server = Server::start(&place);
    let healed = journal::records(&place);
    assert_eq!(healed[..whole.len()], whole[..]);
    let door = Door::of(&place);
    assert_eq!(Caller::curl().offer(&token, &door).await, Outcome::Replayed);
    assert!(matches!(curl.offer(&token, &door).await, Outcome::Issued(_)));
    assert!(audit_verify(&place).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_middle_is_refused_with_its_place() {
    let (place, ..) = place_with_history().await;
    let segment = place.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    // In the case of a letter, so that the line stays a line and the text stays text.
    let flipped = middle + bytes[middle..].iter().position(u8::is_ascii_alphabetic).unwrap();
    bytes[flipped] ^= 0x20;
    let position = bytes[..flipped].split(|byte| *byte == b'\n').count();
    fs::write(&segment, &bytes).unwrap();

    let place_named = format!("record {position}");
    let verified = audit_verify(&place);
    assert_eq!(verified.status.code(), Some(1));
    assert!(words(&verified).contains(&place_named), "{place_named}: {}", words(&verified));
    let (status, said) = Server::spawn(&place.config()).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&place_named), "{place_named}: {said}");
    assert_eq!(fs::read(&segment).unwrap(), bytes, "the evidence was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_spoiled_index_changes_nothing() {
    let (place, curl, token) = place_with_history().await;
    let index = place.data().join("index");
    let remove: fn(&Path) = |index| fs::remove_dir_all(index).unwrap();
    for (spoil, how) in [("removal", remove), ("overwriting", overwrite)] {
        how(&index);
        let server = Server::start(&place);
        let door = Door::of(&place);
        assert_eq!(Caller::curl().offer(&token, &door).await, Outcome::Replayed, "after {spoil}");
        assert!(matches!(curl.offer(&token, &door).await, Outcome::Issued(_)), "after {spoil}");
        server.kill();
    }
}

/// Leaves every file of sled's in place, and nothing of it in them.
fn overwrite(index: &Path) {
    for file in fs::read_dir(index).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        fs::write(file, b"not what sled wrote").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_ahead_of_the_clock_is_written_again_once_an_operator_accepts_the_time() {
    let (place, curl, token) = place_with_history().await;
    let accept = || {
        let command = ["audit", "accept-time", "--reason", "a clock that ran ahead", "--data-dir"];
        lanyard().args(command).arg(place.data()).output().unwrap()
    };
    assert!(words(&accept()).contains("nothing to accept"));
    let segment = place.segments().pop().unwrap();
    let last = journal::records(&place).len();
    let text = fs::read_to_string(&segment).unwrap();
    let (prev, _text) = text.lines().next_back().unwrap().split_once(' ').unwrap();
    let next = last + 1;
    let ahead = format!(
        r#"{{"position":{next},"at":"2099-01-01T00:00:00.000Z","prev":"{prev}","entry":{{"kind":"swept","records":0}}}}"#
    );
    fs::write(&segment, format!("{text}{} {ahead}\n", Digest::of(ahead.as_bytes()))).unwrap();

    let (status, said) = Server::spawn(&place.config()).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("2099-01-01") && said.contains("lanyard audit accept-time"), "{said}");
    let accepted = accept();
    assert!(accepted.status.success() && words(&accepted).contains("can be started"), "{}", words(&accepted));
    let server = Server::start(&place);
    assert!(matches!(curl.offer(&token, &Door::of(&place)).await, Outcome::Issued(_)));
    assert!(words(&accept()).contains("in use by another server"));
    drop(server);
    assert!(audit_verify(&place).status.success());
    let shown = lanyard().args(["audit", "show", "--kind", "time_accepted", "--data-dir"]).arg(place.data()).output();
    let shown = words(&shown.unwrap());
    assert!(shown.contains("a clock that ran ahead") && shown.contains("2099"), "{shown}");
}
