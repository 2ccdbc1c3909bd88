//! Why etcd does not do what we asked.

use crate::store::{OpenError, StoreError};
use tonic::Status;

/// Why a replica cannot be opened, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// No endpoint answered, or none that reaches a quorum.
    #[error("none of etcd's endpoints answers with a quorum: {why}")]
    Away {
        /// What the last one said.
        why: String,
    },
    /// A value is not what we write.
    #[error("etcd holds something under {key} that is not ours: choose another prefix, or restore etcd")]
    Foreign {
        /// Where.
        key: String,
    },
    /// The thread that follows etcd could not be started.
    #[error("the thread that follows etcd cannot be started")]
    Thread(#[source] std::io::Error),
    /// The journal of this replica.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The store of this replica.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It answered, and will answer the same again.
    #[error("etcd refuses: {}", .0.message())]
    Refused(Box<Status>),
    /// The journal has seen what etcd does not hold, or another etcd.
    #[error("{0}")]
    WentBack(WentBack),
}

/// How a store stands against what a journal has seen of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "etcd went back in time: what was written at revision {seen} of cluster {journalled:x}, which this replica has seen, is \
     not there at revision {revision} of cluster {cluster:x}; stop the server and run `lanyard store reconcile`"
)]
pub struct WentBack {
    pub(super) seen: u64,
    pub(super) journalled: u64,
    pub(super) revision: u64,
    pub(super) cluster: u64,
}

/// What became of one question to one endpoint.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Nobody knows whether it was done; another endpoint may answer.
    Away(String),
    /// What was to be read is compacted away.
    Compacted,
    /// It was not done, and would not be.
    Refused(Box<Status>),
    /// It was not done: this etcd has lost what we have seen.
    WentBack(WentBack),
}

impl From<Fault> for EtcdError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Away(why) => Self::Away { why },
            Fault::Compacted => Self::Away { why: "the revision was compacted meanwhile".to_owned() },
            Fault::Refused(status) => Self::Refused(status),
            Fault::WentBack(went_back) => Self::WentBack(went_back),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::WentBack(went_back) => Self::WentBack { why: went_back.to_string() },
            Fault::Away(_) | Fault::Compacted | Fault::Refused(_) => {
                Self::Unreachable { why: EtcdError::from(fault).to_string() }
            }
        }
    }
}
