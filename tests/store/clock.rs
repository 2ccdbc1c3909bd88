//! A clock that ran ahead once: nothing is written until it is caught up with, or an operator accepts the time.

use super::*;
use lanyard::clock::Clock as _;
use lanyard::store::{JournalReader, accept_time, verify_journal};
use std::fs;

/// A store whose last record is a day ahead of the clock that is right again.
async fn ran_ahead(kind: IndexKind, segment_bytes: u64) -> Place {
    let mut place = Place::new(kind).with_segments_of(segment_bytes);
    let right = place.clock.now();
    let store = place.open();
    write(&store, vec![put("before", "1")]).await;
    place.clock.advance(Duration::from_secs(86_400));
    write(&store, vec![put("ahead", "1")]).await;
    drop(store);
    place.clock = Arc::new(ManualClock::at(right + Duration::from_secs(60)));
    place
}

#[tokio::test]
async fn an_accepted_time_lets_writing_go_on_and_says_who_and_why() {
    for (kind, segment_bytes) in [(IndexKind::Memory, 64 << 20), (IndexKind::Sled, 64 << 20), (IndexKind::Sled, 100)] {
        let place = ran_ahead(kind, segment_bytes).await;
        let store = place.open();
        let refused = store.commit(commit(vec![], vec![])).await.unwrap_err();
        assert!(refused.to_string().contains("accept-time"), "{refused}");
        let held = accept_time(place.dir(), place.clock.now(), "uid 7", "ntp went mad").unwrap_err();
        assert!(matches!(held, OpenError::InUse { .. }), "{held}");
        drop(store);

        let accepted = accept_time(place.dir(), place.clock.now(), "uid 7", "ntp went mad").unwrap().unwrap();
        assert_eq!(accepted.instead_of, place.clock.now() + Duration::from_secs(86_340));
        let again = accept_time(place.dir(), place.clock.now(), "uid 7", "ntp went mad").unwrap();
        assert_eq!(again, None, "once is enough");
        let store = place.open();
        write(&store, vec![put("after", "1")]).await;
        assert_eq!(content(&store).len(), 3);
        drop(store);
        verify_journal(place.dir(), Some(place.signer.verifier().key())).unwrap();
        place.lose_index();
        assert_eq!(content(&place.open()).len(), 3);
        let records: Vec<_> = JournalReader::open(place.dir()).unwrap().map(Result::unwrap).collect();
        let entry = records.iter().find(|record| record.position == accepted.position).unwrap().entry.get();
        assert!(entry.contains("uid 7") && entry.contains("ntp went mad"), "{entry}");
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_before_a_time_is_accepted_and_a_changed_journal_is_left_alone() {
    let place = ran_ahead(IndexKind::Memory, 64 << 20).await;
    let file = place.files("jsonl").pop().unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, [whole.as_slice(), b"half a rec"].concat()).unwrap();
    accept_time(place.dir(), place.clock.now(), "uid 7", "ntp went mad").unwrap().unwrap();
    assert_eq!(verify_journal(place.dir(), None).unwrap().records, 4, "the cut is told, and the time");

    let mut changed = whole;
    changed[100] ^= 1;
    fs::write(&file, &changed).unwrap();
    let refused = accept_time(place.dir(), place.clock.now(), "uid 7", "ntp went mad").unwrap_err();
    assert!(matches!(refused, OpenError::Journal(_)), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), changed);
}
