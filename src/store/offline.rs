//! A journal whose server is stopped, read to its end and held, so that a command can add a record of its own.

use super::journal::{AppendError, Journal, RealDisk};
use super::local::lock;
use super::note::NoteSigner;
use super::point::Point;
use super::reader::FOLDER;
use super::record::{Link, Page};
use super::recovery::{End, cut, end_of};
use super::{Entry, JournalReader, OpenError, Position, TornTail, repair};
use serde::Serialize;
use serde_json::value::to_raw_value;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// A stopped journal, at its end.
#[derive(Debug)]
pub(super) struct Offline {
    journal: Journal,
    segment: PathBuf,
    torn: Option<TornTail>,
    _lock: File,
}

impl Offline {
    /// Reads the whole journal of a store's folder; no server may have it open, nor start until this is dropped.
    ///
    /// # Errors
    /// `InUse`, `Io`, and `Journal` for a journal that is not whole.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let lock = lock(dir)?;
        let folder = dir.join(FOLDER);
        let mut reader = JournalReader::open(dir)?;
        while reader.next().transpose()?.is_some() {}
        let End { segment, length, chain, torn } = end_of(&reader, &folder);
        let path = segment.path.clone();
        let journal = Journal::at(folder, Box::new(RealDisk), segment, length, chain);
        Ok(Self { journal, segment: path, torn, _lock: lock })
    }

    /// The last record.
    pub(super) const fn last(&self) -> Link {
        self.journal.link()
    }

    /// The last record, the segment that the next one goes to, and how long that is.
    pub(super) const fn place(&self) -> (Link, (Position, u64)) {
        (self.last(), self.journal.place())
    }

    /// A signed checkpoint that counts all of it.
    pub(super) fn note(&self, signer: &NoteSigner) -> io::Result<String> {
        Point::of(self.last(), &self.journal.chain().tree, self.journal.place(), signer).note
    }

    /// Adds a record at this time; cuts off what a crash left unfinished before, and says so.
    pub(super) fn append(&mut self, entry: &impl Serialize, at: OffsetDateTime) -> Result<Position, OpenError> {
        let path = self.segment.clone();
        let fault = |source: io::Error| OpenError::Io { path: path.clone(), source };
        let entry = to_raw_value(entry).map_err(|wrong_form| fault(wrong_form.into()))?;
        if let Some(torn) = self.torn.take() {
            cut(&torn.segment, torn.offset).map_err(OpenError::io(&torn.segment))?;
            let told = repair::entry(&torn).map_err(fault)?;
            let last = self.last().at;
            add(&mut self.journal, &told, last).map_err(fault)?;
        }
        add(&mut self.journal, &entry, at).map_err(fault)
    }
}

fn add(journal: &mut Journal, entry: &Entry, at: OffsetDateTime) -> io::Result<Position> {
    let mut page = Page::new();
    page.begin(journal.link(), at);
    let position = page.add(entry, &[]);
    match journal.append(&page) {
        Ok(()) => Ok(position),
        Err(AppendError::Refused(source) | AppendError::Unsure(source)) => Err(source),
    }
}
