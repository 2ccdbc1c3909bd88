//! Random histories: a checkpoint and its tail must give what the whole journal gives, in every store.

use super::*;
use lanyard::store::verify_journal;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Act {
    /// Commit these writes to keys by number, if the first key holds something or nothing.
    Write {
        wants_absent: Option<bool>,
        writes: Vec<(u8, Option<u16>)>,
    },
    Note,
    Restart,
    /// Restart without the index.
    LoseIndex,
    /// Restart without the newest checkpoint.
    LoseCheckpoint,
}

fn act() -> impl Strategy<Value = Act> {
    let writes = prop::collection::vec((0..12_u8, prop::option::weighted(0.7, any::<u16>())), 1..4);
    prop_oneof![
        20 => (prop::option::of(any::<bool>()), writes)
            .prop_map(|(wants_absent, writes)| Act::Write { wants_absent, writes }),
        2 => Just(Act::Note),
        1 => Just(Act::Restart),
        1 => Just(Act::LoseIndex),
        1 => Just(Act::LoseCheckpoint),
    ]
}

/// What a store should hold.
#[derive(Default)]
struct Model(BTreeMap<String, (String, u64)>);

impl Model {
    fn content(&self) -> Vec<(String, String, u64)> {
        self.0.iter().map(|(key, (value, revision))| (key.clone(), value.clone(), *revision)).collect()
    }
}

async fn play(kind: IndexKind, acts: &[Act]) -> Vec<(String, String, u64)> {
    let place = Place::new(kind).with_segments_of(1500);
    let (mut store, mut model) = (place.open(), Model::default());
    for act in acts {
        place.clock.advance(Duration::from_millis(700));
        match act {
            Act::Write { wants_absent, writes } => step(&store, &mut model, *wants_absent, writes).await,
            Act::Note => store.note(raw("{}")).unwrap(),
            Act::Restart | Act::LoseIndex | Act::LoseCheckpoint => {
                drop(store);
                if matches!(act, Act::LoseIndex) {
                    place.lose_index();
                }
                if let (Act::LoseCheckpoint, Some(newest)) = (act, place.files("state").last()) {
                    place.lose_index();
                    std::fs::remove_file(newest).unwrap();
                }
                store = place.open();
            }
        }
        assert_eq!(content(&store), model.content(), "after {act:?}");
    }
    drop(store);
    let report = verify_journal(place.dir(), Some(place.signer.verifier().key())).unwrap();
    let ended = place.files("jsonl").len() - usize::from(ends_in_the_open(&place));
    assert_eq!(usize::try_from(report.checkpoints), Ok(ended));
    // The whole journal, without any checkpoint and index, gives the same.
    for file in place.files("state") {
        std::fs::remove_file(file).unwrap();
    }
    place.lose_index();
    assert_eq!(content(&place.open()), model.content());
    model.content()
}

/// Whether the newest segment has not ended with a checkpoint.
fn ends_in_the_open(place: &Place) -> bool {
    let newest = place.files("jsonl").pop();
    newest.is_some_and(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        !text.lines().last().is_some_and(|line| line.contains(r#""entry":{"kind":"checkpoint","#))
    })
}

async fn step(store: &LocalStore, model: &mut Model, wants_absent: Option<bool>, writes: &[(u8, Option<u16>)]) {
    let key = |number: u8| format!("k/{number:02}");
    let first = key(writes[0].0);
    let held = model.0.contains_key(&first);
    let condition = wants_absent.map(|absent| {
        let make = if absent { Condition::Absent } else { Condition::Present };
        make(first.clone())
    });
    let changes = writes.iter().map(|(number, value)| match value {
        Some(value) => put(&key(*number), &format!(r#"{{"version":1,"n":{value}}}"#)),
        None => delete(&key(*number)),
    });
    let answer = store.commit(commit(condition.into_iter().collect(), changes.collect())).await.unwrap();
    let Committed::Done(position) = answer else {
        assert_eq!(wants_absent, Some(held), "a conflict where none is");
        return;
    };
    assert_ne!(wants_absent, Some(held), "no conflict where one is");
    for (number, value) in writes {
        match value {
            Some(value) => {
                model.0.insert(key(*number), (format!(r#"{{"version":1,"n":{value}}}"#), position));
            }
            None => {
                model.0.remove(&key(*number));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn checkpoint_and_tail_are_the_whole_journal(acts in prop::collection::vec(act(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let in_memory = runtime.block_on(play(IndexKind::Memory, &acts));
        let in_sled = runtime.block_on(play(IndexKind::Sled, &acts));
        let values = |content: Vec<(String, String, u64)>| content.into_iter().map(|(key, value, _)| (key, value));
        prop_assert!(values(in_memory).eq(values(in_sled)));
    }
}
