//! An audit of the whole journal: every line, every link, every checkpoint, from the first record.

use super::checkpoint::{self, Claim, Summary};
use super::index::Overlay;
use super::reader::FOLDER;
use super::{Flaw, JournalError, JournalReader, Position, Record, Stored, TornTail};
use crate::crypto::{Digest, PublicKey};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use time::OffsetDateTime;

/// What an audit found. A torn tail is no tampering: a crash leaves it, and the next start cuts it off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifyReport {
    /// How many records there are.
    pub records: Position,
    /// How many of them are checkpoints.
    pub checkpoints: u64,
    /// The last record's digest; all zeros when there is none. Kept elsewhere, it proves later that nothing was cut.
    pub last_digest: Digest,
    /// The last record's time.
    pub last_at: Option<OffsetDateTime>,
    /// The unfinished last line.
    pub torn: Option<TornTail>,
}

/// Checks the journal in a store's folder from its first record on. With a key, every checkpoint must be signed by it.
///
/// # Errors
/// `Broken` at the first thing that is wrong, `Io`.
pub fn verify_journal(dir: &Path, key: Option<&PublicKey>) -> Result<VerifyReport, JournalError> {
    let folder = dir.join(FOLDER);
    // Asked first: a server may be writing, and what is there now was written after every record before it.
    let witness = checkpoint::newest(&folder)?;
    let mut reader = JournalReader::open(dir)?;
    let mut state = BTreeMap::new();
    let mut checkpoints = 0;
    while let Some(record) = reader.next().transpose()? {
        if checkpoint::is_one(&record.entry) {
            judge(&folder, &record, &state, key).map_err(|why| reader.broken(why))?;
            checkpoints += 1;
        }
        apply(&mut state, record);
    }
    let last = reader.link();
    if let Some((_, segment)) = witness.filter(|(of, _)| *of > last.next()) {
        return Err(JournalError::Broken { segment, position: last.next(), why: Flaw::PositionDiffers });
    }
    Ok(VerifyReport {
        records: last.position,
        checkpoints,
        last_digest: last.digest,
        last_at: (last.position > 0).then_some(last.at),
        torn: reader.torn().cloned(),
    })
}

fn apply(state: &mut BTreeMap<String, Stored>, record: Record) {
    let mut overlay = Overlay::default();
    let position = record.position;
    overlay.take(record.into_writes(), position);
    overlay.settle(state);
}

/// A checkpoint must vouch for what the records make, in its own file too where that is still kept.
fn judge(
    folder: &Path,
    record: &Record,
    state: &BTreeMap<String, Stored>,
    key: Option<&PublicKey>,
) -> Result<(), Flaw> {
    let claim = Claim::of(record).ok_or(Flaw::NotARecord)?;
    if key.is_some_and(|key| !claim.is_signed_by(key, record)) {
        return Err(Flaw::SignatureDiffers);
    }
    let (mut made, mut line) = (Summary::EMPTY, Vec::new());
    for (key, stored) in state {
        checkpoint::render_line(&mut line, key, (stored.revision, stored.value.get()))
            .map_err(|_not_json| Flaw::StateDiffers)?;
        made.add(&line);
    }
    let kept = match checkpoint::read(&checkpoint::path(folder, record.position), |_key, _stored| Ok(())) {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => made,
        Err(_unreadable) => return Err(Flaw::StateDiffers),
    };
    if claim.is_of(made) && kept == made { Ok(()) } else { Err(Flaw::StateDiffers) }
}
