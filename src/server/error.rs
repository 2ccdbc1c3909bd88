//! Why a server does not start.

use crate::authority::{RotatorError, SealingKeyError};
use crate::store::{NoteError, OpenError, StoreError};
use crate::tls::TlsError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("{address} cannot be listened on")]
    Address {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
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
    /// A folder cannot be made.
    #[error("the folder {path} cannot be made")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A folder is not ours alone.
    #[error("the folder {path} must be ours alone: {found}")]
    FolderOpen {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// The keys are not to be had.
    #[error(transparent)]
    Keys(#[from] RotatorError),
    /// The journal's key cannot sign checkpoints.
    #[error("the journal's checkpoints cannot be signed: {0}")]
    Notes(#[from] NoteError),
    /// The journal or the index cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The sealing key is not to be had.
    #[error(transparent)]
    Sealing(#[from] SealingKeyError),
    /// A Unix socket cannot be bound.
    #[error("the socket {path} cannot be bound")]
    Socket {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The process is ending.
    #[error("the server is stopping")]
    Stopped,
    /// The journal cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server's certificate is not to be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
}
