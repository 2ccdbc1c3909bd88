//! Why `lanyard dev` cannot go on.

use crate::agent::{AgentError, Refused};
use crate::config::Problem;
use crate::crypto::CryptoError;
use crate::discovery::FetchError;
use crate::server::ServerError;
use crate::svid::InspectError;
use crate::tls::TlsError;
use crate::wire::NotAServerUrl;
use std::io;
use std::path::{Path, PathBuf};

/// Why `lanyard dev` cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The agent does not start.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Our own server's address is odd.
    #[error(transparent)]
    Address(#[from] NotAServerUrl),
    /// No key could be made, or a kept one is broken.
    #[error("{place}: delete the folder and start again to make new keys")]
    BrokenKey {
        /// The file.
        place: PathBuf,
        /// What the library says.
        #[source]
        source: CryptoError,
    },
    /// A part ended by itself.
    #[error("a part of the run ended by itself")]
    Ended,
    /// A file of the folder cannot be read or written.
    #[error("{} cannot be used", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No client for the stand-in GitLab.
    #[error("the server's HTTPS client")]
    Https(#[source] FetchError),
    /// Another `lanyard dev` runs there.
    #[error("{} is in use by another lanyard dev; stop that one, or choose another folder with --dir", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The agent answered without an SVID.
    #[error("the agent's answer holds no SVID")]
    NoSvid,
    /// The SVID is not what it should be.
    #[error("the SVID that came cannot be read")]
    Odd(#[source] InspectError),
    /// The server gave the stand-in's token a no.
    #[error(transparent)]
    Login(#[from] Refused),
    /// The agent's Workload API gave a no.
    #[error("the Workload API refuses")]
    Refused(#[source] Box<tonic::Status>),
    /// The server does not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The written configuration does not load, which only a damaged folder explains.
    #[error("the run's own configuration has problems: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<Problem>),
    /// The agent's socket cannot be reached.
    #[error("the Workload API's socket cannot be reached")]
    Socket(#[source] tonic::transport::Error),
    /// Nobody has made keys there yet.
    #[error("{} holds no stand-in GitLab; start `lanyard dev` first, or name its folder", folder.display())]
    NoGitlab {
        /// The folder.
        folder: PathBuf,
    },
    /// Somebody else could read the keys.
    #[error("{} must be a folder of yours that nobody else can enter (mode 0700); choose another with --dir", folder.display())]
    NotPrivate {
        /// The folder.
        folder: PathBuf,
    },
    /// No port on loopback.
    #[error("no free port on 127.0.0.1")]
    Port(#[source] io::Error),
    /// The stand-in's TLS.
    #[error("the stand-in GitLab's TLS")]
    Tls(#[from] TlsError),
    /// A new key could not be made.
    #[error("no key for the stand-in GitLab")]
    Key(#[from] CryptoError),
}

impl DevError {
    /// What went wrong with a file.
    pub(super) fn file(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::File { file, source }
    }
}
