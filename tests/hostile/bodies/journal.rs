//! A journal that somebody changed: the bytes are edits of a true one, whose key they do not have.
//!
//! Six bytes an edit: what, in which file, where (two bytes), how much, and a byte to use. Some edits make the digests
//! fit again: those forge whatever no checkpoint has signed yet, and nothing before. Two take whole files away or mix
//! them up. What opens must also go on: now and then a record is written, and an earlier time accepted.

use super::Seed;
use super::law::can_be_shown;
use super::place::{self, Files};
use lanyard::clock::ManualClock;
use lanyard::crypto::{Digest, KeyAlgorithm, KeyPair};
use lanyard::store::{Commit, Committed, IndexKind, JournalReader, LocalSettings, LocalStore, NoteSigner, OpenError};
use lanyard::store::{Position, Record, Room, Store as _, StoreError, Write, accept_time, verify_journal};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::runtime::Builder;

const EDITS_MAX: usize = 16;
const EDIT_BYTES: usize = 6;
/// Edits of whole files: this one is gone, or changes places with that one.
const GONE: u8 = u8::MAX - 1;
const SWAPPED: u8 = u8::MAX;
/// One input in so many goes on with a record of its own: syncing that costs more than all the rest.
const GOES_ON_EVERY: u32 = 8;
/// What every clock here says, and an hour before it.
const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);
const EARLIER: OffsetDateTime = datetime!(2026-03-01 11:00 UTC);

/// The key that signs checkpoints.
pub static SIGNER: LazyLock<NoteSigner> = LazyLock::new(|| {
    let key = Arc::new(KeyPair::generate(KeyAlgorithm::Ed25519).unwrap());
    NoteSigner::new("ci.example.org/-/lanyard/journal/a".to_owned(), key).unwrap()
});

/// What a store holds: key, value, revision.
pub type Content = BTreeMap<String, (String, Position)>;

/// A journal of three segments and a tail, whole.
struct Truth {
    files: Files,
    digests: Vec<Digest>,
    /// What the first so many records make.
    contents: Vec<Content>,
}

static TRUTH: LazyLock<Truth> = LazyLock::new(|| {
    let files = history(IndexKind::Memory);
    let records: Vec<Record> =
        place::with(&files, |dir| JournalReader::open(dir).unwrap().map(Result::unwrap).collect());
    let mut contents = vec![Content::new()];
    contents.extend((1..=records.len()).map(|count| content_of(&records[..count])));
    Truth { files, digests: records.iter().map(|record| record.digest).collect(), contents }
});

/// The files of a closed store with some history, as after a crash: without the checkpoint that a clean end signs.
pub fn history(kind: IndexKind) -> Files {
    place::with(&Files::new(), |dir| {
        let store = open(dir, kind).unwrap();
        for n in 0..11 {
            let put = Write::Put(format!("k/{}", n % 4), raw(format!(r#"{{"n":{n}}}"#)));
            let writes = if n % 5 == 4 { vec![put, Write::Delete("k/1".to_owned())] } else { vec![put] };
            write(&store, writes, format!(r#"{{"kind":"test","n":{n}}}"#)).unwrap();
        }
        drop(store);
        let mut files = place::read(dir);
        files.retain(|(path, _)| path != Path::new("checkpoint"));
        files
    })
}

/// Writes one record; its position.
///
/// # Errors
/// The store's own.
pub fn write(store: &LocalStore, writes: Vec<Write>, entry: String) -> Result<Position, StoreError> {
    let commit = Commit { room: Room::Common, conditions: vec![], writes, entry: raw(entry), without_quorum: None };
    let runtime = Builder::new_current_thread().build().unwrap();
    match runtime.block_on(store.commit(commit))? {
        Committed::Done(position) => Ok(position),
        Committed::Conflict { key, .. } => unreachable!("nobody else wrote {key}"),
    }
}

/// A value or an entry.
pub fn raw(text: impl Into<String>) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

/// Opens the store of a folder.
///
/// # Errors
/// The store's own.
pub fn open(dir: &Path, kind: IndexKind) -> Result<Arc<LocalStore>, OpenError> {
    let mut settings = LocalSettings::new(dir.to_owned());
    (settings.index, settings.segment_bytes, settings.hold_for) = (kind, 1000, Duration::ZERO);
    settings.reserve_bytes = 4096;
    LocalStore::open(settings, SIGNER.clone(), Arc::new(ManualClock::at(NOW)))
}

/// What an open store holds.
pub fn content(store: &LocalStore) -> Content {
    let all = store.list("").unwrap().into_iter();
    all.map(|(key, stored)| (key, (stored.value.get().to_owned(), stored.revision))).collect()
}

fn content_of(records: &[Record]) -> Content {
    let mut content = Content::new();
    for record in records {
        for (key, value) in &record.put {
            content.insert(key.clone(), (value.get().to_owned(), record.position));
        }
        record.delete.iter().for_each(|key| drop(content.remove(key)));
    }
    content
}

/// Nothing changed, a torn end, and a forged end.
pub fn seeds() -> Vec<Seed> {
    vec![
        Seed::new("nothing-changed", []),
        Seed::new("a-torn-end", [3, 255, 0, 250, 0, 0]),
        Seed::new("a-forged-end", [5, 255, 0, 0, 0, b'7']),
        Seed::new("a-record-added", [&[6, 255, 0, 0, 7, 0], br#"{"kind":"x"},"put":{"a":[1]}"#.as_slice()].concat()),
    ]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let truth = &*TRUTH;
    let mut files = truth.files.clone();
    let mut journal: Vec<usize> = (0..files.len()).filter(|at| files[*at].0.starts_with("journal")).collect();
    // The tail is where most happens: the last file by name, and the last digit of the edit means it.
    journal.sort_by_key(|at| files[*at].0.extension().is_some_and(|kind| kind == "jsonl"));
    let (mut forged, mut gone) = (false, BTreeSet::new());
    let mut rest = bytes;
    for _edit in 0..EDITS_MAX {
        let Some((edit, behind)) = rest.split_first_chunk::<EDIT_BYTES>() else { break };
        rest = behind;
        let which = if edit[1] == u8::MAX { journal.len() - 1 } else { usize::from(edit[1]) % journal.len() };
        match edit[0] {
            GONE => drop(gone.insert(journal[which])),
            SWAPPED => {
                let other = journal[usize::from(edit[4]) % journal.len()];
                let bytes = files[other].1.clone();
                files[other].1 = std::mem::replace(&mut files[journal[which]].1, bytes);
            }
            what if what % 7 == 6 => {
                add_record(&mut files[journal[which]].1, behind);
                (forged, rest) = (true, &[]);
            }
            _ => forged |= change(&mut files[journal[which]].1, *edit),
        }
    }
    let changed = files != truth.files || !gone.is_empty();
    let files = (0..).zip(files).filter(|(at, _)| !gone.contains(at)).map(|(_, file)| file).collect();
    let goes_on = bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>() % GOES_ON_EVERY == 0;
    place::with(&files, |dir| {
        let verified = judge(dir, changed, forged);
        if goes_on {
            takes_a_record_or_nothing(dir, forged);
            takes_an_earlier_time_or_nothing(dir, verified);
        }
        verified
    })
}

/// Makes one edit; true if it made digests fit again.
pub fn change(file: &mut Vec<u8>, [what, _, at_high, at_low, count, byte]: [u8; EDIT_BYTES]) -> bool {
    let at = usize::from(u16::from_be_bytes([at_high, at_low])) % (file.len() + 1);
    let upto = (at + usize::from(count)).min(file.len());
    match what % 7 {
        0 => file[at..].iter_mut().take(1).for_each(|found| *found ^= 1 << (byte % 8)),
        1 => drop(file.drain(at..upto)),
        2 => drop(file.splice(at..at, vec![byte; usize::from(count)])),
        3 => file.truncate(at),
        4 => {
            let mut lines: Vec<Vec<u8>> = file.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if let (false, one, other) = (lines.is_empty(), usize::from(count), usize::from(byte)) {
                let length = lines.len();
                if one % 2 == 0 {
                    lines.swap(one % length, other % length);
                } else {
                    lines.push(lines[other % length].clone());
                }
            }
            *file = lines.concat();
        }
        // Counted from the end, so that the last records are found by small numbers.
        _ => {
            let before = file.len() - at;
            // A number's first digit, not one of a digest.
            let is_number = |pair: &[u8]| pair[0] == b':' && pair[1].is_ascii_digit();
            let Some(colon) = file[..before].windows(2).rposition(is_number) else { return false };
            file[colon + 1] = b'0' + byte % 10;
            let line = file[..colon].split(|byte| *byte == b'\n').count() - 1;
            reseal(file, line, if count % 2 == 1 { line } else { usize::MAX });
            return true;
        }
    }
    false
}

/// Makes lines follow from the one before, whatever they say.
fn reseal(file: &mut Vec<u8>, first: usize, last: usize) {
    let mut before: Option<String> = None;
    let mut sealed = Vec::new();
    for (number, line) in file.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let (Some(text), true) = (line.get(65..), (first..=last).contains(&number)) else {
            before = line.get(..64).map(|digest| String::from_utf8_lossy(digest).into_owned());
            sealed.extend_from_slice(line);
            continue;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        let (head, tail) = text.split_once("\"prev\":\"").unwrap_or((&text, ""));
        let prev = before.as_deref().or(tail.get(..64)).unwrap_or_default();
        let text = format!("{head}\"prev\":\"{prev}{}", tail.get(64..).unwrap_or_default());
        let digest = Digest::of(text.trim_end_matches('\n').as_bytes()).to_string();
        sealed.extend_from_slice(format!("{digest} {text}").as_bytes());
        before = Some(digest);
    }
    *file = sealed;
}

/// Adds a record with this entry (and whatever follows it) that fits the one before.
fn add_record(file: &mut Vec<u8>, entry: &[u8]) {
    let last = file.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
    let text = String::from_utf8_lossy(last.get(65..).unwrap_or_default()).into_owned();
    let position: u64 = text.split([':', ',']).nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    let at = text.split("\"at\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let prev = String::from_utf8_lossy(last.get(..64).unwrap_or_default());
    let head = format!(r#"{{"position":{},"at":"{at}","prev":"{prev}","entry":"#, position.wrapping_add(1));
    let text = [head.as_bytes(), entry, b"}"].concat();
    file.extend_from_slice(format!("{} ", Digest::of(&text)).as_bytes());
    file.extend_from_slice(&text);
    file.push(b'\n');
}

fn judge(dir: &Path, changed: bool, forged: bool) -> bool {
    let truth = &*TRUTH;
    // Also where every file of it is gone.
    std::fs::create_dir_all(dir.join("journal")).unwrap();
    let verified = verify_journal(dir, Some(SIGNER.verifier().key()));
    let read: Vec<Record> = JournalReader::open(dir).unwrap().map_while(Result::ok).collect();
    match &verified {
        Ok(report) => {
            let digests: Vec<Digest> = read.iter().map(|record| record.digest).collect();
            // A checkpoint vouches for all before it; for its own time only the next one does.
            let signed = read.iter().rposition(|record| record.entry.get().contains("checkpoint")).unwrap_or(0);
            let kept = if forged { &digests[..signed] } else { &digests };
            if report.checkpoints > 0 || !forged {
                assert!(truth.digests.starts_with(kept), "a changed record is believed");
            }
            assert_eq!(report.records, u64::try_from(read.len()).unwrap());
        }
        Err(error) => {
            can_be_shown(error);
            assert!(changed, "an untouched journal holds");
        }
    }
    match open(dir, IndexKind::Memory) {
        Ok(store) => {
            let content = content(&store);
            if verified.is_ok() {
                assert_eq!(content, content_of(&read));
            } else if !forged {
                assert!(truth.contents.contains(&content), "a state that never was");
            }
        }
        Err(error) => {
            can_be_shown(&error);
            assert!(verified.is_err(), "what holds opens: {error}");
        }
    }
    verified.is_ok()
}

/// What opens can be written to, unless somebody forged a time to come.
fn takes_a_record_or_nothing(dir: &Path, forged: bool) {
    let Ok(store) = open(dir, IndexKind::Memory) else { return };
    match write(&store, vec![Write::Put("after".to_owned(), raw("1"))], r#"{"kind":"after"}"#.to_owned()) {
        Ok(_) => {}
        Err(StoreError::Clock(_)) => assert!(forged, "no time here is later than now"),
        Err(error) => unreachable!("what opens can be written to: {error}"),
    }
}

/// What holds still holds, and then with an earlier time behind it; whatever is refused is left as it is.
fn takes_an_earlier_time_or_nothing(dir: &Path, held: bool) {
    let journal = || if held { Files::new() } else { place::read(&dir.join("journal")) };
    let before = journal();
    match accept_time(dir, EARLIER, "uid 7", "ntp went mad") {
        Ok(accepted) => {
            let report = verify_journal(dir, Some(SIGNER.verifier().key()));
            assert!(report.is_ok() || !held, "{report:?}");
            let is_last = |at: Position| report.is_err() || report.is_ok_and(|report| report.records == at);
            assert!(accepted.is_none_or(|accepted| is_last(accepted.position)));
        }
        Err(error) => {
            can_be_shown(&error);
            assert!(!held && journal() == before, "what is refused is left as it is: {error}");
        }
    }
}
