//! What a backup says of itself, in `backup.json`, its first file.

use super::BackupError;
use crate::crypto::Digest;
use crate::identity::TrustDomain;
use crate::store::{JournalCopy, Position};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// The form of archives that this version writes and reads.
const FORMAT: u32 = 2;

/// Whose backup it is, of when, and of which records.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    format: u32,
    /// The version of Lanyard that made it.
    pub lanyard: String,
    /// Whose identities its server issues.
    pub trust_domain: TrustDomain,
    /// When it was made: what came later is not in it.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    /// Whether its server was stopped then; one at work did more before it ended.
    #[serde(default)]
    pub at_rest: bool,
    /// The keyring's sequence.
    pub sequence: u64,
    /// Which records it has.
    pub journal: Span,
    /// How long its files are together.
    pub bytes: u64,
    /// The digests of all but this one, its seal, and the journal's, whose last record vouches for them.
    pub files: BTreeMap<String, Digest>,
}

/// Records of a journal, one after another.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The first; older ones were archived.
    pub first: Position,
    /// The last.
    pub last: Position,
    /// Its digest.
    pub digest: Digest,
    /// Its time.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl Head {
    /// Of a copy that is about to be made.
    pub(super) fn of(
        trust_domain: TrustDomain,
        (journal, sequence): (&JournalCopy, u64),
        (texts, bytes): (&[(&str, Vec<u8>)], u64),
        made_at: OffsetDateTime,
    ) -> Self {
        let JournalCopy { first, last, digest, at, .. } = *journal;
        let (lanyard, at_rest) = (env!("CARGO_PKG_VERSION").to_owned(), journal.is_held());
        let journal = Span { first, last, digest, at };
        let files = texts.iter().map(|(name, text)| ((*name).to_owned(), Digest::of(text))).collect();
        Self { format: FORMAT, lanyard, trust_domain, made_at, at_rest, sequence, journal, bytes, files }
    }

    /// Reads `backup.json`. Another form is told as such, whatever else is in it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, BackupError> {
        let Versioned { format } = serde_json::from_slice(text).map_err(|_odd| BackupError::NotABackup)?;
        if format != FORMAT {
            return Err(BackupError::Format { format, known: FORMAT });
        }
        serde_json::from_slice(text).map_err(|_odd| BackupError::NotABackup)
    }
}
