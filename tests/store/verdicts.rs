//! Every way to harm the files of a closed store, and what the next start makes of it, as a table to be read:
//! `tests/tables/damage/journal.txt`. `LANYARD_REWRITE_TABLES=1` writes what is found as what is wanted.

use super::harm::{Harm, journal_harms};
use super::*;
use lanyard::store::verify_journal;
use lanyard::telemetry::chain;
use std::error::Error;
use std::fs;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/damage/journal.txt");

const HEAD: &str = "\
# What an audit and a start make of a harmed journal. Each block: the harm, then the words of `audit verify`, then
# what a start does; where it depends on it, without an index on disk (memory) and with one as new as the journal (sled).
# heals: everything acknowledged is there. refuses: nothing is changed, and the words are these.
# LOSES: nobody can know from these files alone; an auditor who kept the last digest can.
# Written by tests/store/verdicts.rs; judge the changes.
";

/// A closed store with a history of several segments, deletions and a tail, and what it holds.
pub(super) struct Past {
    pub(super) place: Place,
    pub(super) content: Vec<(String, String, u64)>,
}

/// Always the same history: only keys and digests differ.
pub(super) async fn a_past(kind: IndexKind) -> Past {
    let place = Place::new(kind).with_segments_of(800);
    let store = place.open();
    for n in 0..19 {
        place.clock.advance(Duration::from_secs(1));
        let gone = (n % 5 == 1).then(|| delete(&format!("k/{}", n - 1)));
        let writes = gone.into_iter().chain([put(&format!("k/{n}"), &format!(r#"{{"n":{n}}}"#))]).collect();
        write(&store, writes).await;
    }
    let content = content(&store);
    drop(store);
    // sled writes a snapshot when it is opened again.
    drop(place.open());
    assert!(place.files("jsonl").len() >= 4 && place.files("state").len() == 2);
    Past { place, content }
}

impl Past {
    /// The same past in a folder of its own, to be harmed.
    pub(super) fn copy(&self) -> Place {
        let Place { kind, segment_bytes, reserve_bytes, .. } = self.place;
        let copy = Place {
            folder: TempDir::new().unwrap(),
            kind,
            signer: self.place.signer.clone(),
            clock: Arc::clone(&self.place.clock),
            segment_bytes,
            reserve_bytes,
        };
        for entry in self.place.dir().read_dir().unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                damage::copy(&entry.path(), &copy.dir().join(entry.file_name()));
            }
        }
        copy
    }

    /// What a start in this place makes of it, in words without the place's name.
    pub(super) async fn verdict(&self, place: &Place) -> String {
        let before = evidence(place);
        let store = match place.try_open() {
            Ok(store) => store,
            Err(refusal) => {
                assert_eq!(evidence(place), before, "a refused journal is left as it is");
                return format!("refuses: {}", words(&refusal, place));
            }
        };
        let mut said = match store.repaired() {
            Some(torn) => format!("heals: cut {} bytes at {} of {}", torn.bytes, torn.offset, name(&torn.segment)),
            None => "heals".to_owned(),
        };
        let found = content(&store);
        let lost = self.content.iter().filter(|kept| !found.contains(kept)).count();
        if found != self.content {
            said = format!("LOSES {lost} of {} keys", self.content.len());
        }
        // Healed is what goes on, and is whole for whoever looks.
        write(&store, vec![put("after", "1")]).await;
        drop(store);
        assert_eq!(content(&place.open()).len(), found.len() + 1);
        said
    }
}

/// The journal's segments and what is in them; a start may throw away checkpoints, which can be made again.
fn evidence(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    if !place.dir().join("journal").exists() {
        return Vec::new();
    }
    let files = place.files("jsonl").into_iter().filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn words(error: &(dyn Error + 'static), place: &Place) -> String {
    chain(error).replace(place.dir().to_str().unwrap(), "DATA")
}

fn audit(place: &Place) -> String {
    match verify_journal(place.dir(), Some(place.signer.verifier().key())) {
        Ok(report) => match report.torn {
            Some(torn) => format!("whole: {} records, and {} bytes of an unfinished one", report.records, torn.bytes),
            None => format!("whole: {} records", report.records),
        },
        Err(error) => words(&error, place),
    }
}

async fn block(harm: &Harm, pasts: [&Past; 2]) -> String {
    let mut verdicts = Vec::new();
    let mut audited = String::new();
    for past in pasts {
        let place = past.copy();
        (harm.does)(&place);
        audited = audit(&place);
        verdicts.push(past.verdict(&place).await);
    }
    let told = match verdicts.as_slice() {
        [memory, sled] if memory == sled => format!("start:  {memory}"),
        [memory, sled] => format!("memory: {memory}\nsled:   {sled}"),
        _ => panic!("two indexes, two verdicts"),
    };
    format!("\n=== {}\naudit:  {audited}\n{told}\n", harm.name)
}

#[tokio::test]
async fn each_harm_to_the_journal_has_its_verdict() {
    let (memory, sled) = (a_past(IndexKind::Memory).await, a_past(IndexKind::Sled).await);
    let mut found = HEAD.to_owned();
    for harm in journal_harms() {
        found += &block(&harm, [&memory, &sled]).await;
    }
    compare(TABLE, &found);
}

/// Holds a table against what was found, block by block; a switch makes what was found the table.
#[expect(clippy::disallowed_methods, reason = "a switch of this test, not of the server")]
pub(super) fn compare(table: &str, found: &str) {
    if std::env::var_os("LANYARD_REWRITE_TABLES").is_some() {
        fs::write(table, found).unwrap();
    }
    let wanted = fs::read_to_string(table).unwrap();
    for (found, wanted) in found.split("\n=== ").zip(wanted.split("\n=== ")) {
        assert_eq!(found, wanted, "judge it, then LANYARD_REWRITE_TABLES=1");
    }
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn the_last_two_records_may_be_cut_at_any_byte() {
    let past = a_past(IndexKind::Memory).await;
    let sled = a_past(IndexKind::Sled).await;
    let file = |place: &Place| place.files("jsonl").pop().unwrap();
    let whole = fs::read(file(&past.place)).unwrap();
    let ends: Vec<_> = (1..=whole.len()).filter(|end| whole[end - 1] == b'\n').collect();
    let [first, second] = [ends[ends.len() - 3], ends[ends.len() - 2]];
    let place = past.copy();
    for kept in first..whole.len() {
        fs::write(file(&place), &whole[..kept]).unwrap();
        if kept > first {
            place.forget_checkpoint();
        }
        let store = place.open();
        let good = if kept < second { first } else { second };
        let torn = store.repaired().map(|torn| (torn.offset, torn.bytes));
        assert_eq!(torn, (kept > good).then_some((good as u64, (kept - good) as u64)), "{kept} bytes kept");
        let lost = if kept < second { 2 } else { 1 };
        assert_eq!(content(&store)[..], without_the_last(&past, lost), "{kept} bytes kept");
        drop(store);
        let left = fs::read(file(&place)).unwrap();
        let told = left.strip_prefix(&whole[..good]).expect("cut off, and nothing else");
        let told = String::from_utf8_lossy(told);
        assert_eq!((told.lines().count(), told.contains("tail_cut")), (usize::from(kept > good), kept > good));
    }
    // An index that has seen them is a witness at every byte; some will do, a start with sled is slow.
    let place = sled.copy();
    let whole = fs::read(file(&place)).unwrap();
    for kept in (first..whole.len()).step_by(23).chain([second - 1, second, second + 1, whole.len() - 1]) {
        fs::write(file(&place), &whole[..kept]).unwrap();
        assert!(matches!(place.try_open(), Err(OpenError::RecordsRemoved { .. })), "{kept} bytes kept");
    }
    fs::write(file(&place), &whole).unwrap();
    assert_eq!(content(&place.open()), sled.content);
}

/// What the past held before its last records, in key order.
fn without_the_last(past: &Past, lost: usize) -> Vec<(String, String, u64)> {
    let mut kept = past.content.clone();
    let mut newest: Vec<_> = kept.iter().map(|(_, _, revision)| *revision).collect();
    newest.sort_unstable();
    let after = newest[newest.len() - lost];
    kept.retain(|(_, _, revision)| *revision < after);
    kept
}
