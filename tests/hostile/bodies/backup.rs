//! An archive from anywhere: what is accepted says of each file what it is, has names that a backup has, and no more bytes
//! than came.

use super::Seed;
use super::law::{Cost, can_be_shown};
use lanyard::backup::{Pack, Piece, read_backup};
use std::collections::BTreeSet;

const HEAD: &str = r#"{"format":2,"lanyard":"0.1.0","trust_domain":"ci.example.org","made_at":"2026-11-21T12:00:00Z",
"sequence":4,"journal":{"first":1,"last":0,"digest":"0000000000000000000000000000000000000000000000000000000000000000",
"at":"2026-11-21T12:00:00Z"},"bytes":12,"files":{}}"#;

/// A small backup, and one of nothing but its head.
pub fn seeds() -> Vec<Seed> {
    let small = [("keyring.json", "{}"), ("journal/00000000000000000001.jsonl", "line\n"), ("people.keys", "")];
    vec![Seed::new("small", archive(&small)), Seed::new("bare", archive(&[]))]
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut pack = Pack::new(Vec::new(), 1_793_611_800);
    for (name, text) in [("backup.json", HEAD)].iter().chain(files) {
        pack.take(Piece::File { name, bytes: text.len().try_into().unwrap() }).unwrap();
        pack.take(Piece::Bytes(text.as_bytes())).unwrap();
    }
    pack.finish().unwrap()
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let (mut names, mut handed_on) = (BTreeSet::new(), 0);
    let length = bytes.len().try_into().unwrap();
    let read = Cost::SMALL.of(bytes.len(), || {
        read_backup(bytes, length, |piece| {
            match piece {
                Piece::File { name, bytes } => {
                    assert!(names.insert(name.to_owned()), "{name} comes twice");
                    let of_journal = name.strip_prefix("journal/").unwrap_or(name);
                    assert!(
                        !of_journal.contains(['/', '\\', '\0']) && !of_journal.starts_with('.'),
                        "{name:?} leads out"
                    );
                    assert!(bytes <= length);
                }
                Piece::Bytes(more) => handed_on += more.len(),
            }
            Ok(())
        })
    });
    assert!(handed_on <= bytes.len());
    match &read {
        Ok(_) => assert!(names.contains("backup.json")),
        Err(error) => can_be_shown(error),
    }
    read.is_ok()
}
