//! Listings beside a writer: what was there before one began, and was not deleted, is in it.

use super::*;
use std::collections::BTreeMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const ROUNDS: u32 = 60;
/// Keys that come and go in each round.
const RESTLESS: u32 = 40;
/// Keys that come in each round and stay. Changes go to sled some hundred at once: every few rounds.
const LASTING: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_beside_a_writer_misses_nothing_and_never_goes_back() {
    for kind in [IndexKind::Memory, IndexKind::Sled] {
        let place = Place::new(kind);
        let store = place.open();
        let written = Arc::new(AtomicU32::new(0));
        let lister = {
            let (store, written) = (Arc::clone(&store), Arc::downgrade(&written));
            tokio::task::spawn_blocking(move || list_until_it_goes(&store, &written))
        };
        for round in 1..=ROUNDS {
            let restless = || (0..RESTLESS).map(|n| format!("restless/{n}"));
            write(&store, restless().map(|key| delete(&key)).collect()).await;
            let lasting = (0..LASTING).map(|n| format!("lasting/{round}/{n}"));
            write(&store, restless().chain(lasting).map(|key| put(&key, "1")).collect()).await;
            written.store(round * LASTING, SeqCst);
        }
        drop(written);
        let listings = lister.await.unwrap();
        assert!(listings > 0, "nothing was listed beside the writer");
    }
}

/// Lists until the writer has gone; how often.
fn list_until_it_goes(store: &LocalStore, written: &Weak<AtomicU32>) -> u32 {
    let (mut listings, mut seen) = (0, BTreeMap::new());
    while let Some(written) = written.upgrade() {
        let before = usize::try_from(written.load(SeqCst)).unwrap();
        drop(written);
        let found = store.list("").unwrap();
        assert!(found.is_sorted_by(|(one, _), (next, _)| one < next), "a key stands there twice");
        let lasting = found.iter().filter(|(key, _)| key.starts_with("lasting/")).count();
        assert!(lasting >= before, "{lasting} of {before} are listed");
        for (key, stored) in found {
            let last = seen.insert(key.clone(), stored.revision).unwrap_or(0);
            assert!(stored.revision >= last, "{key} went back from {last} to {}", stored.revision);
        }
        listings += 1;
    }
    listings
}
