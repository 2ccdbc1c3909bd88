//! Why a server does not start.

use super::EndpointSvidError;
use crate::authority::{RotatorError, SealingKeyError};
use crate::people::{NotErased, PeopleError};
use crate::store::{EtcdError, NoteError, OpenError, StoreError};
use crate::tls::TlsError;
use crate::upstream::UpstreamError;
use crate::vault::VaultError;
use std::collections::BTreeSet;
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
    /// The bundle endpoint has no SVID to show.
    #[error("the bundle endpoint's SPIFFE profile has no SVID to show")]
    EndpointSvid(#[from] EndpointSvidError),
    /// A file of the data folder cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error("the data folder {path} cannot be used")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no data folder. A new one would be a new CA, which nobody trusts.
    #[error(
        "there is no data folder {path}: mend data_dir, or mount what belongs there; a new CA begins in an empty folder, \
         which `lanyard init` makes, or mkdir -m 700 {path}"
    )]
    FolderMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A folder is not ours alone.
    #[error("the folder {path} must be ours alone: {found}")]
    FolderOpen {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// Not a data folder, and not empty either.
    #[error("{path} is no data folder of a server, and not empty: it holds {found}; mend data_dir")]
    FolderOfOthers {
        /// Which.
        path: PathBuf,
        /// One of the files in it.
        found: String,
    },
    /// A replica's folder, and no etcd.
    #[error(
        "{path} is a replica's: what was admitted and ended stands in etcd, and without it tokens would be taken once more; \
         put [store.etcd] back, or bring all of it here with `lanyard store export` and `import`"
    )]
    InEtcd {
        /// The data folder.
        path: PathBuf,
    },
    /// The folder of a server that ran alone, and etcd.
    #[error(
        "{path} holds what a server without etcd has admitted and ended, and etcd does not: bring it along with \
         `lanyard store export`, by the former configuration, and `import`; or leave [store.etcd] away"
    )]
    NotInEtcd {
        /// The data folder.
        path: PathBuf,
    },
    /// What they write meanwhile would be lost.
    #[error(
        "on this store run {}: stop all of them first; one that was killed counts for some seconds more",
        names(replicas)
    )]
    OthersRun {
        /// Which.
        replicas: BTreeSet<String>,
    },
    /// What the replicas share is not to be had.
    #[error("the replicas' store cannot be used")]
    Etcd(#[from] EtcdError),
    /// What a sealing key opens is not beside it. A new CA under it would be one that nobody trusts.
    #[error(
        "{path} holds a sealing key and nothing that it opens: restore the backup, or mount what belongs there; a new CA \
         begins where that key is moved away"
    )]
    KeyAlone {
        /// The data folder.
        path: PathBuf,
    },
    /// The keys are not to be had.
    #[error(transparent)]
    Keys(#[from] RotatorError),
    /// Nobody is called so, or it is this replica itself.
    #[error("--lost {replica}: {}", who_may_be_lost(here, known))]
    NotLost {
        /// What was said.
        replica: String,
        /// What this replica is called.
        here: String,
        /// What the others are.
        known: BTreeSet<String>,
    },
    /// The journal's key cannot sign checkpoints.
    #[error("the journal's checkpoints cannot be signed: {0}")]
    Notes(#[from] NoteError),
    /// The keys under which persons are written down are not to be had, or not to be deleted.
    #[error(transparent)]
    People(#[from] NotErased),
    /// The journal or the index cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A restore was broken off; what is there is not whole.
    #[error("a restore into {path} was broken off: run `lanyard backup restore` again")]
    RestoreUnfinished {
        /// The data folder.
        path: PathBuf,
    },
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
    /// The system gives no threads to serve connections.
    #[error("no threads can be started to serve connections")]
    Threads(#[source] io::Error),
    /// The server's certificate is not to be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authority above ours gave no first intermediate.
    #[error("the upstream authority gave no first intermediate: {}", fault.remedy())]
    Upstream {
        /// Why.
        #[from]
        #[source]
        fault: UpstreamError,
    },
    /// There is no client for the Vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

fn who_may_be_lost(here: &str, known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return format!("etcd knows no replica but this one, {here}; nothing was changed");
    }
    format!("this is {here}, and the others that etcd knows are {}; nothing was changed", names(known))
}

fn names(all: &BTreeSet<String>) -> String {
    all.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl From<PeopleError> for ServerError {
    fn from(error: PeopleError) -> Self {
        Self::People(error.into())
    }
}
