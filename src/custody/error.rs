//! Why a place did not do what it was asked.

use super::Label;
use crate::crypto::{CryptoError, SecretFileError};
use crate::vault::VaultError;
use cryptoki::error::Error as ModuleError;
use std::path::PathBuf;
use std::time::Duration;

/// A place, and what was wrong there.
#[derive(Debug, thiserror::Error)]
#[error("the place {place:?}, where keys are kept")]
pub struct CustodyError {
    /// Its configured name.
    pub place: String,
    /// What was wrong.
    #[source]
    pub fault: PlaceFault,
}

/// What was wrong in a place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceFault {
    /// What it gave is no key or no signature.
    #[error("it gave something that is of no use for {label}")]
    Crypto {
        /// Which key.
        label: Label,
        /// What is odd.
        #[source]
        source: CryptoError,
    },
    /// The key can leave the place.
    #[error("the key {label} can leave it ({how}): it was not made by us there; delete it, or take it as nobody's")]
    Exposed {
        /// Which key.
        label: Label,
        /// By what.
        how: &'static str,
    },
    /// It ended with the process that had it.
    #[error(
        "the key {label} was in the memory of a process that has ended: it is lost, as was wanted (see `A lost root`)"
    )]
    Forgotten {
        /// Which.
        label: Label,
    },
    /// Not a key that does what we need.
    #[error("the key {label} is {found}, not {wanted}")]
    Kind {
        /// Which key.
        label: Label,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The library of the security module cannot be loaded or begun.
    #[error("the module {module} cannot be used: is the path right, and its package installed for this machine?")]
    Module {
        /// Which file.
        module: PathBuf,
        /// What it said.
        #[source]
        source: ModuleError,
    },
    /// The token does not do what we need.
    #[error("the token {token:?} has no {mechanism}: it cannot keep a P-256 key that signs")]
    Mechanism {
        /// Which token.
        token: String,
        /// Which mechanism of PKCS#11.
        mechanism: &'static str,
    },
    /// The configuration has no such place any more.
    #[error("it is not in the configuration, but a key of ours is there: write [[keys.place]] for it again")]
    NotConfigured,
    /// No such key.
    #[error("there is no key {label}: whoever keeps the place must restore it, or it is lost")]
    NotThere {
        /// Which.
        label: Label,
    },
    /// The PIN is wrong.
    #[error(
        "the PIN in {file} is not the one of the token {token:?}; it is not tried again before the file changes, since \
         tokens lock themselves after some wrong ones"
    )]
    Pin {
        /// The file with the PIN.
        file: PathBuf,
        /// Which token.
        token: String,
    },
    /// One more wrong PIN, and the token locks itself.
    #[error(
        "the PIN of the token {token:?} has one try left, which is not ours: correct {file}, and log in once by hand \
         with that PIN (pkcs11-tool --login), which gives the token its tries back"
    )]
    PinLastTry {
        /// The file with the PIN.
        file: PathBuf,
        /// Which token.
        token: String,
    },
    /// The PIN is right or wrong: nothing is let in any more.
    #[error("the PIN of the token {token:?} is locked: its security officer must set it anew")]
    PinLocked {
        /// Which token.
        token: String,
    },
    /// The PIN cannot be read.
    #[error("the PIN is not to be had")]
    PinFile(#[source] SecretFileError),
    /// It answers no more, or not in time.
    #[error("it has not answered for {} s", within.as_secs())]
    Silent {
        /// How long it was waited for.
        within: Duration,
    },
    /// The module did not do it.
    #[error("the token {token:?} did not do it")]
    Token {
        /// Which token.
        token: String,
        /// What the module said.
        #[source]
        source: ModuleError,
    },
    /// No such token.
    #[error("no token is called {token:?}; there are: {there}. Is it plugged in, and initialised under that label?")]
    TokenMissing {
        /// Which.
        token: String,
        /// Which there are.
        there: String,
    },
    /// Two keys under one label.
    #[error("{many} keys are called {label}: delete those that are not ours")]
    Twins {
        /// The label.
        label: Label,
        /// How many.
        many: usize,
    },
    /// Vault did not do it.
    #[error(transparent)]
    Vault(#[from] VaultError),
}
