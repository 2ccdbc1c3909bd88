//! A journal's checkpoints before Go's own checker of signed notes and of Merkle trees.

use super::judge;
use lanyard::clock::SystemClock;
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::store::{Commit, LocalSettings, LocalStore, NoteSigner, Room, Store as _, Write};
use serde_json::json;
use serde_json::value::RawValue;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const ORIGIN: &str = "ci.example.org/-/lanyard/journal/a";

/// Writes so many records in small segments, and the key that verifies their checkpoints.
async fn write(folder: &Path, records: u32) {
    let key = Arc::new(KeyPair::generate(KeyAlgorithm::Ed25519).unwrap());
    let signer = NoteSigner::new(ORIGIN.to_owned(), key).unwrap();
    fs::write(folder.join("journal.vkey"), format!("{}\n", signer.verifier())).unwrap();
    let settings = LocalSettings { segment_bytes: 4000, ..LocalSettings::new(folder.to_owned()) };
    let store = LocalStore::open(settings, signer, Arc::new(SystemClock)).unwrap();
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    for n in 0..records {
        let (writes, entry) = (vec![Write::Put(format!("k/{n}"), raw("1"))], raw(r#"{"kind":"test"}"#));
        store
            .commit(Commit { room: Room::Common, conditions: vec![], writes, entry, without_quorum: None })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn go_opens_every_checkpoint_and_computes_the_same_tree() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 100).await;
    let [key, checkpoint, journal] = ["journal.vkey", "checkpoint", "journal"].map(|name| folder.path().join(name));
    let request = format!("checkpoint\t{}\t{}\t{}", key.display(), checkpoint.display(), journal.display());
    let said = judge::go().ask(&[request]).remove(0);
    let within = said["within"].as_u64().unwrap();
    assert!(within > 3, "{said}");
    assert_eq!(said, json!({ "origin": ORIGIN, "size": 100 + within, "within": within }));
}
