//! The way out for a clock that was wrong: a record in which an operator accepts what it says now.
//!
//! Nothing is written while the clock stands behind the last record, since an order of time that goes back would hide
//! what was put in later; nor after it leapt. Where the time before was the mistake, this record says so: who, why, and
//! from what time on.

use super::offline::Offline;
use super::reckoning::CLOCK_STEP_MAX;
use super::{OpenError, Position};
use serde::Serialize;
use serde_json::value::RawValue;
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

/// Writes that `now` is right, whatever the time of the last record; none when that is of this very time. The whole journal is
/// read first, and no server may have it open.
///
/// # Errors
/// `InUse`, `Io`, and `Journal` for a journal that is not whole.
pub fn accept_time(dir: &Path, now: OffsetDateTime, by: &str, reason: &str) -> Result<Option<AcceptedTime>, OpenError> {
    let mut journal = Offline::open(dir)?;
    let last = journal.last();
    if last.position == 0 || (last.at - now).abs() <= CLOCK_STEP_MAX && last.at <= now {
        return Ok(None);
    }
    let acceptance = Acceptance { kind: "time_accepted", instead_of: last.at, by, reason };
    Ok(Some(AcceptedTime { position: journal.append(&acceptance, now)?, instead_of: last.at }))
}
