//! The way out for a clock that once ran far ahead: a record in which an operator accepts an earlier time.
//!
//! Nothing is written while the clock stands behind the last record, since an order of time that goes back would hide
//! what was put in later. Where the last record was the mistake, this record says so: who, why, and from what time on.

use super::journal::{AppendError, Journal, RealDisk};
use super::local::lock;
use super::reader::FOLDER;
use super::record::Page;
use super::recovery::{cut, end_of};
use super::{JournalReader, OpenError, Position};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::path::Path;
use time::OffsetDateTime;

/// How such an entry begins; [`Acceptance`] is written in this order.
const ENTRY_START: &str = r#"{"kind":"time_accepted","#;

/// What the record says.
#[derive(Serialize)]
struct Acceptance<'a> {
    kind: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    instead_of: OffsetDateTime,
    by: &'a str,
    reason: &'a str,
}

/// What was accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AcceptedTime {
    /// The record that says so.
    pub position: Position,
    /// The time of the record before it.
    pub instead_of: OffsetDateTime,
}

/// Whether an entry may be older than the one before it.
pub(super) fn is_one(entry: &RawValue) -> bool {
    entry.get().starts_with(ENTRY_START)
}

/// Writes that `now` is right, behind a last record of a later time; none when there is nothing to accept. The whole
/// journal is read first, and no server may have it open.
///
/// # Errors
/// `InUse`, `Io`, and `Journal` for a journal that is not whole.
pub fn accept_time(dir: &Path, now: OffsetDateTime, by: &str, reason: &str) -> Result<Option<AcceptedTime>, OpenError> {
    let _lock = lock(dir)?;
    let folder = dir.join(FOLDER);
    let mut reader = JournalReader::open(dir)?;
    while reader.next().transpose()?.is_some() {}
    let last = reader.link();
    if last.position == 0 || last.at <= now {
        return Ok(None);
    }
    let end = end_of(&reader, &folder);
    if let Some(torn) = &end.torn {
        cut(&torn.segment, torn.offset).map_err(OpenError::io(&torn.segment))?;
    }
    let path = end.segment.path.clone();
    let acceptance = Acceptance { kind: "time_accepted", instead_of: last.at, by, reason };
    let entry =
        to_raw_value(&acceptance).map_err(|fault| OpenError::Io { path: path.clone(), source: fault.into() })?;
    let mut page = Page::new();
    page.begin(last, now);
    let position = page.add(&entry, &[]);
    let mut journal = Journal::at(folder, Box::new(RealDisk), end.segment, end.length, last);
    journal.append(&page).map_err(|fault| match fault {
        AppendError::Refused(source) | AppendError::Unsure(source) => OpenError::Io { path, source },
    })?;
    Ok(Some(AcceptedTime { position, instead_of: last.at }))
}
