//! Checkpoints: the whole state beside the journal, and the signed record that vouches for it.
//!
//! The state is a file of lines `{"key":…,"revision":…,"value":…}` in key order. Its digest runs over the lines,
//! each hashed with the digest so far, so that neither writer nor reader needs the state in memory.
//! The signature is over `lanyard-checkpoint-1 <position> <prev> <state>`: it covers every record before it.

use super::index::Index;
use super::journal::{private, sync_folder};
use super::reader::{JournalError, LINE_BYTES_MAX, numbered};
use super::{Entry, Position, Record, Revision, Stored};
use crate::crypto::{CryptoError, Digest, KeyId, KeyPair, PublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// How the files of checkpoints end in their names.
const SUFFIX: &str = "checkpoint";
/// How an entry of ours begins; [`Claim`] is written in this order.
const ENTRY_START: &str = r#"{"kind":"checkpoint","#;
/// The newest could be damaged, then the one before saves most of the replay.
const KEPT: usize = 2;

/// What a checkpoint record says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    kind: Kind,
    /// How many keys hold something.
    keys: u64,
    /// Where its own line begins in the segment; earlier versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// The digest of the state.
    pub(super) state: Digest,
    /// Who signed.
    signed_by: KeyId,
    /// ECDSA, ASN.1, base64.
    signature: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Checkpoint,
}

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

/// Whether an entry is a checkpoint's.
pub(super) fn is_one(entry: &RawValue) -> bool {
    entry.get().starts_with(ENTRY_START)
}

impl Claim {
    /// Reads a record that ends a segment.
    pub(super) fn of(record: &Record) -> Option<Self> {
        serde_json::from_str(record.entry.get()).ok()
    }

    /// Vouches for a state at the place of the coming record: its number, and where its line begins.
    pub(super) fn sign(
        state: Summary,
        (position, offset): (Position, u64),
        prev: &Digest,
        signer: &KeyPair,
    ) -> Result<Self, CryptoError> {
        let signature = STANDARD.encode(signer.sign(signed_text(position, prev, &state.digest).as_bytes())?);
        let signed_by = signer.public().id();
        let Summary { digest, keys } = state;
        Ok(Self { kind: Kind::Checkpoint, keys, offset: Some(offset), state: digest, signed_by, signature })
    }

    /// Whether this key signed this claim in this record.
    pub(super) fn is_signed_by(&self, key: &PublicKey, record: &Record) -> bool {
        let text = signed_text(record.position, &record.prev, &self.state);
        let signature = STANDARD.decode(&self.signature).ok();
        signature.is_some_and(|signature| key.verify(text.as_bytes(), &signature).is_ok())
    }

    /// Whether it may be the one that begins so far into its segment.
    pub(super) fn stands_at(&self, offset: u64) -> bool {
        self.offset.is_none_or(|said| said == offset)
    }

    /// Whether it vouches for this state.
    pub(super) fn is_of(&self, state: Summary) -> bool {
        state == Summary { digest: self.state, keys: self.keys }
    }

    pub(super) fn to_entry(&self) -> io::Result<Entry> {
        Ok(serde_json::value::to_raw_value(self)?)
    }
}

fn signed_text(position: Position, prev: &Digest, state: &Digest) -> String {
    format!("lanyard-checkpoint-1 {position} {prev} {state}")
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

/// Removes all but the newest states; what they held can be made again from the segments.
pub(super) fn prune(journal: &Path) -> Result<(), JournalError> {
    let mut states = numbered(journal, SUFFIX)?;
    states.sort();
    states.truncate(states.len().saturating_sub(KEPT));
    let leftovers = numbered(journal, "aside")?;
    for (_position, path) in states.into_iter().chain(leftovers) {
        fs::remove_file(&path).map_err(JournalError::io(&path))?;
    }
    Ok(())
}
