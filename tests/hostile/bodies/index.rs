//! An index folder that somebody changed, beside a true journal: it is healed or refused, never believed, and goes on.
//!
//! Six bytes an edit, as for the journal, and some that remove or empty a file.

use super::Seed;
use super::journal::{Content, change, content, history, open, raw, write};
use super::law::can_be_shown;
use super::place::{self, Files};
use lanyard::store::{IndexKind, OpenError, Write};
use std::sync::LazyLock;

const EDITS_MAX: usize = 6;

static TRUTH: LazyLock<(Files, Content)> = LazyLock::new(|| {
    let files = history(IndexKind::Sled);
    let content = place::with(&files, |dir| content(&open(dir, IndexKind::Sled).unwrap()));
    (files, content)
});

/// Nothing changed, a shortened database, an emptied one.
pub fn seeds() -> Vec<Seed> {
    vec![
        Seed::new("nothing-changed", []),
        Seed::new("a-shorter-file", [3, 1, 0, 100, 0, 0]),
        Seed::new("a-file-gone", [7, 0, 0, 0, 0, 0]),
        Seed::new("an-emptied-file", [8, 1, 0, 0, 0, 0]),
        Seed::new("a-flipped-bit", [0, 1, 0, 40, 0, 3]),
    ]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let (mut files, truth) = TRUTH.clone();
    for edit in bytes.as_chunks::<6>().0.iter().take(EDITS_MAX) {
        let index: Vec<usize> = (0..files.len()).filter(|at| files[*at].0.starts_with("index")).collect();
        let Some(which) = index.get(usize::from(edit[1]) % index.len().max(1)) else { break };
        match edit[0] % 9 {
            7 => drop(files.remove(*which)),
            8 => files[*which].1.clear(),
            _ => drop(change(&mut files[*which].1, *edit)),
        }
    }
    place::with(&files, |dir| {
        let store = match open(dir, IndexKind::Sled) {
            Ok(store) => store,
            Err(error) => {
                can_be_shown(&error);
                assert!(matches!(error, OpenError::RecordsRemoved { .. }), "{error:?}");
                return false;
            }
        };
        assert_eq!(content(&store), truth);
        let position =
            write(&store, vec![Write::Put("after".to_owned(), raw("1"))], r#"{"kind":"after"}"#.to_owned()).unwrap();
        drop(store);
        let mut after = truth;
        after.insert("after".to_owned(), ("1".to_owned(), position));
        assert_eq!(content(&open(dir, IndexKind::Sled).unwrap()), after, "healed for good");
        true
    })
}
