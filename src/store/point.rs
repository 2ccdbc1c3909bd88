//! The journal up to one durable record, as files to copy: the writer goes on meanwhile.
//!
//! Segments only grow, and none leaves while a store is open, so a length is enough; states are replaced, so theirs are
//! opened at once.

use super::beginning::{Base, Beginning};
use super::note::NoteSigner;
use super::offline::Offline;
use super::reader::{FOLDER, Segment};
use super::record::Link;
use super::tree::Tree;
use super::tree_head::TreeHead;
use super::{OpenError, Position, state};
use crate::crypto::Digest;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// How far a journal is on the medium.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) link: Link,
    /// The segment that is being written, and how long it is.
    pub(super) segment: (Position, u64),
    /// A signed checkpoint that counts all of it.
    pub(super) note: io::Result<String>,
}

impl Point {
    /// Here, signed.
    pub(super) fn of(link: Link, tree: &Tree, segment: (Position, u64), signer: &NoteSigner) -> Self {
        let note = signer.sign(&TreeHead::of(signer.verifier().name(), tree).to_string()).map_err(io::Error::other);
        Self { link, segment, note }
    }
}

/// A journal's files up to one of its records.
#[derive(Debug)]
pub struct JournalCopy {
    /// The first record that is in them.
    pub first: Position,
    /// The last one.
    pub last: Position,
    /// Its digest.
    pub digest: Digest,
    /// Its time; the Unix epoch where there is none.
    pub at: OffsetDateTime,
    /// To be copied, oldest segment first.
    pub files: Vec<CopyFile>,
    /// The signed checkpoint to go with them; none where nothing was signed yet.
    pub checkpoint: Option<String>,
    /// Keeps a server from starting on a journal at rest.
    held: Option<Offline>,
}

/// A file, as far as it is to be copied.
#[derive(Debug)]
pub struct CopyFile {
    /// Below the store's folder.
    pub name: String,
    /// Where to read it.
    pub from: CopyFrom,
    /// So much of it, from its beginning.
    pub bytes: u64,
}

/// Where a file is read.
#[derive(Debug)]
pub enum CopyFrom {
    /// It may lose its name meanwhile.
    Open(File),
    /// It keeps its name.
    Path(PathBuf),
}

impl JournalCopy {
    pub(super) fn of(dir: &Path, point: Point) -> Result<Self, OpenError> {
        let note = point.note.map_err(OpenError::io(dir))?;
        Self::up_to(dir, (point.link, point.segment), Some(note), None)
    }

    /// The journal of a stopped server, whole and signed; a crash leaves records that were not. None can start until this is dropped.
    ///
    /// # Errors
    /// `InUse`, `Io`, and `Journal` for a journal that is not whole.
    pub fn at_rest(dir: &Path, signer: &NoteSigner) -> Result<Self, OpenError> {
        let offline = Offline::open(dir)?;
        let note = offline.note(signer).map_err(OpenError::io(dir))?;
        Self::up_to(dir, offline.place(), Some(note), Some(offline))
    }

    /// Whether nothing can be added until this is dropped.
    pub const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    fn up_to(
        dir: &Path,
        (link, (newest, length)): (Link, (Position, u64)),
        checkpoint: Option<String>,
        held: Option<Offline>,
    ) -> Result<Self, OpenError> {
        let folder = dir.join(FOLDER);
        let Beginning { base, segments, leftovers: _ } = Beginning::of(&folder)?;
        let first = base.as_ref().map_or(Link::START, |base| base.record.link()).next();
        let mut files = Vec::new();
        if let Some(Base { path, record, .. }) = base {
            files.push(opened(&state::path(&folder, record.position))?);
            files.push(opened(&path)?);
        }
        for Segment { first, path } in segments.into_iter().filter(|segment| segment.first <= link.position) {
            let bytes = if first == newest { length } else { fs::metadata(&path).map_err(OpenError::io(&path))?.len() };
            files.push(CopyFile { name: name(&path), from: CopyFrom::Path(path), bytes });
        }
        let state = state::newest_before(&folder, link.position)?.map(|path| opened(&path)).transpose()?;
        files.extend(state.filter(|state| files.iter().all(|file| file.name != state.name)));
        let Link { position: last, digest, at } = link;
        Ok(Self { first, last, digest, at, files, checkpoint, held })
    }
}

fn opened(path: &Path) -> Result<CopyFile, OpenError> {
    let file = File::open(path).map_err(OpenError::io(path))?;
    let bytes = file.metadata().map_err(OpenError::io(path))?.len();
    Ok(CopyFile { name: name(path), from: CopyFrom::Open(file), bytes })
}

fn name(path: &Path) -> String {
    format!("{FOLDER}/{}", path.file_name().unwrap_or_default().to_string_lossy())
}
