//! Old segments, moved to an archive or removed, so that what is left still proves itself.
//!
//! Crash-safe by its order: copy, sync, read the copy back, lay the state down that the rest goes on from, record it,
//! keep the last record as the base, and only then unlink. Whatever the crash leaves, the journal is whole and the
//! next archiving ends what was begun.

use super::account::{Account, Fate};
use super::beginning::{Base, Beginning};
use super::index::Index;
use super::journal::{replace_file, sync_folder};
use super::local::private_folder;
use super::offline::Offline;
use super::reader::{FOLDER, Segment};
use super::recovery::{last_line, last_record};
use super::verify::state_behind;
use super::{Evidence, JournalError, JournalReader, NoteSigner, OpenError, Position, Record, state, verify_against};
use crate::crypto::Digest;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use time::OffsetDateTime;

/// As the journal's own files.
const MODE: u32 = 0o600;

/// Which of the closed segments go.
#[derive(Clone, Copy, Debug)]
pub enum Segments {
    /// All but so many of the newest closed ones.
    AllBut(usize),
    /// Those whose last record is older.
    Before(OffsetDateTime),
}

/// What is to be archived, and what the journal shall say of it.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveRequest<'a> {
    /// Which segments.
    pub segments: Segments,
    /// The folder they are copied to, laid out as a data folder; none removes them for good.
    pub to: Option<&'a Path>,
    /// Signs the journal's checkpoints, and what it says of this.
    pub signer: &'a NoteSigner,
    /// Who asks for it.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}

impl ArchiveRequest<'_> {
    /// What the journal says of it.
    fn account(&self, (first, last, digest): (Position, Position, Digest), at: OffsetDateTime) -> io::Result<Account> {
        let kind = if self.to.is_some() { Fate::SegmentsArchived } else { Fate::SegmentsRemoved };
        let (to, by, reason) = (self.to.map(Path::to_owned), self.by.to_owned(), self.reason.to_owned());
        Account { kind, first, last, digest, to, by, reason, at, signature: String::new() }.signed(self.signer)
    }
}

/// What was archived or removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Archived {
    /// How many segments.
    pub segments: usize,
    /// The first record that went.
    pub first: Position,
    /// The last one.
    pub last: Position,
    /// Its digest.
    pub digest: Digest,
}

/// Why segments stay where they are.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file or folder of the archive could not be made, read or written.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be opened, or is not whole.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// What would be copied is its own copy, under whatever name: removing the one would remove the other.
    #[error("{} is the journal itself, and no copy of it; name another folder", path.display())]
    Itself {
        /// Which.
        path: PathBuf,
    },
    /// The archive holds another segment of that name.
    #[error("{} is there already, with other records in it; name another folder", path.display())]
    Occupied {
        /// Which.
        path: PathBuf,
    },
}

impl ArchiveError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

impl From<JournalError> for ArchiveError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.into())
    }
}

/// Archives or removes old segments of a stopped server's journal; none where there is nothing to do. The whole journal
/// is verified first.
///
/// # Errors
/// See [`ArchiveError`]. After an error whatever is missing in the folder is in the archive, and verified.
pub fn archive(dir: &Path, request: ArchiveRequest<'_>, now: OffsetDateTime) -> Result<Option<Archived>, ArchiveError> {
    let folder = dir.join(FOLDER);
    let mut journal = Offline::open(dir)?;
    let Beginning { base, mut segments, leftovers } = Beginning::of(&folder)?;
    verify_against(dir, Evidence { key: Some(request.signer.verifier().key()), ..Evidence::default() })?;
    // Not before it is known whose word it is that they were archived.
    remove(&leftovers)?;
    segments.truncate(chosen(&segments, request.segments)?);
    let (Some(oldest), Some(newest)) = (segments.first(), segments.last()) else { return Ok(None) };
    let (count, first) = (segments.len(), oldest.first);
    let (line, _) = last_line(&newest.path).map_err(ArchiveError::io(&newest.path))?;
    let going = Beginning { base, segments, leftovers: Vec::new() };
    if let Some(to) = request.to {
        copy(&folder, &going, to)?;
    }
    let Beginning { base: former, segments, .. } = going.clone();
    let (chain, state) = state_behind(&folder, going, request.signer.verifier().key())?;
    let (last, digest) = (chain.link.position, chain.link.digest);
    let kept = state::path(&folder, last);
    state::write(&folder, last, &Index::Memory(RwLock::new(state))).map_err(ArchiveError::io(&kept))?;
    let at = now.max(journal.last().at);
    let base = Base::path(&folder, last);
    let account = request.account((first, last, digest), at).map_err(ArchiveError::io(&base))?;
    journal.append(&account, at)?;
    Base::write(&base, &line, &account).map_err(ArchiveError::io(&base))?;
    remove(&segments)?;
    if let Some(Base { path, .. }) = former {
        fs::remove_file(&path).map_err(ArchiveError::io(&path))?;
    }
    sync_folder(&folder).map_err(ArchiveError::io(&folder))?;
    Ok(Some(Archived { segments: count, first, last, digest }))
}

/// How many segments go. The newest never does: it is being written, or will be what the next start begins with.
fn chosen(segments: &[Segment], which: Segments) -> Result<usize, JournalError> {
    let time = match which {
        Segments::AllBut(kept) => return Ok(segments.len().saturating_sub(1).saturating_sub(kept)),
        Segments::Before(time) => time,
    };
    let mut count = 0;
    for pair in segments.windows(2) {
        let [closed, next] = pair else { break };
        if last_record(closed, next)?.0.at >= time {
            break;
        }
        count += 1;
    }
    Ok(count)
}

/// Copies segments, and what they follow where that is not there, and reads the copies back.
fn copy(folder: &Path, going: &Beginning, to: &Path) -> Result<(), ArchiveError> {
    let archive = to.join(FOLDER);
    private_folder(to).and_then(|()| private_folder(&archive)).map_err(ArchiveError::io(&archive))?;
    if is_same(folder, &archive).map_err(ArchiveError::io(&archive))? {
        return Err(ArchiveError::Itself { path: archive });
    }
    let there = Beginning::of(&archive)?;
    if let (Some(base), true) = (&going.base, there.segments.is_empty()) {
        copy_file(&state::path(folder, base.record.position), &archive)?;
        copy_file(&base.path, &archive)?;
    }
    let copied = going.segments.iter().map(|segment| {
        copy_file(&segment.path, &archive)?;
        Ok(Segment::new(&archive, segment.first))
    });
    let copied = copied.collect::<Result<Vec<_>, ArchiveError>>()?;
    let mut reader = JournalReader::from(copied, going.chain()?);
    while reader.next().transpose()?.is_some() {}
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), ArchiveError> {
    let path = to.join(from.file_name().unwrap_or_default());
    let bytes = fs::read(from).map_err(ArchiveError::io(from))?;
    match fs::read(&path) {
        Ok(there) if there == bytes => {
            let is_itself = is_same(from, &path).map_err(ArchiveError::io(&path))?;
            if is_itself { Err(ArchiveError::Itself { path }) } else { Ok(()) }
        }
        Ok(_others) => Err(ArchiveError::Occupied { path }),
        Err(_absent) => replace_file(&path, &bytes, MODE).map_err(ArchiveError::io(&path)),
    }
}

/// Whether two names, through whatever links and mounts, are of one file or folder.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let [one, other] = [fs::metadata(one)?, fs::metadata(other)?];
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

fn remove(segments: &[Segment]) -> Result<(), ArchiveError> {
    let remove = |segment: &Segment| fs::remove_file(&segment.path).map_err(ArchiveError::io(&segment.path));
    segments.iter().try_for_each(remove)
}

/// The last record that is not in a store's folder any more, and its time; none where the journal begins with record 1.
///
/// # Errors
/// `Io`, and `Broken` where what the journal begins with cannot be read.
pub fn begins_behind(dir: &Path) -> Result<Option<(Position, OffsetDateTime)>, JournalError> {
    let base = Beginning::of(&dir.join(FOLDER))?.base;
    Ok(base.map(|Base { record, .. }| (record.position, record.at)))
}

/// A journal with what was archived of it, as far as these folders hold it.
pub(super) fn reunited(folder: &Path, archives: &[PathBuf]) -> Result<Beginning, JournalError> {
    let mut whole = Beginning::of(folder)?;
    while let Some(Base { record, .. }) = &whole.base {
        let mut older = None;
        for archive in archives {
            older = older.or(before(&archive.join(FOLDER), record)?);
        }
        let Some(Beginning { base, mut segments, .. }) = older else { break };
        segments.append(&mut whole.segments);
        whole = Beginning { base, segments, leftovers: whole.leftovers };
    }
    Ok(whole)
}

/// What an archive holds up to this record, if it holds it.
fn before(archive: &Path, last: &Record) -> Result<Option<Beginning>, JournalError> {
    let mut found = Beginning::of(archive)?;
    found.segments.retain(|segment| segment.first <= last.position);
    let Some(newest) = found.segments.last() else { return Ok(None) };
    let (line, _) = last_line(&newest.path).map_err(JournalError::io(&newest.path))?;
    Ok(Record::parse(&line).is_ok_and(|found| found.digest == last.digest).then_some(found))
}
