//! How a server ends, and when it refuses to begin.

use crate::callers::{Caller, Door, Outcome, now};
use crate::journal;
use crate::place::Place;
use crate::server::{Server, audit_verify, words};
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_what_was_begun_end_and_leaves_a_whole_journal() {
    let place = Arc::new(Place::new());
    let server = Server::start(&place);
    let door = Arc::new(Door::of(&place));
    let mut loaders = JoinSet::new();
    for _ in 0..8 {
        let (place, door) = (Arc::clone(&place), Arc::clone(&door));
        loaders.spawn(async move { exchange_until_closed(&place, &door).await });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.ask_to_end();
    let (status, said) = server.wait();
    assert!(status.success(), "{status}\n{said}");
    let serials: Vec<String> = loaders.join_all().await.into_iter().flatten().collect();
    assert!(!serials.is_empty());
    let intents = journal::intents(&place);
    assert!(serials.iter().all(|serial| intents.contains(serial)), "an identity is not on record");
    assert_eq!(serials.len(), intents.len(), "whose request was admitted got the answer");
    assert!(words(&audit_verify(&place)).contains("whole"));
}

/// Exchanges new tokens until there is no answer: the port is closed then.
async fn exchange_until_closed(place: &Place, door: &Door) -> Vec<String> {
    let mut serials = Vec::new();
    while let Outcome::Issued(serial) = Caller::curl().offer(&place.issuer.token(now()), door).await {
        serials.push(serial);
    }
    serials
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_with_words() {
    let place = Place::new();
    let first = Server::start(&place);
    let before = journal::records(&place).len();
    let other_ports = place.config_with_other_ports();
    let (status, said) = Server::spawn(&other_ports).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another") && said.contains("data"), "{said}");
    assert_eq!(journal::records(&place).len(), before, "the second server wrote into the first one's journal");
    first.ask_to_end();
    let (status, said) = first.wait();
    assert!(status.success(), "{status}\n{said}");
    assert!(audit_verify(&place).status.success());
}

#[test]
fn a_server_with_a_history_and_no_keyring_refuses_to_start() {
    let place = Place::new();
    Server::start(&place).kill();
    fs::rename(place.data().join("keyring.json"), place.file("kept-aside.json")).unwrap();
    let (status, said) = Server::spawn(&place.config()).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("keyring"), "{said}");
    assert!(!place.data().join("keyring.json").exists(), "a new root was made beside an old history");
    fs::rename(place.file("kept-aside.json"), place.data().join("keyring.json")).unwrap();
    Server::start(&place).kill();
}

#[test]
fn a_server_without_its_sealing_key_refuses_to_start() {
    let place = Place::new();
    Server::start(&place).kill();
    fs::remove_file(place.data().join("sealing.key")).unwrap();
    let (status, said) = Server::spawn(&place.config()).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("seal"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundle_and_the_sessions_outlive_a_restart() {
    let place = Place::new();
    let server = Server::start(&place);
    let door = Door::of(&place);
    let (first, other, token) = (Caller::agent(&place), Caller::agent(&place), place.issuer.token(now()));
    assert!(matches!(first.offer(&token, &door).await, Outcome::Issued(_)));
    let bundle = door.bundle().await;
    server.ask_to_end();
    assert!(server.wait().0.success());
    let _server = Server::start(&place);
    assert_eq!(door.bundle().await, bundle, "a restart changed the trust bundle");
    assert_eq!(Caller::agent(&place).offer(&token, &door).await, Outcome::Replayed);
    assert_eq!(other.offer(&token, &door).await, Outcome::Replayed);
}
