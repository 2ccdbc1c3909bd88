//! Where a journal begins: with record 1, or behind the last record of what was archived.
//!
//! That record, the checkpoint that ended its segment, is kept in a file `<its number>.base`, and under it the signed
//! account of what left. The newest such file decides: segments before it are leftovers of an archiving that was
//! interrupted, and no part of the journal.

use super::account::Account;
use super::chain::Chain;
use super::checkpoint::{self, Claim};
use super::journal::replace_file;
use super::reader::{JournalError, LINE_BYTES_MAX, Segment, numbered};
use super::{Flaw, Position, Record};
use crate::crypto::PublicKey;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// How the files end in their names.
const SUFFIX: &str = "base";
/// As the journal's own files.
const MODE: u32 = 0o600;

/// A checkpoint that a journal goes on from, and the file it is kept in.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) path: PathBuf,
    pub(super) record: Record,
    pub(super) account: Account,
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
        let Some(Base { path, record, .. }) = &self.base else { return Ok(Chain::START) };
        let broken = |why| JournalError::Broken { segment: path.clone(), position: record.position, why };
        Ok(Chain::up_to(record, Claim::of(record).map_err(broken)?))
    }
}

impl Base {
    /// The file of a base.
    pub(super) fn path(journal: &Path, position: Position) -> PathBuf {
        journal.join(format!("{position:020}.{SUFFIX}"))
    }

    /// Lays down a checkpoint's line, and what is said of the records up to it.
    pub(super) fn write(path: &Path, line: &[u8], account: &Account) -> io::Result<()> {
        let account = serde_json::to_vec(account)?;
        replace_file(path, &[line, b"\n", &account, b"\n"].concat(), MODE)
    }

    /// Whoever cannot sign cannot take records away.
    pub(super) fn must_be_accounted_for(&self, key: &PublicKey) -> Result<(), JournalError> {
        if self.account.is_signed_by(key) {
            return Ok(());
        }
        let (segment, position) = (self.path.clone(), self.record.position);
        Err(JournalError::Broken { segment, position, why: Flaw::MissingUnrecorded })
    }

    fn read(path: PathBuf, position: Position) -> Result<Self, JournalError> {
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LINE_BYTES_MAX).read_to_end(&mut text));
        read.map_err(JournalError::io(&path))?;
        let read = parse(&text, position);
        read.map_err(|why| JournalError::Broken { segment: path.clone(), position, why })
            .map(|(record, account)| Self { path, record, account })
    }
}

fn parse(text: &[u8], position: Position) -> Result<(Record, Account), Flaw> {
    let text = str::from_utf8(text).ok().and_then(|text| text.strip_suffix('\n')).ok_or(Flaw::NotARecord)?;
    let (line, account) = text.split_once('\n').unwrap_or((text, ""));
    let record = Record::parse(line.as_bytes())?;
    if record.position != position {
        return Err(Flaw::PositionDiffers);
    }
    if !checkpoint::is_one(&record.entry) {
        return Err(Flaw::CheckpointMissing);
    }
    let account = Account::parse(account).filter(|account| account.is_of(&record)).ok_or(Flaw::MissingUnrecorded)?;
    Ok((record, account))
}
