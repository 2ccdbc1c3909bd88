//! Why there is no backup, or none that is laid down. Each says what to do.

use crate::authority::{RotatorError, SealingKeyError};
use crate::crypto::SealingKeyName;
use crate::identity::TrustDomain;
use crate::people::{NotErased, PeopleError};
use crate::store::{JournalError, NoteError, OpenError, Position, StoreError};
use crate::telemetry::rfc3339;
use std::io;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Why there is no backup, or none that is laid down.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file is another than when the backup was made.
    #[error("{name} is not as it was when the backup was made; nothing of it is used: take another backup")]
    Changed {
        /// Which file.
        name: String,
    },
    /// It ends before its end, or says more than there is.
    #[error(
        "it was cut off, or a length in it was changed; nothing of it is used: copy it again, or take another backup"
    )]
    Cut,
    /// Keys changed all the time that it was tried.
    #[error("the keys change just now: try again in a minute")]
    KeysChange,
    /// Made by a later version, or by one that vouched for nothing.
    #[error("it is of format {format}, and this version knows {known}: use the version of Lanyard that made it")]
    Format {
        /// Its format.
        format: u32,
        /// Ours.
        known: u32,
    },
    /// Made later than it is now.
    #[error(
        "it was made at {}, and here it is {}: set the clock right, or take another backup", rfc3339(*made_at), rfc3339(*now)
    )]
    Future {
        /// When it was made.
        made_at: OffsetDateTime,
        /// When it is.
        now: OffsetDateTime,
    },
    /// A file of the data folder cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its journal is not whole, or not of its own key.
    #[error("its journal is not whole: take another backup")]
    Journal(#[from] JournalError),
    /// Its keys and its journal do not belong together, or cannot be used.
    #[error(transparent)]
    Keys(#[from] RotatorError),
    /// A file that no backup has, or one that is no plain file, or one twice.
    #[error("{name:?} is in it, which no backup has there: it is no backup of ours; nothing of it is used")]
    Name {
        /// What it calls it.
        name: String,
    },
    /// Something else.
    #[error("it is no backup of a Lanyard server")]
    NotABackup,
    /// The data folder has something in it.
    #[error(
        "{} is not empty: it holds {found}; a restore goes into an empty folder: move what is there aside and keep it",
        folder.display()
    )]
    NotEmpty {
        /// The data folder.
        folder: PathBuf,
        /// A file in it.
        found: String,
    },
    /// The journal's key cannot sign.
    #[error("its journal cannot be gone on with: {0}")]
    Notes(#[from] NoteError),
    /// What is laid there would be of no use to the server.
    #[error("{} belongs to uid {uid}: restore as that user, who runs the server", folder.display())]
    OfOthers {
        /// The data folder.
        folder: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The folder is in use, or its journal cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The persons' keys do not open, or whoever was erased cannot be erased again.
    #[error(transparent)]
    People(#[from] NotErased),
    /// It says which sealing key it needs, and that one is not here.
    #[error(
        "it is sealed under the sealing key {needed}, and here is {here}: wrong sealing key; put the right one in its \
         place, or name its file as former_sealing_key_file in [keys]"
    )]
    OtherSeal {
        /// The key that it needs.
        needed: SealingKeyName,
        /// Those that there are.
        here: String,
    },
    /// The archive cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The sealing key is not to be had.
    #[error(transparent)]
    Sealing(SealingKeyError),
    /// The sealing key is not there.
    #[error("{source}; a backup does not hold it: put it there, from where you keep it, and try again")]
    SealingKeyGone {
        /// Which.
        #[source]
        source: SealingKeyError,
    },
    /// The lost server worked after it was said to have stopped.
    #[error(
        "its server was there at {}, so it did not stop at {}: name the time when it stopped with --accept-tokens-since, or \
         leave that out", rfc3339(*made_at), rfc3339(*stopped_at)
    )]
    StoppedBefore {
        /// When the backup was made.
        made_at: OffsetDateTime,
        /// When the server is said to have stopped.
        stopped_at: OffsetDateTime,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// The journal cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is another trust domain's.
    #[error("it is of {found}, and the configuration is of {wanted}: name the configuration of {found}")]
    TrustDomain {
        /// Whose it is.
        found: TrustDomain,
        /// Whose it should be.
        wanted: TrustDomain,
    },
    /// A checkpoint outside tells of records that it does not have.
    #[error(
        "records {first} to {last} are not in it, as {} tells: take a newer backup; if there is none, --accept-loss gives \
         them up", witness.display()
    )]
    Witnessed {
        /// The first that is lost.
        first: Position,
        /// The last that is known of.
        last: Position,
        /// What tells of them.
        witness: PathBuf,
    },
    /// No signature covers its last records: anybody may have written them.
    #[error(
        "records {first} to {last} are covered by no signature, and may be anybody's; nothing of it is used: take another backup"
    )]
    Unsigned {
        /// The first without.
        first: Position,
        /// The last.
        last: Position,
    },
    /// The archive cannot be written.
    #[error("the backup cannot be written")]
    Write(#[source] io::Error),
}

impl From<SealingKeyError> for BackupError {
    fn from(source: SealingKeyError) -> Self {
        if matches!(source, SealingKeyError::Gone { .. }) {
            Self::SealingKeyGone { source }
        } else {
            Self::Sealing(source)
        }
    }
}

impl From<PeopleError> for BackupError {
    fn from(error: PeopleError) -> Self {
        Self::People(error.into())
    }
}

impl BackupError {
    /// What went wrong with a file.
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }
}
