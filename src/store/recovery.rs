//! From what a stopped process left to a journal that can be written and an index that agrees with it.
//!
//! An index that remembers how far it came gets the records it lacks. One that cannot be opened is moved aside and made
//! anew from the newest checkpoint that holds, and the records after it. One that has seen what the journal does not
//! hold is a witness: records were removed, and the store does not open.

use super::beginning::{Base, Beginning};
use super::chain::Chain;
use super::checkpoint::{self, Claim};
use super::index::{Applied, Change, Index, Overlay};
use super::journal::{Disk, Journal};
use super::reader::{FOLDER, Segment};
use super::record::Link;
use super::reserve::is_full;
use super::sled_index::{self, SledIndex};
use super::{
    Flaw, IndexKind, JournalError, JournalReader, LocalSettings, OpenError, Record, TornTail, VerifierKey, notary,
    state,
};
use crate::crypto::PublicKey;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use tracing::warn;

/// How many changes go to the index at once while it is made.
const STEP: usize = 1024;
/// More than a checkpoint record ever has: 64 subtrees of 67 bytes, and a note.
const CHECKPOINT_LINE_BYTES_MAX: u64 = 8192;

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
pub(super) fn recover(
    settings: &LocalSettings,
    disk: Box<dyn Disk>,
    verifier: &VerifierKey,
) -> Result<Recovered, OpenError> {
    let folder = settings.dir.join(FOLDER);
    let Beginning { base, segments, leftovers: _ } = Beginning::of(&folder)?;
    let history = History { base, segments, folder, key: verifier.key() };
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
    history.hear_witnesses(&end, &settings.checkpoints.files(&settings.dir, verifier.name()))?;
    state::prune(&history.folder)?;
    if let Some(TornTail { segment, offset, bytes }) = &end.torn {
        warn!(segment = %segment.display(), offset, bytes, "cut off a record that was never finished");
        cut(segment, *offset).map_err(OpenError::io(segment))?;
    }
    let End { segment, length, chain, torn } = end;
    let journal = Journal::at(history.folder, disk, segment, length, chain);
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
    pub(super) chain: Chain,
    pub(super) torn: Option<TornTail>,
}

/// Where a journal ends that was read to its end.
pub(super) fn end_of(reader: &JournalReader, journal: &Path) -> End {
    let chain = reader.so_far().clone();
    let (segment, length) = match reader.place() {
        Some((segment, length)) if !reader.ends_with_checkpoint() => (segment.clone(), length),
        // Nothing yet, or a finished segment: the next record begins a new one.
        Some(_) | None => (Segment::new(journal, chain.link.next()), 0),
    };
    End { segment, length, chain, torn: reader.torn().cloned() }
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
    /// What the first segment follows, where that is not record 1.
    base: Option<Base>,
    segments: Vec<Segment>,
    /// What every checkpoint is signed by.
    key: &'a PublicKey,
}

impl History<'_> {
    /// Also of segments that no start reads: each is there, ends with a checkpoint of ours, is as long as that says, and
    /// the next begins where it ends. What is wrong within them an audit finds.
    fn look_over(&self) -> Result<(), JournalError> {
        let oldest = self.segments.first().filter(|oldest| self.base.is_none() && !Link::START.precedes(oldest.first));
        if let Some(oldest) = oldest {
            let (segment, position) = (oldest.path.clone(), Link::START.next());
            return Err(JournalError::Broken { segment, position, why: Flaw::PositionDiffers });
        }
        self.base(0)?;
        for (at, segment) in self.segments.iter().enumerate() {
            if let Some((_, chain)) = self.base(at)? {
                JournalReader::from(vec![segment.clone()], chain).next().transpose()?;
            }
        }
        Ok(())
    }

    /// A state is written when every record before its own is on the medium; a checkpoint, when all that it counts are.
    fn hear_witnesses(&self, end: &End, checkpoints: &[PathBuf]) -> Result<(), OpenError> {
        let last = end.chain.link;
        let state = state::newest(&self.folder)?.filter(|(of, _)| *of > last.next()).map(|(_, path)| path);
        let counts_more = |path: &&PathBuf| notary::read(path, self.key).is_some_and(|head| head.size > last.position);
        match state.or_else(|| checkpoints.iter().find(counts_more).cloned()) {
            Some(witness) => Err(OpenError::RecordsRemoved { dir: self.folder.clone(), witness }),
            None => Ok(()),
        }
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
        if self.base.as_ref().is_some_and(|base| applied.position < base.record.position) {
            return Err(io::Error::other("the records that it lacks were archived").into());
        }
        let at =
            self.segments.iter().rposition(|segment| segment.first.saturating_sub(1) <= applied.position).unwrap_or(0);
        let base = self.base(at)?.map_or(Chain::START, |(_, chain)| chain);
        self.replay(index, at, base, applied)
    }

    /// Fills an empty index: from the newest checkpoint that holds, and the records after it.
    fn rebuild(&self, index: &Index) -> Result<End, Trouble> {
        let mut at = self.segments.len().saturating_sub(1);
        let base = loop {
            let Some((record, chain)) = self.base(at)? else { break Chain::START };
            if self.load(index, &record)? {
                break chain;
            }
            at = at.checked_sub(1).ok_or_else(|| {
                let (segment, position) = (state::path(&self.folder, record.position), record.position);
                JournalError::Broken { segment, position, why: Flaw::StateDiffers }
            })?;
        };
        let applied = base.link.into();
        let end = self.replay(index, at, base, applied)?;
        let end = end.ok_or_else(|| io::Error::other("the journal changed while it was read"))?;
        // So that a crash soon after does not mean the same work again.
        index.flush(end.chain.link.into())?;
        Ok(end)
    }

    /// The checkpoint before a segment, and the chain up to it; none before record 1.
    fn base(&self, at: usize) -> Result<Option<(Record, Chain)>, JournalError> {
        let before = at.checked_sub(1).and_then(|before| self.segments.get(before));
        let (file, record, offset) = match (before, self.segments.get(at), &self.base) {
            (Some(before), Some(segment), _) => {
                let (record, offset) = last_record(before, segment)?;
                (&before.path, record, Some(offset))
            }
            (None, _, Some(base)) => {
                base.must_be_accounted_for(self.key)?;
                (&base.path, base.record.clone(), None)
            }
            (..) => return Ok(None),
        };
        let broken = |why| JournalError::Broken { segment: file.clone(), position: record.position, why };
        let claim = self.vouched_for(&record).map_err(broken)?;
        if offset.is_some_and(|offset| !claim.stands_at(offset)) {
            return Err(broken(Flaw::LengthDiffers));
        }
        let chain = Chain::up_to(&record, claim);
        Ok(Some((record, chain)))
    }

    /// A checkpoint by another key is of another journal, or of nobody who may write this one.
    fn vouched_for(&self, record: &Record) -> Result<Claim, Flaw> {
        let claim = Claim::of(record)?;
        if claim.is_signed_by(self.key) { Ok(claim) } else { Err(Flaw::SignatureDiffers) }
    }

    /// Loads the state a record vouches for; false when it is not there or not that state.
    fn load(&self, index: &Index, record: &Record) -> Result<bool, Trouble> {
        let path = state::path(&self.folder, record.position);
        let summary = state::read(&path, |_key, _stored| Ok(()));
        let claim = Claim::of(record);
        if !matches!((&claim, &summary), (Ok(claim), Ok(summary)) if claim.is_of(*summary)) {
            warn!(checkpoint = %path.display(), "the checkpoint does not hold; reading the records before it");
            return Ok(false);
        }
        let mut overlay = Overlay::default();
        // Until the last step the index says that it has come nowhere.
        let nowhere = Applied::from(Link::START);
        state::read(&path, |key, stored| {
            overlay.0.insert(key, Change::Put(stored));
            if overlay.0.len() < STEP { Ok(()) } else { index.apply(&mut overlay, nowhere) }
        })?;
        index.apply(&mut overlay, record.link().into())?;
        Ok(true)
    }

    /// Reads the segments from `at` on, which follow `base`, and applies what comes after `applied`.
    fn replay(&self, index: &Index, at: usize, base: Chain, applied: Applied) -> Result<Option<End>, Trouble> {
        let mut met = Applied::from(base.link) == applied;
        let mut reader = JournalReader::from(self.segments.get(at..).unwrap_or_default().to_vec(), base);
        let mut overlay = Overlay::default();
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

/// The last record of a finished segment, which a checkpoint must be, and where it begins.
pub(super) fn last_record(before: &Segment, next: &Segment) -> Result<(Record, u64), JournalError> {
    let position = next.first.saturating_sub(1);
    let broken = |why| JournalError::Broken { segment: before.path.clone(), position, why };
    let (line, offset) = last_line(&before.path).map_err(JournalError::io(&before.path))?;
    let record = Record::parse(&line).map_err(broken)?;
    if record.position != position {
        return Err(broken(Flaw::PositionDiffers));
    }
    if !checkpoint::is_one(&record.entry) {
        return Err(broken(Flaw::CheckpointMissing));
    }
    Ok((record, offset))
}

/// The last line of a finished segment, without its end, and where it begins.
pub(super) fn last_line(path: &Path) -> io::Result<(Vec<u8>, u64)> {
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
