//! Where a journal begins: with record 1, or behind the last record of what was archived.
//!
//! That record, the checkpoint that ended its segment, is kept in a file `<its number>.base`. The newest such file
//! decides: segments before it are leftovers of an archiving that was interrupted, and no part of the journal.

use super::chain::Chain;
use super::checkpoint::{self, Claim};
use super::reader::{JournalError, LINE_BYTES_MAX, Segment, numbered};
use super::{Flaw, Position, Record};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// How the files end in their names.
const SUFFIX: &str = "base";

/// A checkpoint that a journal goes on from, and the file it is kept in.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) path: PathBuf,
    pub(super) record: Record,
}

/// The segments of a journal and what they follow.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    /// None where the journal begins with record 1.
    pub(super) base: Option<Base>,
    /// Oldest first.
    pub(super) segments: Vec<Segment>,
    /// Archived, and still here.
    pub(super) leftovers: Vec<Segment>,
}

impl Beginning {
    /// Looks into a journal's folder.
    pub(super) fn of(journal: &Path) -> Result<Self, JournalError> {
        let newest = numbered(journal, SUFFIX)?.into_iter().max();
        let base = newest.map(|(position, path)| Base::read(path, position)).transpose()?;
        let behind = base.as_ref().map_or(0, |base| base.record.position);
        let (leftovers, segments) = Segment::all(journal)?.into_iter().partition(|segment| segment.first <= behind);
        Ok(Self { base, segments, leftovers })
    }

    /// What the first segment follows. Who signed it is not asked.
    pub(super) fn chain(&self) -> Result<Chain, JournalError> {
        let Some(Base { path, record }) = &self.base else { return Ok(Chain::START) };
        let broken = |why| JournalError::Broken { segment: path.clone(), position: record.position, why };
        Ok(Chain::up_to(record, Claim::of(record).map_err(broken)?))
    }
}

impl Base {
    /// The file of a base.
    pub(super) fn path(journal: &Path, position: Position) -> PathBuf {
        journal.join(format!("{position:020}.{SUFFIX}"))
    }

    fn read(path: PathBuf, position: Position) -> Result<Self, JournalError> {
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LINE_BYTES_MAX).read_to_end(&mut text));
        read.map_err(JournalError::io(&path))?;
        let line = text.strip_suffix(b"\n").ok_or(Flaw::NotARecord);
        match line.and_then(Record::parse) {
            Ok(record) if record.position != position => Err(Flaw::PositionDiffers),
            Ok(record) if !checkpoint::is_one(&record.entry) => Err(Flaw::CheckpointMissing),
            read => read,
        }
        .map_err(|why| JournalError::Broken { segment: path.clone(), position, why })
        .map(|record| Self { path, record })
    }
}
