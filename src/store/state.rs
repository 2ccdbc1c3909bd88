//! The whole state at a checkpoint, in a file beside the journal, so that a start need not read all records.
//!
//! Lines `{"key":…,"revision":…,"value":…}` in key order. The digest runs over the lines, each hashed with the digest
//! so far, so that neither writer nor reader needs the state in memory. A checkpoint's note vouches for it.

use super::beginning::Base;
use super::index::Index;
use super::journal::{private, sync_folder};
use super::reader::{JournalError, LINE_BYTES_MAX, numbered};
use super::{Position, Revision, Stored};
use crate::crypto::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// How the files end in their names.
const SUFFIX: &str = "state";
/// The newest could be damaged, then the one before saves most of the replay.
const KEPT: usize = 2;

/// A state's digest and size, made line by line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Summary {
    pub(super) digest: Digest,
    pub(super) keys: u64,
}

impl Summary {
    pub(super) const EMPTY: Self = Self { digest: Digest::from_bytes([0; 32]), keys: 0 };

    /// Takes in one line, without its end.
    pub(super) fn add(&mut self, line: &[u8]) {
        self.digest = Digest::of_parts(&[self.digest.as_bytes(), line]);
        self.keys += 1;
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
    revision: Revision,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// One key as a line of the state, without its end; replaces what `line` holds. The value is JSON text.
pub(super) fn render_line(line: &mut Vec<u8>, key: &str, (revision, value): (Revision, &str)) -> io::Result<()> {
    line.clear();
    line.extend_from_slice(br#"{"key":"#);
    serde_json::to_writer(&mut *line, key)?;
    write!(line, r#","revision":{revision},"value":{value}}}"#)
}

/// The file with the state before the record at `position`.
pub(super) fn path(journal: &Path, position: Position) -> PathBuf {
    journal.join(format!("{position:020}.{SUFFIX}"))
}

/// Writes the state of an index aside, syncs it and gives it its name.
pub(super) fn write(journal: &Path, position: Position, index: &Index) -> io::Result<Summary> {
    let path = path(journal, position);
    let aside = path.with_extension("aside");
    let written = write_lines(&aside, index).and_then(|summary| {
        fs::rename(&aside, &path)?;
        sync_folder(journal)?;
        Ok(summary)
    });
    if written.is_err() {
        // Best effort: a leftover only takes room, and the next start removes it.
        drop(fs::remove_file(&aside));
    }
    written
}

fn write_lines(aside: &Path, index: &Index) -> io::Result<Summary> {
    let file = private().create(true).write(true).truncate(true).open(aside)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let (mut summary, mut line) = (Summary::EMPTY, Vec::new());
    index.each(|key, held| {
        render_line(&mut line, key, held)?;
        summary.add(&line);
        line.push(b'\n');
        out.write_all(&line)
    })?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(summary)
}

/// Reads a state line by line and answers what it amounts to.
pub(super) fn read(path: &Path, mut each: impl FnMut(String, Stored) -> io::Result<()>) -> io::Result<Summary> {
    let mut lines = BufReader::with_capacity(1 << 16, File::open(path)?);
    let (mut summary, mut line) = (Summary::EMPTY, Vec::new());
    loop {
        line.clear();
        if lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(summary);
        }
        let text = line.strip_suffix(b"\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        summary.add(text);
        let Line { key, revision, value } = serde_json::from_slice(text)?;
        each(key.into_owned(), Stored { value: value.to_owned(), revision })?;
    }
}

/// The newest state: of which record, and where.
pub(super) fn newest(journal: &Path) -> Result<Option<(Position, PathBuf)>, JournalError> {
    Ok(numbered(journal, SUFFIX)?.into_iter().max())
}

/// The newest state that no record after this one was needed for.
pub(super) fn newest_before(journal: &Path, last: Position) -> Result<Option<PathBuf>, JournalError> {
    let written = numbered(journal, SUFFIX)?.into_iter().filter(|(of, _)| *of <= last);
    Ok(written.max().map(|(_of, path)| path))
}

/// How long the newest state is; 0 where there is none.
pub(super) fn bytes_of_newest(journal: &Path) -> u64 {
    let file = newest(journal).ok().flatten().and_then(|(_position, path)| fs::metadata(path).ok());
    file.map_or(0, |file| file.len())
}

/// Removes all but the newest states and the one that the journal begins with; what the others held can be made again
/// from the segments.
pub(super) fn prune(journal: &Path) -> Result<(), JournalError> {
    let mut states = numbered(journal, SUFFIX)?;
    states.retain(|(position, _)| !Base::path(journal, *position).exists());
    states.sort();
    states.truncate(states.len().saturating_sub(KEPT));
    let leftovers = numbered(journal, "aside")?;
    for (_position, path) in states.into_iter().chain(leftovers) {
        fs::remove_file(&path).map_err(JournalError::io(&path))?;
    }
    Ok(())
}
