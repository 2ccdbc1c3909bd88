//! A clock that ran ahead once, or leaps: nothing is written until it is right, or an operator accepts the time.

use super::*;
use lanyard::clock::Clock as _;
use lanyard::store::{JournalReader, Trouble, accept_time, verify_journal};
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

/// A store with a record, and a clock that was believed then.
async fn at_work() -> (Place, Arc<LocalStore>) {
    let place = Place::new(IndexKind::Memory);
    let store = place.open();
    write(&store, vec![put("before", "1")]).await;
    place.clock.advance(Duration::from_secs(3600));
    write(&store, vec![put("an hour later", "1")]).await;
    (place, store)
}

#[tokio::test]
async fn a_clock_that_leaps_is_noticed_before_a_record_is_written_until_it_is_right_again() {
    let (place, store) = at_work().await;
    let right = place.clock.now();
    place.clock.advance(Duration::from_secs(7200)); // nothing is written meanwhile
    for leap in [-3600, 86_400, 31] {
        place.clock.set(right + Duration::from_secs(7200) + time::Duration::seconds(leap));
        assert!(store.check_clock().is_err(), "{leap} s: seen before anybody commits");
        let refused = store.commit(commit(vec![], vec![put("leapt", "1")])).await.unwrap_err();
        let StoreError::Clock(ClockError::Leapt { should, now }) = refused else { panic!("{refused}") };
        assert_eq!((now - should).whole_seconds(), leap);
        assert_eq!(*store.trouble().borrow(), Some(Trouble::ClockLeapt));
        assert!(store.read("leapt").unwrap().is_none());
        place.clock.set(right + Duration::from_secs(7200));
        write(&store, vec![put("right again", "1")]).await;
        assert_eq!(*store.trouble().borrow(), None);
    }
    place.clock.set(place.clock.now() + Duration::from_secs(29));
    write(&store, vec![put("a correction", "1")]).await;
}

#[tokio::test]
async fn small_steps_do_not_lead_a_clock_away_but_those_that_tokens_confirm() {
    for confirmed in [true, false] {
        let (place, store) = at_work().await;
        let mut led = true;
        for _ in 0..3 {
            place.clock.set(place.clock.now() + Duration::from_secs(29));
            _ = confirmed.then(|| store.vouch(place.clock.now()));
            led &= store.commit(commit(vec![], vec![put("led away", "1")])).await.is_ok();
        }
        assert_eq!(led, confirmed);
    }
}

#[tokio::test]
async fn a_leap_that_nobody_writes_at_is_told_by_whoever_looks() {
    let (place, store) = at_work().await;
    let mut trouble = store.trouble();
    place.clock.set(place.clock.now() + Duration::from_secs(86_400));
    store.check_clock().unwrap_err();
    trouble.wait_for(Option::is_some).await.unwrap();
    place.clock.set(place.clock.now() - Duration::from_secs(86_400));
    trouble.wait_for(Option::is_none).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_slept_has_not_leapt() {
    let (place, store) = at_work().await;
    place.clock.sleep(Duration::from_secs(86_400));
    write(&store, vec![put("the next day", "1")]).await;
}

#[tokio::test]
async fn a_leap_is_right_where_a_token_was_dated_after_it_or_an_operator_accepts_it() {
    let (place, store) = at_work().await;
    let leapt = place.clock.now() + Duration::from_secs(86_400);
    place.clock.set(leapt);
    store.vouch(leapt - Duration::from_secs(86_000));
    store.commit(commit(vec![], vec![])).await.unwrap_err();
    store.vouch(leapt - Duration::from_secs(60));
    write(&store, vec![put("the next day", "1")]).await;

    let again = leapt + Duration::from_secs(86_400);
    place.clock.set(again);
    store.commit(commit(vec![], vec![])).await.unwrap_err();
    drop(store);
    let accepted = accept_time(place.dir(), again, "uid 7", "the clock was a day behind").unwrap().unwrap();
    assert_eq!(accepted.instead_of, leapt);
    write(&place.open(), vec![put("the day after", "1")]).await;
    verify_journal(place.dir(), Some(place.signer.verifier().key())).unwrap();
}

#[tokio::test]
async fn what_takes_away_is_written_at_the_time_that_should_be_and_nothing_else_with_it() {
    let (place, store) = at_work().await;
    let right = place.clock.now();
    for (leap, key) in [(86_400, "ahead"), (-86_400, "behind")] {
        place.clock.set(right + time::Duration::seconds(leap));
        let (common, reserve, any_time) = tokio::join!(
            store.commit(commit(vec![], vec![put("common", "1")])),
            store.commit(Commit { room: Room::Reserve, ..commit(vec![], vec![put("reserve", "1")]) }),
            store.commit(Commit { room: Room::AnyTime, ..commit(vec![absent(key)], vec![put(key, "1")]) }),
        );
        assert!(matches!((common, reserve), (Err(StoreError::Clock(_)), Err(StoreError::Clock(_)))));
        let position = done(any_time);
        assert!(store.trouble().borrow().is_some_and(Trouble::is_of_the_clock), "it stays a trouble");
        let records = JournalReader::open(place.dir()).unwrap().map(Result::unwrap);
        let at = records.into_iter().find(|record| record.position == position).unwrap().at;
        assert_eq!(at, right, "neither the clock's time nor before another record");
    }
    place.clock.set(right);
    write(&store, vec![put("right again", "1")]).await;
    let held: Vec<_> = content(&store).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(held, ["ahead", "an hour later", "before", "behind", "right again"]);
    drop(store);
    verify_journal(place.dir(), Some(place.signer.verifier().key())).unwrap();
}
