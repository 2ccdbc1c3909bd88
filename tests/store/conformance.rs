//! The contract, word for word the same for every store: memory, sled, and a real etcd.

use super::*;
use crate::etcd::Etcd;
use lanyard::clock::Clock;
use lanyard::store::{Etcd as Connected, JournalReader, Replica, Stored, TornTail, verify_journal};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;

/// A place for a store of any kind.
struct Ground {
    place: Place,
    /// Declared after what uses it.
    etcd: Option<Etcd>,
}

/// An open store of any kind.
#[derive(Debug)]
enum Open {
    Local(Arc<LocalStore>),
    Shared(Arc<Replica>, Arc<LocalStore>),
}

impl Ground {
    fn local(kind: IndexKind) -> Self {
        Self { place: Place::new(kind), etcd: None }
    }

    fn etcd() -> Self {
        Self { place: Place::new(IndexKind::Memory), etcd: Some(Etcd::start()) }
    }

    fn try_begin(&self) -> Result<Open, OpenError> {
        let journal = self.place.try_open()?;
        let Some(etcd) = &self.etcd else { return Ok(Open::Local(journal)) };
        let process = journal.list("").unwrap().len().to_string();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.place.clock);
        let connected = Connected::connect(Etcd::settings("test/", "a"), &process, (etcd.channels(), clock)).unwrap();
        let replica = Replica::open(connected, Arc::clone(&journal), Arc::clone(&self.place.clock) as _).unwrap();
        Ok(Open::Shared(replica, journal))
    }

    fn begin(&self) -> Open {
        self.try_begin().unwrap()
    }
}

impl Deref for Ground {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Open {
    fn close(&self) {
        match self {
            Self::Local(store) => store.close(),
            Self::Shared(store, _) => store.close(),
        }
    }

    fn repaired(&self) -> Option<&TornTail> {
        let (Self::Local(journal) | Self::Shared(_, journal)) = self;
        journal.repaired()
    }
}

impl Deref for Open {
    type Target = dyn Store;

    fn deref(&self) -> &(dyn Store + 'static) {
        match self {
            Self::Local(store) => &**store,
            Self::Shared(store, _) => &**store,
        }
    }
}

/// On one machine a key's revision is the position of the record that wrote it.
async fn write(store: &Open, writes: Vec<Write>) -> Position {
    let put = |write: &Write| if let Write::Put(key, _) = write { Some(key.clone()) } else { None };
    let keys: Vec<_> = writes.iter().filter_map(put).collect();
    let position = done(store.commit(commit(vec![], writes)).await);
    if matches!(store, Open::Local(_)) {
        assert!(
            keys.iter().all(|key| store.read(key).unwrap().is_none_or(|held| held.revision == position)),
            "{keys:?} at {position}"
        );
    }
    position
}

fn held(store: &Open, key: &str) -> Stored {
    store.read(key).unwrap().unwrap()
}

fn content(store: &Open) -> Vec<(String, String, u64)> {
    let all = store.list("").unwrap().into_iter();
    all.map(|(key, stored)| (key, stored.value.get().to_owned(), stored.revision)).collect()
}

/// Runs each story with each store.
macro_rules! stories {
    ($($story:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Ground::local(super::IndexKind::Memory)).await;
            })*
        }
        mod in_sled {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Ground::local(super::IndexKind::Sled)).await;
            })*
        }
        mod in_etcd {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Ground::etcd()).await;
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

async fn a_commit_is_done_whole_or_not_at_all(place: Ground) {
    let store = place.begin();
    write(&store, vec![put("a", "1"), put("b", "2")]).await;
    let first = held(&store, "a").revision;
    let both = commit(vec![Condition::Present("a".into()), absent("b")], vec![put("a", "9"), put("c", "3")]);
    assert!(matches!(store.commit(both).await.unwrap(), Committed::Conflict { key, .. } if key == "b"));
    assert_eq!(content(&store), [("a".into(), "1".into(), first), ("b".into(), "2".into(), first)]);
    let swap = commit(vec![Condition::Unchanged("a".into(), first)], vec![put("a", "2"), delete("b")]);
    done(store.commit(swap).await);
    let second = held(&store, "a").revision;
    assert!(second > first);
    assert_eq!(content(&store), [("a".into(), "2".into(), second)]);
}

async fn a_conflict_names_the_key_and_what_it_holds(place: Ground) {
    let store = place.begin();
    write(&store, vec![put("held", r#"{"by":"a"}"#)]).await;
    let revision = held(&store, "held").revision;
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

async fn of_64_callers_for_one_key_exactly_one_wins(place: Ground) {
    let store = place.begin();
    for round in 0..20 {
        let key = format!("session/{round}");
        let answers: Vec<_> = (0..64)
            .map(|caller| store.commit(commit(vec![absent(&key)], vec![put(&key, &format!("{caller}"))])))
            .collect();
        let mut winners = Vec::new();
        for (caller, answer) in answers.into_iter().enumerate() {
            match answer.await.unwrap() {
                Committed::Done(_) => winners.push(caller.to_string()),
                Committed::Conflict { found, .. } => assert!(found.is_some(), "a loser is told who won"),
            }
        }
        assert_eq!(winners, [held(&store, &key).value.get()]);
    }
}

async fn of_several_writes_to_one_key_the_last_counts(place: Ground) {
    let store = place.begin();
    write(&store, vec![put("a", "1"), delete("a"), put("a", "2"), put("b", "1"), delete("b")]).await;
    let before = content(&store);
    assert_eq!(before, [("a".into(), "2".into(), held(&store, "a").revision)]);
    drop(store);
    place.lose_index();
    assert_eq!(content(&place.begin()), before);
}

async fn under_a_prefix_is_what_begins_with_it_in_order(place: Ground) {
    let store = place.begin();
    write(&store, ["b/2", "a", "b/1", "b", "c", "b/\u{10FFFF}"].map(|key| put(key, "0")).into()).await;
    let keys: Vec<_> = store.list("b/").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["b/1", "b/2", "b/\u{10FFFF}"]);
    assert_eq!(store.list("").unwrap().len(), 6);
    assert!(store.list("d").unwrap().is_empty());
}

async fn page_by_page_is_the_same_as_all_at_once(place: Ground) {
    let store = place.begin();
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

async fn a_restart_finds_everything(place: Ground) {
    let store = place.begin();
    for n in 0..50 {
        write(&store, vec![put(&format!("k/{n}"), &format!("{n}")), delete(&format!("k/{}", n / 2))]).await;
    }
    let before = content(&store);
    drop(store);
    let store = place.begin();
    assert_eq!(content(&store), before);
    assert_eq!(write(&store, vec![]).await, 51);
    assert!(store.repaired().is_none());
}

async fn a_pretty_printed_value_survives_a_restart(place: Ground) {
    let store = place.begin();
    write(&store, vec![put("a", "{\n  \"n\":\r\n 1\n}")]).await;
    let before = content(&store);
    store.close();
    place.lose_index();
    drop(store);
    assert_eq!(content(&place.begin()), before);
}

async fn a_note_is_durable_soon_though_nobody_commits(place: Ground) {
    let store = place.begin();
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

async fn an_answer_that_nobody_waits_for_is_written_all_the_same(place: Ground) {
    let store = place.begin();
    drop(store.commit(commit(vec![], vec![put("a", "1")])));
    write(&store, vec![]).await;
    if let Open::Shared(..) = store {
        // What two began at the same time has no order in etcd.
        let shown = async {
            while store.read("a").unwrap().is_none() {
                store.caught_up().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(5), shown).await.unwrap();
    }
    assert!(store.read("a").unwrap().is_some());
}

async fn what_was_queued_before_close_is_written(place: Ground) {
    let store = place.begin();
    let answers: Vec<_> = (0..1000).map(|n| store.commit(commit(vec![], vec![put(&n.to_string(), "0")]))).collect();
    store.close();
    for answer in answers {
        done(answer.await);
    }
    drop(store);
    assert_eq!(content(&place.begin()).len(), 1000);
}

async fn after_close_nothing_is_taken(place: Ground) {
    let store = place.begin();
    store.close();
    assert!(matches!(store.commit(commit(vec![], vec![])).await, Err(StoreError::Stopped)));
    assert!(matches!(store.note(raw("{}")), Err(StoreError::Stopped)));
    store.close();
}

async fn a_second_server_on_the_same_folder_is_refused(place: Ground) {
    let store = place.begin();
    let refusal = place.try_begin().unwrap_err();
    assert!(matches!(&refusal, OpenError::InUse { dir } if dir == place.dir()));
    assert!(refusal.to_string().ends_with("is in use by another server"));
    drop(store);
    drop(place.begin());
}

async fn files_are_for_their_owner_alone(place: Ground) {
    drop(place.begin().commit(commit(vec![], vec![])).await);
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.dir().to_owned()), 0o700);
    assert_eq!(mode(place.dir().join("journal")), 0o700);
    assert_eq!(mode(place.files("jsonl")[0].clone()), 0o600);
    if place.dir().join("index").exists() {
        assert_eq!(mode(place.dir().join("index")), 0o700);
    }
}

async fn a_clock_that_went_back_stops_writing_until_it_is_right(place: Ground) {
    let store = place.begin();
    write(&store, vec![put("a", "1")]).await;
    let right = datetime!(2026-03-01 12:00 UTC);
    place.clock.set(right - Duration::from_secs(31));
    match store.commit(commit(vec![], vec![put("a", "2")])).await {
        Err(StoreError::Clock(ClockError::WentBack { last, now })) => assert_eq!(last - now, Duration::from_secs(31)),
        other => panic!("{other:?}"),
    }
    assert_eq!(held(&store, "a").value.get(), "1");
    drop(store);
    let store = place.begin();
    assert!(matches!(store.commit(commit(vec![], vec![])).await, Err(StoreError::Clock(ClockError::WentBack { .. }))));
    place.clock.set(right);
    assert_eq!(write(&store, vec![]).await, 2);
}

async fn a_small_step_back_of_the_clock_is_no_step_back_in_the_journal(place: Ground) {
    let store = place.begin();
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
