//! Why Vault did not do what it was asked.

use crate::discovery::{FetchError, TokenFileError};
use http::StatusCode;
use std::io;
use std::path::PathBuf;

/// Why Vault did not do what it was asked. What it said is in its own words.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Our token's policies do not allow it.
    #[error("{url} is denied ({said}): a policy of our token must allow it")]
    Denied {
        /// What was asked.
        url: String,
        /// What it said.
        said: String,
    },
    /// No connection, no trust, no answer in time, or one that is too large.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The service account's token cannot be read.
    #[error("the service account's token {path} cannot be read")]
    Jwt {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no such thing.
    #[error("{url} is not there ({said}): is the mount right, and the engine enabled?")]
    Missing {
        /// What was asked.
        url: String,
        /// What it said.
        said: String,
    },
    /// It was understood, and not done.
    #[error("{url} answered {status}: {said}")]
    Refused {
        /// What was asked.
        url: String,
        /// The answer.
        status: StatusCode,
        /// What it said.
        said: String,
    },
    /// It cannot read its own storage until its operators have unsealed it.
    #[error("the Vault at {url} is sealed: its operators must unseal it")]
    Sealed {
        /// What was asked.
        url: String,
    },
    /// It sends us elsewhere, where our token will not follow.
    #[error("{url} answered {status}, a redirect, and none is followed: write the address of the active node")]
    Standby {
        /// What was asked.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// There is no token, or no secret to get one.
    #[error(transparent)]
    Token(#[from] TokenFileError),
    /// It answered with something else than Vault does.
    #[error("{url} did not answer as Vault does: {why}")]
    Unreadable {
        /// What was asked.
        url: String,
        /// What is odd.
        why: String,
    },
}
