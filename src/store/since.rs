//! Reads the youngest part of the journal back, newest segment first, for the few lines that hold a piece of text.
//!
//! Judges the lines that it hands out and their number, and no other: who asks must know whether any are missing.

use super::reader::{FOLDER, Segment};
use super::search::each_line;
use super::{JournalError, Position, Record};
use memchr::memmem::Finder;
use std::path::Path;
use time::OffsetDateTime;

/// Whether a part of the journal was all there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Completeness {
    /// Back to the time that was asked for, or to the first record there ever was.
    Complete,
    /// Segments are not there: moved away, or lost.
    Gap,
}

/// Hands out the records since a time that hold one of these pieces; a server may be writing meanwhile. In no order.
///
/// # Errors
/// When a line that holds one is no record, or the folder cannot be read.
pub fn records_since(
    dir: &Path,
    since: OffsetDateTime,
    pieces: &[&str],
    mut heard: impl FnMut(Record),
) -> Result<Completeness, JournalError> {
    let finders: Vec<_> = pieces.iter().map(Finder::new).collect();
    let mut newer: Option<Position> = None;
    for segment in Segment::all(&dir.join(FOLDER))?.into_iter().rev() {
        let mut began = None;
        let next = each_line(&segment, |position, line| {
            // The first is read for its time; whether it holds a piece is the hearer's to see.
            if position != segment.first && finders.iter().all(|finder| finder.find(line).is_none()) {
                return Ok(());
            }
            let record = Record::parse(line)?;
            began.get_or_insert(record.at);
            if record.at >= since {
                heard(record);
            }
            Ok(())
        })?;
        if newer.is_some_and(|first| first != next) {
            return Ok(Completeness::Gap);
        }
        if began.is_some_and(|at| at < since) || segment.first == 1 {
            return Ok(Completeness::Complete);
        }
        newer = Some(segment.first);
    }
    Ok(Completeness::Gap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::{Commit, IndexKind, LocalSettings, LocalStore, NoteSigner, Room, Store as _};
    use serde_json::value::to_raw_value;
    use std::sync::Arc;
    use std::time::Duration;

    /// Sixty records, a second apart, in segments of a few.
    async fn written(folder: &Path) -> OffsetDateTime {
        let begin = OffsetDateTime::from_unix_timestamp(1_793_611_800).unwrap();
        let clock = Arc::new(ManualClock::at(begin));
        let settings =
            LocalSettings { index: IndexKind::Memory, segment_bytes: 1024, ..LocalSettings::new(folder.to_owned()) };
        let store = LocalStore::open(settings, NoteSigner::for_test(), Arc::<ManualClock>::clone(&clock)).unwrap();
        for number in 0..60 {
            let kind = if number % 2 == 0 { "even" } else { "odd" };
            let entry = to_raw_value(&serde_json::json!({ "kind": kind, "number": number })).unwrap();
            let (conditions, writes) = (Vec::new(), Vec::new());
            store.commit(Commit { room: Room::Common, conditions, writes, entry, without_quorum: None }).await.unwrap();
            clock.advance(Duration::from_secs(1));
        }
        store.close();
        begin
    }

    fn read(folder: &Path, since: OffsetDateTime) -> (Vec<u64>, Completeness) {
        let mut numbers = Vec::new();
        let complete = records_since(folder, since, &[r#""kind":"odd""#], |record| {
            let entry: serde_json::Value = serde_json::from_str(record.entry.get()).unwrap();
            numbers.extend(entry.get("number").and_then(serde_json::Value::as_u64).filter(|number| number % 2 == 1));
        });
        numbers.sort_unstable();
        (numbers, complete.unwrap())
    }

    #[tokio::test]
    async fn the_young_records_are_found_and_a_missing_segment_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let begin = written(folder.path()).await;
        let since = begin + Duration::from_secs(30);
        let young: Vec<u64> = (30..60).filter(|number| number % 2 == 1).collect();
        assert_eq!(read(folder.path(), since), (young.clone(), Completeness::Complete));
        assert_eq!(read(folder.path(), begin).0.len(), 30);
        let segments = Segment::all(&folder.path().join(FOLDER)).unwrap();
        std::fs::remove_file(&segments.first().unwrap().path).unwrap();
        assert_eq!(read(folder.path(), since), (young, Completeness::Complete), "what is old is not asked for");
        assert_eq!(read(folder.path(), begin).1, Completeness::Gap);
        std::fs::remove_file(&segments[segments.len() - 2].path).unwrap();
        assert_eq!(read(folder.path(), since).1, Completeness::Gap);
    }
}
