//! The end of the journal, where lines are added: one write, one sync, and a way back when the write did not work.

use super::Position;
use super::chain::Chain;
use super::reader::Segment;
use super::record::{Link, Page};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Where segments are kept; a seam, so that a full or dying disk can be played.
pub(super) trait Disk: Debug + Send {
    /// Opens a segment to write at its end, making it if need be.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tail>>;
}

/// The end of an open segment.
pub(super) trait Tail: Debug + Send {
    /// Writes all of it, or answers an error with a part written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything appended is on the medium.
    fn sync(&mut self) -> io::Result<()>;
    /// Takes back everything after `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The machine's own files.
#[derive(Clone, Copy, Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tail>> {
        let file = private().create(true).append(true).open(path)?;
        // The name must be as durable as the first record.
        sync_folder(path.parent().unwrap_or(path))?;
        Ok(Box::new(file))
    }
}

impl Tail for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_data()
    }
}

/// How files of the store are opened: for their owner alone.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Replaces a file as a whole, durably: a crash leaves the former or the new one. It is written under a name that nobody
/// gives to a file of theirs, by nobody but us: what an earlier try left there goes first.
pub(crate) fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.new"));
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = private().mode(mode).create_new(true).write(true).open(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    });
    if written.is_err() {
        // Best effort: a leftover only takes room, and the next try removes it.
        drop(fs::remove_file(&aside));
    }
    written?;
    sync_folder(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Why lines were not added.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Nothing was written; the next try may work.
    Refused(io::Error),
    /// Nobody knows what is on the medium; only a restart is safe.
    Unsure(io::Error),
}

/// The journal as its one writer holds it.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    disk: Box<dyn Disk>,
    segment: Segment,
    /// Opened with the first line that needs it.
    tail: Option<Box<dyn Tail>>,
    length: u64,
    chain: Chain,
}

impl Journal {
    /// Goes on with a chain, in a segment of which `length` bytes are good.
    pub(super) fn at(folder: PathBuf, disk: Box<dyn Disk>, segment: Segment, length: u64, chain: Chain) -> Self {
        Self { folder, disk, segment, tail: None, length, chain }
    }

    /// The folder with the segments.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The last record.
    pub(super) const fn link(&self) -> Link {
        self.chain.link
    }

    /// All that is written.
    pub(super) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// How long the segment is.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// The segment that is being written, by its first record, and how long it is.
    pub(super) const fn place(&self) -> (Position, u64) {
        (self.segment.first, self.length)
    }

    /// Adds a page that began at our link; when this returns it is durable.
    pub(super) fn append(&mut self, page: &Page) -> Result<(), AppendError> {
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => none.insert(self.disk.open(&self.segment.path).map_err(AppendError::Refused)?),
        };
        if let Err(error) = tail.append(page.text()) {
            return Err(match tail.cut(self.length) {
                Ok(()) => AppendError::Refused(error),
                Err(_cannot_go_back) => AppendError::Unsure(error),
            });
        }
        tail.sync().map_err(AppendError::Unsure)?;
        self.length += u64::try_from(page.text().len()).unwrap_or(u64::MAX);
        page.digests().iter().for_each(|digest| self.chain.tree.push(digest));
        self.chain.link = page.link();
        Ok(())
    }

    /// The next line begins a new segment; the last one was a checkpoint.
    pub(super) fn turn_over(&mut self) {
        self.segment = Segment::new(&self.folder, self.link().next());
        self.tail = None;
        self.length = 0;
    }
}
