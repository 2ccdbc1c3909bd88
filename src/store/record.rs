//! One record of the journal: a line of text that holds the digest of the line before.
//!
//! ```text
//! <sha-256 of the JSON text, 64 hex digits> {"position":7,"at":"…Z","prev":"<64 hex>","entry":{…},"put":{…},"delete":[…]}
//! ```
//! Invariants: positions count from 1 without a gap, times go back only where an operator accepts it, the first `prev` is all zeros.
//! Lines are written by hand into one buffer, because this is the hottest place of the store.

use super::etcd::evidence::{self, Evidence};
use super::{Entry, Position, Write, accept_time};
use crate::crypto::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::Write as _;
use time::OffsetDateTime;

/// Length of a digest as text.
const DIGEST_TEXT_BYTES: usize = 64;

/// One thing that happened, as the journal keeps it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number.
    pub position: Position,
    /// When it was written, to the millisecond.
    pub at: OffsetDateTime,
    /// The digest of its text.
    pub digest: Digest,
    /// The digest of the record before.
    pub prev: Digest,
    /// What it tells.
    pub entry: Entry,
    /// What was put.
    pub put: BTreeMap<String, Box<RawValue>>,
    /// What was deleted.
    pub delete: Vec<String>,
}

/// What can be wrong with a line, a segment or a checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Flaw {
    /// A segment that is followed by another does not end with a checkpoint.
    #[error("the segment does not end with a checkpoint")]
    CheckpointMissing,
    /// The record names another digest than that of the record before it.
    #[error("the record does not follow from the one before")]
    ChainDiffers,
    /// The text is not what the digest was made of.
    #[error("the text and its digest differ")]
    DigestDiffers,
    /// The segment is not as long as its checkpoint says.
    #[error("the segment is not as long as its checkpoint says")]
    LengthDiffers,
    /// Older records are not here, and nothing that the key signed says that they were archived.
    #[error(
        "the records up to this one are gone, and nothing that the journal's key signed says that they were archived or removed"
    )]
    MissingUnrecorded,
    /// The line is no digest and JSON of our form.
    #[error("the line is not a record that this version knows")]
    NotARecord,
    /// Another number than the next is found; records or a segment are missing.
    #[error("records are missing or stand in the wrong place")]
    PositionDiffers,
    /// The checkpoint's signature is not by the expected key.
    #[error("the checkpoint is not signed by the expected key")]
    SignatureDiffers,
    /// The checkpoint's state is not what the records before it make.
    #[error("the checkpoint does not hold the state that the records make")]
    StateDiffers,
    /// The record is older than the one before.
    #[error("the record is older than the one before")]
    TimeWentBack,
    /// A line longer than any we write.
    #[error("the line is too long")]
    TooLong,
    /// A line breaks off in a segment that is followed by another.
    #[error("the line breaks off in the middle of the journal")]
    Torn,
    /// The checkpoint's tree is not that of the records before it.
    #[error("the checkpoint vouches for other records than those before it")]
    TreeDiffers,
}

/// Where a chain stands: what the next record must follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) position: Position,
    pub(super) digest: Digest,
    pub(super) at: OffsetDateTime,
}

impl Link {
    /// Before the first record.
    pub(super) const START: Self =
        Self { position: 0, digest: Digest::from_bytes([0; 32]), at: OffsetDateTime::UNIX_EPOCH };

    /// The number of the record to come.
    pub(super) const fn next(&self) -> Position {
        self.position.saturating_add(1)
    }

    /// Whether a record of this number is the one to come. After the last number there is, none is.
    pub(super) fn precedes(&self, position: Position) -> bool {
        position.checked_sub(1) == Some(self.position)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    position: Position,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    prev: Digest,
    entry: Entry,
    #[serde(default)]
    put: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    delete: Vec<String>,
}

impl Record {
    /// Reads a line without its end.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Flaw> {
        let (digest_text, rest) = line.split_at_checked(DIGEST_TEXT_BYTES).ok_or(Flaw::NotARecord)?;
        let text = rest.strip_prefix(b" ").ok_or(Flaw::NotARecord)?;
        let digest = Digest::of(text);
        // Compared as text: an upper-case digit is a changed journal too.
        if digest.to_string().as_bytes() != digest_text {
            return Err(Flaw::DigestDiffers);
        }
        let Body { position, at, prev, entry, put, delete } =
            serde_json::from_slice(text).map_err(|_wrong_form| Flaw::NotARecord)?;
        Ok(Self { position, at, digest, prev, entry, put, delete })
    }

    /// Whether this is the record after `before`.
    pub(super) fn follows(&self, before: &Link) -> Result<(), Flaw> {
        if !before.precedes(self.position) {
            return Err(Flaw::PositionDiffers);
        }
        if self.prev != before.digest {
            return Err(Flaw::ChainDiffers);
        }
        if self.at < before.at && !accept_time::is_one(&self.entry) {
            return Err(Flaw::TimeWentBack);
        }
        Ok(())
    }

    pub(super) const fn link(&self) -> Link {
        Link { position: self.position, digest: self.digest, at: self.at }
    }

    /// The same, with what was written where several replicas keep it as if it had been written here.
    ///
    /// # Errors
    /// `NotARecord`.
    pub fn unfolded(mut self) -> Result<Self, Flaw> {
        if let Some(shared) = self.put.remove(evidence::KEY) {
            let told = Evidence::parse(&shared).map_err(|_wrong_form| Flaw::NotARecord)?;
            self.put.extend(told.put);
            self.delete.extend(told.delete);
        }
        Ok(self)
    }

    /// Its writes, in an order that gives the same state.
    pub(super) fn into_writes(self) -> impl Iterator<Item = Write> {
        let puts = self.put.into_iter().map(|(key, value)| Write::Put(key, value));
        puts.chain(self.delete.into_iter().map(Write::Delete))
    }
}

/// Lines under way to the journal: one reusable buffer, and where the chain will stand.
#[derive(Debug)]
pub(super) struct Page {
    text: Vec<u8>,
    /// Of each line.
    digests: Vec<Digest>,
    link: Link,
    at_text: String,
}

impl Page {
    pub(super) const fn new() -> Self {
        Self { text: Vec::new(), digests: Vec::new(), link: Link::START, at_text: String::new() }
    }

    /// Empties the page for records of the time `at` that follow `after`.
    pub(super) fn begin(&mut self, after: Link, at: OffsetDateTime) {
        self.text.clear();
        self.digests.clear();
        self.at_text = text_of(at);
        self.link = Link { at, ..after };
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// What each line was sealed with.
    pub(super) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Where the chain stands after the last line.
    pub(super) const fn link(&self) -> Link {
        self.link
    }

    /// Adds one line and answers its position.
    pub(super) fn add(&mut self, entry: &RawValue, writes: &[Write]) -> Position {
        let start = self.text.len();
        let position = self.link.next();
        self.text.resize(start + DIGEST_TEXT_BYTES, b'0');
        let prev = self.link.digest;
        // Writing into a Vec cannot fail.
        drop(write!(self.text, r#" {{"position":{position},"at":"{}","prev":"{prev}","entry":"#, self.at_text));
        self.text.extend_from_slice(entry.get().as_bytes());
        self.add_puts(writes);
        self.add_deletes(writes);
        self.text.push(b'}');
        let digest = Digest::of(self.text.get(start + DIGEST_TEXT_BYTES + 1..).unwrap_or_default());
        if let Some(mut place) = self.text.get_mut(start..start + DIGEST_TEXT_BYTES) {
            drop(write!(place, "{digest}"));
        }
        self.text.push(b'\n');
        self.digests.push(digest);
        self.link = Link { position, digest, at: self.link.at };
        position
    }

    fn add_puts(&mut self, writes: &[Write]) {
        let mut lead = r#","put":{"#;
        for (at, write) in writes.iter().enumerate() {
            if let Write::Put(key, value) = write
                && is_last_of_its_key(writes, at, key)
            {
                self.add_name(lead, key);
                self.text.push(b':');
                self.text.extend_from_slice(value.get().as_bytes());
                lead = ",";
            }
        }
        if lead == "," {
            self.text.push(b'}');
        }
    }

    fn add_deletes(&mut self, writes: &[Write]) {
        let mut lead = r#","delete":["#;
        for (at, write) in writes.iter().enumerate() {
            if let Write::Delete(key) = write
                && is_last_of_its_key(writes, at, key)
            {
                self.add_name(lead, key);
                lead = ",";
            }
        }
        if lead == "," {
            self.text.push(b']');
        }
    }

    fn add_name(&mut self, lead: &str, name: &str) {
        self.text.extend_from_slice(lead.as_bytes());
        // A string is always valid JSON, and a Vec takes all.
        drop(serde_json::to_writer(&mut self.text, name));
    }
}

/// Of several writes to one key in one commit only the last is kept, so that replay needs no order.
fn is_last_of_its_key(writes: &[Write], at: usize, key: &str) -> bool {
    writes.iter().skip(at + 1).all(|later| later.key() != key)
}

impl Write {
    /// The key it changes.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// The JSON text on one line. Line ends can only be blanks between its parts: inside strings JSON escapes them.
pub(super) fn on_one_line(text: Box<RawValue>) -> Box<RawValue> {
    if memchr::memchr2(b'\n', b'\r', text.get().as_bytes()).is_none() {
        return text;
    }
    let flat = text.get().replace(['\n', '\r'], " ");
    RawValue::from_string(flat).unwrap_or(text)
}

/// RFC 3339, UTC, milliseconds.
fn text_of(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let ((year, month, day), (hour, minute, second, milli)) =
        ((at.year(), u8::from(at.month()), at.day()), at.time().as_hms_milli());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_line_reads_back_as_what_was_written() {
        let at = datetime!(2026-03-01 12:00:00.25 UTC);
        let mut page = Page::new();
        page.begin(Link::START, at);
        page.add(&raw(r#"{"kind":"first"}"#), &[]);
        let first = page.link();
        let writes = [
            Write::Put("a\"\n".into(), raw("1")),
            Write::Delete("b".into()),
            Write::Put("c".into(), raw("3")),
            Write::Delete("c".into()),
            Write::Put("a\"\n".into(), raw("[2]")),
        ];
        assert_eq!(page.add(&raw("{}"), &writes), 2);
        let mut lines = page.text().strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
        assert!(Record::parse(lines.next().unwrap()).unwrap().follows(&Link::START).is_ok());
        let second = Record::parse(lines.next().unwrap()).unwrap();
        second.follows(&first).unwrap();
        assert_eq!(second.at, at);
        assert_eq!(
            second.put.iter().map(|(key, value)| (key.as_str(), value.get())).collect::<Vec<_>>(),
            [("a\"\n", "[2]")]
        );
        assert_eq!(second.delete, ["b", "c"]);
        assert_eq!(second.follows(&Link::START), Err(Flaw::PositionDiffers));
    }

    #[test]
    fn nothing_follows_the_last_number_there_is() {
        let last = Link { position: Position::MAX, ..Link::START };
        assert!(![0, 1, Position::MAX - 1, Position::MAX].into_iter().any(|position| last.precedes(position)));
        assert!(Link { position: Position::MAX - 1, ..Link::START }.precedes(Position::MAX));
        assert!(Link::START.precedes(1) && !Link::START.precedes(0));
    }

    #[test]
    fn a_value_over_several_lines_is_put_on_one() {
        assert_eq!(on_one_line(raw("{\r\n\"a\": \"x\\ny\"\n}")).get(), "{  \"a\": \"x\\ny\" }");
    }
}
