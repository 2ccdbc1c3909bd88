//! The contract, word for word the same for every store.

use super::*;
use lanyard::store::{JournalReader, verify_journal};
use std::os::unix::fs::PermissionsExt as _;

/// Runs each story with each index.
macro_rules! stories {
    ($($story:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Place::new(super::IndexKind::Memory)).await;
            })*
        }
        mod in_sled {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Place::new(super::IndexKind::Sled)).await;
            })*
        }
    };
}

stories! {
    a_clock_that_went_back_stops_writing_until_it_is_right
    a_commit_is_done_whole_or_not_at_all
    a_conflict_names_the_key_and_what_it_holds
    a_note_is_durable_soon_though_nobody_commits
    a_pretty_printed_value_survives_a_restart
    a_restart_finds_everything
    a_second_server_on_the_same_folder_is_refused
    a_small_step_back_of_the_clock_is_no_step_back_in_the_journal
    after_close_nothing_is_taken
    an_answer_that_nobody_waits_for_is_written_all_the_same
    files_are_for_their_owner_alone
    of_64_callers_for_one_key_exactly_one_wins
    of_several_writes_to_one_key_the_last_counts
    what_was_queued_before_close_is_written
    under_a_prefix_is_what_begins_with_it_in_order
    page_by_page_is_the_same_as_all_at_once
}

async fn a_commit_is_done_whole_or_not_at_all(place: Place) {
    let store = place.open();
    let first = write(&store, vec![put("a", "1"), put("b", "2")]).await;
    let both = commit(vec![Condition::Present("a".into()), absent("b")], vec![put("a", "9"), put("c", "3")]);
    assert!(matches!(store.commit(both).await.unwrap(), Committed::Conflict { key, .. } if key == "b"));
    assert_eq!(content(&store), [("a".into(), "1".into(), first), ("b".into(), "2".into(), first)]);
    let swap = commit(vec![Condition::Unchanged("a".into(), first)], vec![put("a", "2"), delete("b")]);
    let second = done(store.commit(swap).await);
    assert_eq!(second, first + 1);
    assert_eq!(content(&store), [("a".into(), "2".into(), second)]);
}

async fn a_conflict_names_the_key_and_what_it_holds(place: Place) {
    let store = place.open();
    let revision = write(&store, vec![put("held", r#"{"by":"a"}"#)]).await;
    for condition in [absent("held"), Condition::Unchanged("held".into(), revision + 1)] {
        let Committed::Conflict { key, found } = store.commit(commit(vec![condition], vec![])).await.unwrap() else {
            panic!("no conflict")
        };
        let found = found.unwrap();
        assert_eq!((key.as_str(), found.value.get(), found.revision), ("held", r#"{"by":"a"}"#, revision));
    }
    let gone = store.commit(commit(vec![Condition::Present("gone".into())], vec![])).await.unwrap();
    assert!(matches!(gone, Committed::Conflict { found: None, .. }));
    store.close();
    assert_eq!(verify_journal(place.dir(), None).unwrap().records, 1, "a conflict leaves no record");
}

async fn of_64_callers_for_one_key_exactly_one_wins(place: Place) {
    let store = place.open();
    for round in 0..20 {
        let key = format!("session/{round}");
        let answers: Vec<_> = (0..64)
            .map(|caller| store.commit(commit(vec![absent(&key)], vec![put(&key, &format!("{caller}"))])))
            .collect();
        let mut winners = Vec::new();
        for (caller, answer) in answers.into_iter().enumerate() {
            match answer.await.unwrap() {
                Committed::Done(position) => winners.push((caller.to_string(), position)),
                Committed::Conflict { found, .. } => assert!(found.is_some(), "a loser is told who won"),
            }
        }
        let held = store.read(&key).unwrap().unwrap();
        assert_eq!(winners, [(held.value.get().to_owned(), held.revision)]);
    }
}

async fn of_several_writes_to_one_key_the_last_counts(place: Place) {
    let store = place.open();
    write(&store, vec![put("a", "1"), delete("a"), put("a", "2"), put("b", "1"), delete("b")]).await;
    let before = content(&store);
    assert_eq!(before, [("a".into(), "2".into(), 1)]);
    drop(store);
    place.lose_index();
    assert_eq!(content(&place.open()), before);
}

async fn under_a_prefix_is_what_begins_with_it_in_order(place: Place) {
    let store = place.open();
    write(&store, ["b/2", "a", "b/1", "b", "c", "b/\u{10FFFF}"].map(|key| put(key, "0")).into()).await;
    let keys: Vec<_> = store.list("b/").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["b/1", "b/2", "b/\u{10FFFF}"]);
    assert_eq!(store.list("").unwrap().len(), 6);
    assert!(store.list("d").unwrap().is_empty());
}

async fn page_by_page_is_the_same_as_all_at_once(place: Place) {
    let store = place.open();
    // More than wait in memory for the index: some stand in both, some were deleted in one only.
    for n in 0..600 {
        let gone = if n % 3 == 0 { vec![delete(&format!("k/{:03}", n / 3))] } else { vec![] };
        write(&store, [vec![put(&format!("k/{n:03}"), "0"), put("l", "0"), put("j/9", "0")], gone].concat()).await;
    }
    let all: Vec<_> = store.list("k/").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(all.len(), 400);
    for size in [1, 7, 400, 401] {
        let mut paged: Vec<String> = Vec::new();
        loop {
            let after = paged.last().cloned().unwrap_or_default();
            let page = store.page("k/", &after, size).unwrap();
            assert!(page.len() <= size);
            if page.is_empty() {
                break;
            }
            paged.extend(page.into_iter().map(|(key, _)| key));
        }
        assert_eq!(paged, all, "{size} at once");
    }
    assert!(store.page("k/", "l", 9).unwrap().is_empty());
}

async fn a_restart_finds_everything(place: Place) {
    let store = place.open();
    for n in 0..50 {
        write(&store, vec![put(&format!("k/{n}"), &format!("{n}")), delete(&format!("k/{}", n / 2))]).await;
    }
    let before = content(&store);
    drop(store);
    let store = place.open();
    assert_eq!(content(&store), before);
    assert_eq!(write(&store, vec![]).await, 51);
    assert!(store.repaired().is_none());
}

async fn a_pretty_printed_value_survives_a_restart(place: Place) {
    let store = place.open();
    write(&store, vec![put("a", "{\n  \"n\":\r\n 1\n}")]).await;
    let before = content(&store);
    store.close();
    place.lose_index();
    drop(store);
    assert_eq!(content(&place.open()), before);
}

async fn a_note_is_durable_soon_though_nobody_commits(place: Place) {
    let store = place.open();
    store.note(raw(r#"{"kind":"first"}"#)).unwrap();
    let written = async {
        while verify_journal(place.dir(), None).unwrap().records == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), written).await.unwrap();
    store.note(raw(r#"{"kind":"second"}"#)).unwrap();
    store.close();
    let entries: Vec<_> =
        JournalReader::open(place.dir()).unwrap().map(|record| record.unwrap().entry.get().to_owned()).collect();
    assert_eq!(entries, [r#"{"kind":"first"}"#, r#"{"kind":"second"}"#]);
}

async fn an_answer_that_nobody_waits_for_is_written_all_the_same(place: Place) {
    let store = place.open();
    drop(store.commit(commit(vec![], vec![put("a", "1")])));
    write(&store, vec![]).await;
    assert!(store.read("a").unwrap().is_some());
}

async fn what_was_queued_before_close_is_written(place: Place) {
    let store = place.open();
    let answers: Vec<_> = (0..1000).map(|n| store.commit(commit(vec![], vec![put(&n.to_string(), "0")]))).collect();
    store.close();
    for answer in answers {
        done(answer.await);
    }
    drop(store);
    assert_eq!(content(&place.open()).len(), 1000);
}

async fn after_close_nothing_is_taken(place: Place) {
    let store = place.open();
    store.close();
    assert!(matches!(store.commit(commit(vec![], vec![])).await, Err(StoreError::Stopped)));
    assert!(matches!(store.note(raw("{}")), Err(StoreError::Stopped)));
    store.close();
}

async fn a_second_server_on_the_same_folder_is_refused(place: Place) {
    let store = place.open();
    let refusal = place.try_open().unwrap_err();
    assert!(matches!(&refusal, OpenError::InUse { dir } if dir == place.dir()));
    assert!(refusal.to_string().ends_with("is in use by another server"));
    drop(store);
    drop(place.open());
}

async fn files_are_for_their_owner_alone(place: Place) {
    drop(place.open().commit(commit(vec![], vec![])).await);
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.dir().to_owned()), 0o700);
    assert_eq!(mode(place.dir().join("journal")), 0o700);
    assert_eq!(mode(place.files("jsonl")[0].clone()), 0o600);
    if place.dir().join("index").exists() {
        assert_eq!(mode(place.dir().join("index")), 0o700);
    }
}

async fn a_clock_that_went_back_stops_writing_until_it_is_right(place: Place) {
    let store = place.open();
    write(&store, vec![put("a", "1")]).await;
    let right = datetime!(2026-03-01 12:00 UTC);
    place.clock.set(right - Duration::from_secs(31));
    match store.commit(commit(vec![], vec![put("a", "2")])).await {
        Err(StoreError::Clock(ClockError::WentBack { last, now })) => assert_eq!(last - now, Duration::from_secs(31)),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.read("a").unwrap().unwrap().revision, 1);
    drop(store);
    let store = place.open();
    assert!(matches!(store.commit(commit(vec![], vec![])).await, Err(StoreError::Clock(ClockError::WentBack { .. }))));
    place.clock.set(right);
    assert_eq!(write(&store, vec![]).await, 2);
}

async fn a_small_step_back_of_the_clock_is_no_step_back_in_the_journal(place: Place) {
    let store = place.open();
    write(&store, vec![]).await;
    // A hundred small steps must not add up to a large one.
    for step in 1..=2 {
        place.clock.set(datetime!(2026-03-01 12:00 UTC) - Duration::from_secs(10 * step));
        write(&store, vec![]).await;
    }
    store.close();
    let last = verify_journal(place.dir(), None).unwrap().last_at;
    assert_eq!(last, Some(datetime!(2026-03-01 12:00 UTC)));
}
