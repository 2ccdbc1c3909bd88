//! What the journal says of segments that left it, signed by its key: who can only write its folder cannot say it.
//!
//! What is signed is a note (C2SP signed-note) of one line, the account itself; a checkpoint has three.

use super::note::{Note, NoteSigner};
use super::{Position, Record};
use crate::crypto::{Digest, PublicKey};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use time::OffsetDateTime;

/// How an entry of ours begins; [`Account`] is written in this order.
const ENTRY_STARTS: [&str; 2] = [r#"{"kind":"segments_archived","#, r#"{"kind":"segments_removed","#];

/// What became of segments.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// They were copied elsewhere before they left.
    SegmentsArchived,
    /// They are gone.
    SegmentsRemoved,
}

/// Which records left, and by whose hand.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// What became of them.
    pub kind: Fate,
    /// The first record that went.
    pub first: Position,
    /// The last one.
    pub last: Position,
    /// Its digest.
    pub digest: Digest,
    /// Where they were copied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PathBuf>,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The note's signature line; empty while it is not signed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) signature: String,
}

impl Account {
    /// Reads an entry; none where it is of another kind or form.
    pub(super) fn parse(entry: &str) -> Option<Self> {
        let is_one = ENTRY_STARTS.iter().any(|start| entry.starts_with(start));
        is_one.then(|| serde_json::from_str(entry).ok()).flatten()
    }

    /// The same, signed.
    pub(super) fn signed(self, signer: &NoteSigner) -> io::Result<Self> {
        let note = signer.sign(&self.text()?).map_err(io::Error::other)?;
        let signature = note.rsplit_once("\n\n").map(|(_text, line)| line.trim_end().to_owned()).unwrap_or_default();
        Ok(Self { signature, ..self })
    }

    /// Whether it is about all records up to this one.
    pub(super) fn is_of(&self, last: &Record) -> bool {
        (self.last, self.digest) == (last.position, last.digest)
    }

    /// Whether this key signed it.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Ok(text) = self.text() else { return false };
        let note = Note::parse(&format!("{text}\n{}\n", self.signature));
        note.is_some_and(|note| note.text() == text && note.is_signed_by(key))
    }

    /// What is signed.
    fn text(&self) -> io::Result<String> {
        let bare = Self { signature: String::new(), ..self.clone() };
        Ok(serde_json::to_string(&bare)? + "\n")
    }
}
