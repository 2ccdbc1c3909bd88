//! Why a directory could not be asked, or told nothing of use.

use super::account::Untold;
use super::ldap::{LdapError, ResultCode};
use super::shown::Held;
use crate::crypto::SecretFileError;
use crate::people::PeopleError;
use crate::store::StoreError;
use std::path::PathBuf;

/// See the file's opening words.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Our own account is not let in.
    #[error("{server} does not let us in: {no}")]
    Bind {
        /// Which.
        server: String,
        /// What it says.
        no: ResultCode,
    },
    /// The password is not shown for a while.
    #[error("the password in {path} {held}, lest our own account be locked")]
    Held {
        /// Which file.
        path: PathBuf,
        /// Why.
        held: Held,
    },
    /// GitLab does not tell what it links the user to.
    #[error("GitLab does not tell what it links the user to: {0}")]
    Links(String),
    /// A server does not answer, or not as it should.
    #[error("{server} cannot be asked")]
    Ldap {
        /// Which.
        server: String,
        /// Why.
        #[source]
        fault: LdapError,
    },
    /// An empty password would bind as nobody, and Active Directory would call that a success.
    #[error("the password file {path} is empty: put the password of the account that binds into it")]
    NoPassword {
        /// Which file.
        path: PathBuf,
    },
    /// There is none.
    #[error("no server of the directory is configured")]
    NoServer,
    /// How the person is written down is not known.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// There is no password.
    #[error("the password file {0}")]
    Secret(#[from] SecretFileError),
    /// Whose account it was cannot be read, or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not say what it takes to judge.
    #[error(transparent)]
    Untold(#[from] Untold),
}

impl DirectoryError {
    /// Whether it answers that there is no entry of the name it was asked about.
    pub(super) fn is_nowhere(&self) -> bool {
        matches!(self, Self::Ldap { fault: LdapError::Refused(no), .. } if no.is_nowhere())
    }

    /// Whether it answers, and only this question cannot be judged by what it says.
    pub const fn is_of_this_question(&self) -> bool {
        matches!(
            self,
            Self::Links(_)
                | Self::Untold(_)
                | Self::Ldap { fault: LdapError::Refused(_) | LdapError::TooMany | LdapError::TooMuch, .. }
        )
    }
}
