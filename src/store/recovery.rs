//! From what a stopped process left to a journal that can be written and an index that agrees with it.
//!
//! An index that remembers how far it came gets the records it lacks. One that cannot be opened is moved aside and made
//! anew from the newest checkpoint that holds, and the records after it. One that has seen what the journal does not
//! hold is a witness: records were removed, and the store does not open.

use super::checkpoint::{self, Claim};
use super::index::{Applied, Change, Index, Overlay};
use super::journal::{Disk, Journal};
use super::reader::{FOLDER, Segment};
use super::record::Link;
use super::reserve::is_full;
use super::sled_index::{self, SledIndex};
use super::{Flaw, IndexKind, JournalError, JournalReader, LocalSettings, OpenError, Record, TornTail};
use crate::crypto::PublicKey;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use tracing::warn;

/// How many changes go to the index at once while it is made.
const STEP: usize = 1024;
/// More than a checkpoint record ever has: its fields are of fixed size.
const CHECKPOINT_LINE_BYTES_MAX: u64 = 4096;

/// What a start begins with.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) journal: Journal,
    pub(super) index: Index,
    /// The unfinished line that was cut off.
    pub(super) torn: Option<TornTail>,
    /// Where a damaged index was moved to.
    pub(super) set_aside: Option<PathBuf>,
}

/// Reads, repairs and agrees.
pub(super) fn recover(settings: &LocalSettings, disk: Box<dyn Disk>, key: &PublicKey) -> Result<Recovered, OpenError> {
    let folder = settings.dir.join(FOLDER);
    let history = History { segments: Segment::all(&folder)?, folder, key };
    history.look_over()?;
    let mut set_aside = None;
    let kind = match sled_index::has_room(&settings.dir) {
        Err(error) if settings.index == IndexKind::Sled && is_full(&error) => {
            warn!(%error, "no room for the index on disk; it is kept in memory until the next start");
            IndexKind::Memory
        }
        Err(error) if settings.index == IndexKind::Sled => return Err(OpenError::io(&settings.dir)(error)),
        Ok(()) | Err(_) => settings.index,
    };
    let (index, end) = match kind {
        IndexKind::Memory => {
            let index = Index::memory();
            let end = history.rebuild(&index).map_err(Trouble::into_open_error(&settings.dir))?;
            (index, end)
        }
        IndexKind::Sled => history.sled(&settings.dir.join("index"), &mut set_aside)?,
    };
    // A state is written when every record before its own is on the medium.
    if let Some((_, witness)) = checkpoint::newest(&history.folder)?.filter(|(of, _)| *of > end.link.next()) {
        return Err(OpenError::RecordsRemoved { dir: history.folder, witness });
    }
    checkpoint::prune(&history.folder)?;
    if let Some(TornTail { segment, offset, bytes }) = &end.torn {
        warn!(segment = %segment.display(), offset, bytes, "cut off a record that was never finished");
        cut(segment, *offset).map_err(OpenError::io(segment))?;
    }
    let End { segment, length, link, torn } = end;
    let journal = Journal::at(history.folder, disk, segment, length, link);
    Ok(Recovered { journal, index, torn, set_aside })
}

pub(super) fn cut(segment: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(segment)?;
    file.set_len(length)?;
    file.sync_all()
}

/// Where the journal ends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) segment: Segment,
    pub(super) length: u64,
    link: Link,
    pub(super) torn: Option<TornTail>,
}

/// Where a journal ends that was read to its end.
pub(super) fn end_of(reader: &JournalReader, journal: &Path) -> End {
    let link = reader.link();
    let (segment, length) = match reader.place() {
        Some((segment, length)) if !reader.ends_with_checkpoint() => (segment.clone(), length),
        // Nothing yet, or a finished segment: the next record begins a new one.
        Some(_) | None => (Segment::new(journal, link.next()), 0),
    };
    End { segment, length, link, torn: reader.torn().cloned() }
}

/// What can stop the making of an index.
#[derive(Debug)]
enum Trouble {
    Index(io::Error),
    Journal(JournalError),
}

impl Trouble {
    fn into_open_error(path: &Path) -> impl FnOnce(Self) -> OpenError {
        move |trouble| match trouble {
            Self::Index(source) => OpenError::Io { path: path.to_owned(), source },
            Self::Journal(error) => error.into(),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Index(error)
    }
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// The segments of a journal.
#[derive(Debug)]
struct History<'a> {
    folder: PathBuf,
    segments: Vec<Segment>,
    /// What every checkpoint is signed by.
    key: &'a PublicKey,
}

impl History<'_> {
    /// Also of segments that no start reads: each is there, ends with a checkpoint of ours, is as long as that says, and
    /// the next begins where it ends. What is wrong within them an audit finds.
    fn look_over(&self) -> Result<(), JournalError> {
        if let Some(oldest) = self.segments.first().filter(|oldest| !Link::START.precedes(oldest.first)) {
            let (segment, position) = (oldest.path.clone(), Link::START.next());
            return Err(JournalError::Broken { segment, position, why: Flaw::PositionDiffers });
        }
        for (at, segment) in self.segments.iter().enumerate() {
            if let Some(base) = self.base(at)? {
                JournalReader::from(vec![segment.clone()], base.link()).next().transpose()?;
            }
        }
        Ok(())
    }

    /// Brings the sled index up to the journal, or makes it anew.
    fn sled(&self, folder: &Path, set_aside: &mut Option<PathBuf>) -> Result<(Index, End), OpenError> {
        let found = SledIndex::open(folder).map(Index::Sled).map_err(Trouble::Index);
        let why = match found.and_then(|index| Ok(self.follow(&index)?.map(|end| (index, end)))) {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {
                let (dir, witness) = (self.folder.clone(), folder.to_owned());
                return Err(OpenError::RecordsRemoved { dir, witness });
            }
            Err(Trouble::Index(error)) => error,
            Err(Trouble::Journal(error)) => return Err(error.into()),
        };
        let aside = SledIndex::set_aside(folder).map_err(OpenError::io(folder))?;
        warn!(error = %why, kept_as = %aside.display(), "the index cannot be used; making it anew from the journal");
        *set_aside = Some(aside);
        let index = Index::Sled(SledIndex::open(folder).map_err(OpenError::io(folder))?);
        let end = self.rebuild(&index).map_err(Trouble::into_open_error(folder))?;
        Ok((index, end))
    }

    /// Gives an index what it lacks; nothing if it is not an index of this journal.
    fn follow(&self, index: &Index) -> Result<Option<End>, Trouble> {
        let Some(applied) = index.applied()? else {
            return Ok(if index.is_empty() { Some(self.rebuild(index)?) } else { None });
        };
        let at =
            self.segments.iter().rposition(|segment| segment.first.saturating_sub(1) <= applied.position).unwrap_or(0);
        let base = self.base(at)?.map_or(Link::START, |record| record.link());
        self.replay(index, at, base, applied)
    }

    /// Fills an empty index: from the newest checkpoint that holds, and the records after it.
    fn rebuild(&self, index: &Index) -> Result<End, Trouble> {
        let mut at = self.segments.len().saturating_sub(1);
        let base = loop {
            let Some(record) = self.base(at)? else { break Link::START };
            if self.load(index, &record)? {
                break record.link();
            }
            at -= 1;
        };
        let end = self.replay(index, at, base, base.into())?;
        let end = end.ok_or_else(|| io::Error::other("the journal changed while it was read"))?;
        // So that a crash soon after does not mean the same work again.
        index.flush(end.link.into())?;
        Ok(end)
    }

    /// The checkpoint record before a segment; none before the first.
    fn base(&self, at: usize) -> Result<Option<Record>, JournalError> {
        let before = at.checked_sub(1).and_then(|before| self.segments.get(before));
        let (Some(before), Some(segment)) = (before, self.segments.get(at)) else { return Ok(None) };
        let position = segment.first.saturating_sub(1);
        let broken = |why| JournalError::Broken { segment: before.path.clone(), position, why };
        let (line, offset) = last_line(&before.path).map_err(JournalError::io(&before.path))?;
        let record = Record::parse(&line).map_err(broken)?;
        if record.position != position {
            return Err(broken(Flaw::PositionDiffers));
        }
        if !checkpoint::is_one(&record.entry) {
            return Err(broken(Flaw::CheckpointMissing));
        }
        if !self.vouched_for(&record).map_err(broken)?.stands_at(offset) {
            return Err(broken(Flaw::LengthDiffers));
        }
        Ok(Some(record))
    }

    /// A checkpoint by another key is of another journal, or of nobody who may write this one.
    fn vouched_for(&self, record: &Record) -> Result<Claim, Flaw> {
        Claim::of(record).filter(|claim| claim.is_signed_by(self.key, record)).ok_or(Flaw::SignatureDiffers)
    }

    /// Loads the state a record vouches for; false when it is not there or not that state.
    fn load(&self, index: &Index, record: &Record) -> Result<bool, Trouble> {
        let path = checkpoint::path(&self.folder, record.position);
        let summary = checkpoint::read(&path, |_key, _stored| Ok(()));
        let claim = Claim::of(record);
        if !matches!((&claim, &summary), (Some(claim), Ok(summary)) if claim.is_of(*summary)) {
            warn!(checkpoint = %path.display(), "the checkpoint does not hold; reading the records before it");
            return Ok(false);
        }
        let mut overlay = Overlay::default();
        // Until the last step the index says that it has come nowhere.
        let nowhere = Applied::from(Link::START);
        checkpoint::read(&path, |key, stored| {
            overlay.0.insert(key, Change::Put(stored));
            if overlay.0.len() < STEP { Ok(()) } else { index.apply(&mut overlay, nowhere) }
        })?;
        index.apply(&mut overlay, record.link().into())?;
        Ok(true)
    }

    /// Reads the segments from `at` on, which follow `base`, and applies what comes after `applied`.
    fn replay(&self, index: &Index, at: usize, base: Link, applied: Applied) -> Result<Option<End>, Trouble> {
        let mut reader = JournalReader::from(self.segments.get(at..).unwrap_or_default().to_vec(), base);
        let mut overlay = Overlay::default();
        let mut met = Applied::from(base) == applied;
        while let Some(record) = reader.next().transpose()? {
            let here = Applied::from(record.link());
            if checkpoint::is_one(&record.entry) {
                self.vouched_for(&record).map_err(|why| reader.broken(why))?;
            }
            met |= here == applied;
            if here.position <= applied.position {
                continue;
            }
            if !met {
                return Ok(None);
            }
            overlay.take(record.into_writes(), here.position);
            if overlay.0.len() >= STEP {
                index.apply(&mut overlay, here)?;
            }
        }
        if !met {
            return Ok(None);
        }
        index.apply(&mut overlay, reader.link().into())?;
        Ok(Some(end_of(&reader, &self.folder)))
    }
}

/// The last line of a finished segment, without its end, and where it begins.
fn last_line(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(CHECKPOINT_LINE_BYTES_MAX)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let lines = end.strip_suffix(b"\n").unwrap_or_default();
    let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
    let offset = length.saturating_sub(u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1));
    Ok((line, offset))
}
