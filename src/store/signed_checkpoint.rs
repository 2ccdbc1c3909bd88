//! A signed checkpoint in a file of its own, as it was kept beside the journal or elsewhere.

use super::note::Note;
use super::reader::{Disproof, JournalError};
use super::tree_head::TreeHead;
use crate::crypto::PublicKey;
use std::fs;
use std::path::{Path, PathBuf};

/// What a file vouches for, if its signature holds.
#[derive(Clone, Debug)]
pub struct SignedCheckpoint {
    pub(super) path: PathBuf,
    pub(super) head: TreeHead,
    note: Note,
}

impl SignedCheckpoint {
    /// Reads a file; who signed it is still to be asked.
    ///
    /// # Errors
    /// `Io`, and `Disproved` when it is no checkpoint.
    pub fn load(path: &Path) -> Result<Self, JournalError> {
        let text = fs::read(path).map_err(JournalError::io(path))?;
        let note = str::from_utf8(&text).ok().and_then(Note::parse);
        let head = note.as_ref().and_then(|note| TreeHead::parse(note.text()));
        let (Some(note), Some(head)) = (note, head) else {
            return Err(JournalError::Disproved { checkpoint: path.to_owned(), why: Disproof::NotACheckpoint });
        };
        Ok(Self { path: path.to_owned(), head, note })
    }

    /// Which log it says it is of.
    pub fn origin(&self) -> &str {
        &self.head.origin
    }

    /// Whether this key signed it.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.note.is_signed_by(key)
    }

    /// It does not fit a journal, and why.
    pub fn disproved(&self, why: Disproof) -> JournalError {
        JournalError::Disproved { checkpoint: self.path.clone(), why }
    }
}
