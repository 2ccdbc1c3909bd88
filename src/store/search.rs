//! Finds the few records that hold a piece of text, newest segment first: the others are not read as JSON.
//!
//! Judges the lines it finds and no other; that nothing is missing and all hangs together is `verify`'s to say.

use super::reader::{FOLDER, LINE_BYTES_MAX, Segment};
use super::{Flaw, JournalError, Position, Record};
use memchr::memmem::Finder;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::Path;

/// What one segment holds of it.
#[derive(Debug)]
pub struct Hits {
    /// The number of the segment's first record.
    pub first: Position,
    /// Oldest first.
    pub records: Vec<Record>,
}

/// The segments of a journal that hold a piece of text, newest first.
#[derive(Debug)]
pub struct JournalSearch {
    /// Oldest first.
    segments: Vec<Segment>,
    piece: Finder<'static>,
}

impl JournalSearch {
    /// Looks in a store's folder for lines with this piece; a server may be writing there.
    ///
    /// # Errors
    /// `Io` when the folder cannot be listed.
    pub fn of(dir: &Path, piece: &str) -> Result<Self, JournalError> {
        Ok(Self { segments: Segment::all(&dir.join(FOLDER))?, piece: Finder::new(piece).into_owned() })
    }

    /// Only in the segment that holds this record and so many before it.
    #[must_use]
    pub fn back_from(mut self, position: Position, segments_max: usize) -> Self {
        self.segments.retain(|segment| segment.first <= position);
        let old = self.segments.len().saturating_sub(segments_max);
        self.segments.drain(..old);
        self
    }

    fn look_into(&self, segment: &Segment) -> Result<Hits, JournalError> {
        let mut hits = Hits { first: segment.first, records: Vec::new() };
        each_line(segment, |_position, line| {
            if self.piece.find(line).is_some() {
                hits.records.push(Record::parse(line)?);
            }
            Ok(())
        })?;
        Ok(hits)
    }
}

/// Hands out a segment's lines with the numbers that their records should have; answers the number after the last.
pub(super) fn each_line(
    segment: &Segment,
    mut heard: impl FnMut(Position, &[u8]) -> Result<(), Flaw>,
) -> Result<Position, JournalError> {
    let file = match File::open(&segment.path) {
        Ok(file) => file,
        // Moved away since the folder was listed.
        Err(gone) if gone.kind() == ErrorKind::NotFound => return Ok(segment.first),
        Err(error) => return Err(JournalError::io(&segment.path)(error)),
    };
    let (mut lines, mut line) = (BufReader::with_capacity(1 << 16, file), Vec::new());
    let mut position = segment.first;
    loop {
        line.clear();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(JournalError::io(&segment.path))?;
        // What has no end is being written, or was when the machine died.
        let Some(text) = line.strip_suffix(b"\n") else { return Ok(position) };
        let broken = |why| JournalError::Broken { segment: segment.path.clone(), position, why };
        heard(position, text).map_err(broken)?;
        position = position.saturating_add(1);
    }
}

impl Iterator for JournalSearch {
    type Item = Result<Hits, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let segment = self.segments.pop()?;
        Some(self.look_into(&segment))
    }
}
