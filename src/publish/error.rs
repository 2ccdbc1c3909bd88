//! Why a bundle could not be written, and what would help.

use crate::discovery::{FetchError, NoWayToKubernetes, TokenFileError};
use http::StatusCode;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// See the file's words.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The API gave no answer.
    #[error("the Kubernetes API gave no answer")]
    Api(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Neither version of the kind is served.
    #[error("the Kubernetes API serves no ClusterTrustBundle in v1 or v1beta1")]
    KindUnknown,
    /// Somebody else manages fields of it.
    #[error("others manage what should be written: {said}")]
    Conflict {
        /// The API's words.
        said: String,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else was stored than was sent.
    #[error("what was written reads back as something else: something on the way changes it")]
    Changed,
    /// An object belongs to somebody else.
    #[error("it is there already, and belongs to {owner}")]
    NotOurs {
        /// To whom, as far as it says.
        owner: String,
    },
    /// The way to the API is not configured so that it could be gone.
    #[error(transparent)]
    NoWay(#[from] NoWayToKubernetes),
    /// Another server of this trust domain has written more.
    #[error("it holds the bundle of sequence {there}, and ours is {ours}: another server writes for this trust domain")]
    Newer {
        /// What it holds.
        there: u64,
        /// What we have.
        ours: u64,
    },
    /// An answer that is not what it should be.
    #[error("{0}")]
    Odd(String),
    /// It said no.
    #[error("{what} answered {status}: {said}")]
    Refused {
        /// Who.
        what: &'static str,
        /// The answer.
        status: StatusCode,
        /// In its words.
        said: String,
        /// When it wants to be asked again.
        wait: Option<Duration>,
    },
    /// The storage cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] FetchError),
    /// There is nothing to sign with.
    #[error(transparent)]
    Unsigned(#[from] TokenFileError),
}

impl PublishError {
    /// What would help.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Api(_) | Self::Unreachable(_) => "see whether it can be reached from here",
            Self::Changed => "look for a webhook or a filter that rewrites it",
            Self::Conflict { .. } => "let them leave these fields alone, or write take_over = true",
            Self::File { .. } => "look at the folder's owner, its mode and its disk",
            Self::KindUnknown => {
                "ask for the API version of ClusterTrustBundle to be switched on, or publish a config_map"
            }
            Self::Newer { .. } => "stop the other server, or delete what is there if this trust domain began anew",
            Self::NotOurs { .. } => "choose another name, or write take_over = true",
            Self::NoWay(_) => "name a kubeconfig, or run in a pod with a service account",
            Self::Odd(_) => "see what answers at that address",
            Self::Refused { status, .. } => match status.as_u16() {
                401 => "see whether the token or key is still good; it is read anew each time",
                403 => {
                    "give the right to get, watch, create and patch this object alone; in a storage GetObject and PutObject on \
                     the key"
                }
                404 => "see whether the namespace or bucket is there",
                429 => "it is busy; it is tried again later",
                _ => "it is tried again",
            },
            Self::Unsigned(_) => "put the secret alone into a file of mode 0600",
        }
    }

    /// How long whoever said no wants to be left alone.
    pub(super) const fn wait(&self) -> Option<Duration> {
        if let Self::Refused { wait, .. } = self { *wait } else { None }
    }
}
