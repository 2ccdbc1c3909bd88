//! Walks the journal from segment to segment and checks every line against the one before.
//!
//! A last line without an end, in the last segment, is what a crash leaves: the walk stops before it and says so.
//! Anything else that is wrong is `JournalError::Broken`, with its place. Reads only; the committer's start repairs.

use super::beginning::Beginning;
use super::chain::Chain;
use super::checkpoint::{self, Claim};
use super::record::Link;
use super::{Flaw, Position, Record};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// The folder of the journal, inside the store's.
pub(super) const FOLDER: &str = "journal";
/// How segments end in their names.
const SEGMENT_SUFFIX: &str = "jsonl";
/// No line is longer: a commit is some kilobytes, and the caller's own limits are far below this.
pub(super) const LINE_BYTES_MAX: u64 = 64 << 20;

/// Why a journal cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Something was changed, removed or added after it was written.
    #[error("{}, record {position}: {why}", segment.display())]
    Broken {
        /// The file.
        segment: PathBuf,
        /// The record that should stand there.
        position: Position,
        /// What is wrong with it.
        why: Flaw,
    },
    /// A checkpoint that was kept elsewhere does not fit the journal.
    #[error("the checkpoint {} {why}", checkpoint.display())]
    Disproved {
        /// The file with the checkpoint.
        checkpoint: PathBuf,
        /// What does not fit.
        why: Disproof,
    },
    /// A file or folder could not be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How a checkpoint and a journal can contradict each other.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Disproof {
    /// It speaks of records that were moved away.
    #[error(
        "vouches for the first {size} records, and this journal begins behind record {behind}: name the folder that they were archived to"
    )]
    Archived {
        /// How many records it vouches for.
        size: Position,
        /// The last that is not here.
        behind: Position,
    },
    /// The journal has fewer records.
    #[error(
        "vouches for {size} records, and the journal ends with record {last}: its end was cut off, or this is an older copy"
    )]
    Cut {
        /// How many records it vouches for.
        size: Position,
        /// The last there is.
        last: Position,
    },
    /// Not in the form of a checkpoint.
    #[error("is no signed checkpoint")]
    NotACheckpoint,
    /// It is not there or counts none of them, and no other signature does.
    #[error(
        "covers none of the records {first} to {last}, and nothing else that was signed does: anybody can have written them"
    )]
    NothingSigned {
        /// The first of them.
        first: Position,
        /// The last one.
        last: Position,
    },
    /// Of a log that none of the journals is.
    #[error(
        "is of {origin}, and none of these journals is: that journal is missing, or was made anew under another name"
    )]
    OfNone {
        /// What it names.
        origin: String,
    },
    /// The journal has other records.
    #[error("vouches for other records than these: something in records {} to {size} was changed or made anew", good + 1)]
    RootDiffers {
        /// How many records it vouches for.
        size: Position,
        /// So many are as some other checkpoint vouches for them.
        good: Position,
    },
    /// Not signed by the key that was expected.
    #[error("is not signed by the expected key")]
    SignatureDiffers,
}

impl JournalError {
    /// The line in its file, from 1, where one can be named.
    pub fn line(&self) -> Option<Position> {
        let Self::Broken { segment, position, .. } = self else { return None };
        let first: Position = segment.file_stem()?.to_str()?.parse().ok()?;
        let is_segment = segment.extension().is_some_and(|found| found == SEGMENT_SUFFIX);
        is_segment.then(|| position.checked_sub(first)?.checked_add(1)).flatten()
    }

    /// Whoever read it was stopped.
    pub fn stopped(folder: &Path) -> Self {
        Self::Io { path: folder.join(FOLDER), source: io::ErrorKind::Interrupted.into() }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// A line that a crash left unfinished; nobody was told that it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TornTail {
    /// The file.
    pub segment: PathBuf,
    /// Where the line begins: the length of what is good.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// One file of the journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Segment {
    pub(super) first: Position,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(journal: &Path, first: Position) -> Self {
        Self { first, path: journal.join(format!("{first:020}.{SEGMENT_SUFFIX}")) }
    }

    /// All segments of a journal, oldest first.
    pub(super) fn all(journal: &Path) -> Result<Vec<Self>, JournalError> {
        let mut found: Vec<Self> =
            numbered(journal, SEGMENT_SUFFIX)?.into_iter().map(|(first, path)| Self { first, path }).collect();
        found.sort_by_key(|segment| segment.first);
        Ok(found)
    }
}

/// The files `<20 digits>.<suffix>` of a folder.
pub(super) fn numbered(folder: &Path, suffix: &str) -> Result<Vec<(Position, PathBuf)>, JournalError> {
    let mut found = Vec::new();
    for file in folder.read_dir().map_err(JournalError::io(folder))? {
        let path = file.map_err(JournalError::io(folder))?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.len() == 20);
        if let Some(number) = number.and_then(|text| text.parse().ok())
            && path.extension().is_some_and(|found| found == suffix)
        {
            found.push((number, path));
        }
    }
    Ok(found)
}

/// The records of a journal, oldest first. After an error it ends.
#[derive(Debug)]
pub struct JournalReader {
    segments: std::vec::IntoIter<Segment>,
    open: Option<OpenSegment>,
    chain: Chain,
    ends_with_checkpoint: bool,
    torn: Option<TornTail>,
    over: bool,
}

#[derive(Debug)]
struct OpenSegment {
    segment: Segment,
    lines: BufReader<File>,
    /// How far good lines reach.
    offset: u64,
}

impl JournalReader {
    /// Opens the journal in a store's folder; a server may be writing to it.
    ///
    /// # Errors
    /// `Io` when the folder cannot be listed.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let beginning = Beginning::of(&dir.join(FOLDER))?;
        let chain = beginning.chain()?;
        Ok(Self::from(beginning.segments, chain))
    }

    /// Reads these segments, the first of which follows `after`.
    pub(super) fn from(segments: Vec<Segment>, after: Chain) -> Self {
        Self {
            segments: segments.into_iter(),
            open: None,
            chain: after,
            ends_with_checkpoint: true,
            torn: None,
            over: false,
        }
    }

    /// The unfinished last line, once the walk has come to it.
    pub const fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// Where the chain stands so far.
    pub(super) const fn link(&self) -> Link {
        self.chain.link
    }

    /// All that the records so far amount to.
    pub(super) const fn so_far(&self) -> &Chain {
        &self.chain
    }

    /// Whether the last record so far ends its segment.
    pub(super) const fn ends_with_checkpoint(&self) -> bool {
        self.ends_with_checkpoint
    }

    /// The segment being read, and the length of what is good in it.
    pub(super) fn place(&self) -> Option<(&Segment, u64)> {
        self.open.as_ref().map(|open| (&open.segment, open.offset))
    }

    /// Says that something is wrong with the last record read.
    pub(super) fn broken(&self, why: Flaw) -> JournalError {
        self.broken_at(self.link().position, why)
    }

    fn broken_at(&self, position: Position, why: Flaw) -> JournalError {
        let segment = self.open.as_ref().map(|open| open.segment.path.clone()).unwrap_or_default();
        JournalError::Broken { segment, position, why }
    }

    fn step(&mut self) -> Result<Option<Record>, JournalError> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        let next = self.link().next();
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let Some(text) = line.strip_suffix(b"\n") else {
            self.tear(&line, bytes).map_err(|why| self.broken_at(next, why))?;
            return Ok(None);
        };
        let record = Record::parse(text)
            .and_then(|record| record.follows(&self.link()).map(|()| record))
            .and_then(|record| self.stands_in_its_place(&record).map(|()| record))
            .map_err(|why| self.broken_at(next, why))?;
        self.chain.take(record.link());
        self.ends_with_checkpoint = checkpoint::is_one(&record.entry);
        if let Some(open) = &mut self.open {
            open.offset += bytes;
        }
        Ok(Some(record))
    }

    /// A checkpoint says where it stands.
    fn stands_in_its_place(&self, record: &Record) -> Result<(), Flaw> {
        let claim = checkpoint::is_one(&record.entry).then(|| Claim::of(record).ok()).flatten();
        let offset = self.open.as_ref().map_or(0, |open| open.offset);
        if claim.is_none_or(|claim| claim.stands_at(offset)) { Ok(()) } else { Err(Flaw::LengthDiffers) }
    }

    /// The next line with its end, going on to the next segment when one is over.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, JournalError> {
        let mut line = Vec::new();
        loop {
            if let Some(open) = &mut self.open {
                let mut limited = open.lines.by_ref().take(LINE_BYTES_MAX);
                limited.read_until(b'\n', &mut line).map_err(JournalError::io(&open.segment.path))?;
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
            if !self.enter_next()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the next segment; false when there is none.
    fn enter_next(&mut self) -> Result<bool, JournalError> {
        let Some(segment) = self.segments.next() else { return Ok(false) };
        if !self.ends_with_checkpoint {
            return Err(self.broken(Flaw::CheckpointMissing));
        }
        let file = File::open(&segment.path).map_err(JournalError::io(&segment.path))?;
        let (first, lines) = (segment.first, BufReader::with_capacity(1 << 16, file));
        self.open = Some(OpenSegment { segment, lines, offset: 0 });
        if self.link().precedes(first) {
            return Ok(true);
        }
        Err(self.broken_at(self.link().next(), Flaw::PositionDiffers))
    }

    /// A line without an end: a torn tail if nothing follows and it is not a whole record with a changed end.
    fn tear(&mut self, line: &[u8], bytes: u64) -> Result<(), Flaw> {
        if bytes >= LINE_BYTES_MAX {
            return Err(Flaw::TooLong);
        }
        if self.segments.len() != 0 {
            return Err(Flaw::Torn);
        }
        let whole_but_for_its_end = line.split_last().is_some_and(|(_end, text)| Record::parse(text).is_ok());
        if whole_but_for_its_end {
            return Err(Flaw::NotARecord);
        }
        if let Some(open) = &self.open {
            self.torn = Some(TornTail { segment: open.segment.path.clone(), offset: open.offset, bytes });
        }
        Ok(())
    }
}

impl Iterator for JournalReader {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item = self.step().transpose();
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}
