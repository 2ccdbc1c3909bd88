//! Why the authority above ours is of no use now, and what would help.

use super::{AnswerError, CertManagerError};
use crate::crypto::{CryptoError, SecretFileError};
use crate::svid::LayoutError;
use crate::telemetry::rfc3339;
use crate::vault::VaultError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// Why there is no new intermediate, or no roots; what was there before stays in use.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It answered, but what came cannot be used.
    #[error("what the upstream authority signed cannot be used")]
    Answer(#[from] AnswerError),
    /// The cluster gave no certificate.
    #[error(transparent)]
    CertManager(#[from] CertManagerError),
    /// A certificate in a file is not one that may stand above ours.
    #[error("certificate {at} in {path} {unfit}")]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Its place there, from 1.
        at: usize,
        /// What is wrong with it.
        unfit: Unfit,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key's bytes are no key of a kind that signs here.
    #[error("{path} holds no key that can sign: unencrypted PEM, elliptic, Ed25519, or RSA of 2048 bits and more")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CryptoError,
    },
    /// The key's file cannot be read, or by others too.
    #[error(transparent)]
    KeyFile(#[from] SecretFileError),
    /// Our own request or its certificate could not be laid out.
    #[error("no certificate could be built")]
    Layout(#[from] LayoutError),
    /// A file without any certificate.
    #[error("{path} holds no certificate in PEM")]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// A new intermediate would be of no more use than the one in use.
    #[error("what it signs ends at {}, no later than the intermediate in use", rfc3339(*ends_at))]
    NoLonger {
        /// When.
        ends_at: OffsetDateTime,
    },
    /// Key and certificate do not belong together.
    #[error("the key in {key} does not belong to the first certificate in {certificate}")]
    OtherKey {
        /// The file of the one.
        key: PathBuf,
        /// The file of the other.
        certificate: PathBuf,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// No answer in time.
    #[error("no answer within {} s", within.as_secs())]
    TimedOut {
        /// How long it was waited for.
        within: Duration,
    },
    /// Vault did not sign.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl UpstreamError {
    /// What would help.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Answer(answer) => answer.remedy(),
            Self::CertManager(fault) => fault.remedy(),
            Self::Certificate { unfit, .. } => unfit.remedy(),
            Self::File { .. } | Self::KeyFile(_) => "name a file that this user may read, and for a key nobody else",
            Self::Key { .. } => "openssl pkey -in KEY -out PLAIN writes it without a passphrase",
            Self::Layout(_) => "the authority's certificate needs a subject key identifier: make it with one",
            Self::NoCertificate { .. } => "write it in PEM, between BEGIN CERTIFICATE and END CERTIFICATE",
            Self::NoLonger { .. } => "renew the authority's own certificate, and what stands above it",
            Self::OtherKey { .. } => "put the certificate first whose key this is, and those above it behind",
            Self::Stopped => "start it again",
            Self::Vault(VaultError::Denied { .. }) => "let our token's policy create and update at that path",
            Self::Vault(VaultError::Missing { .. }) => {
                "write the mount, and the issuer if one is named, as Vault has them"
            }
            Self::Vault(_) => "see whether Vault is up, unsealed, and can be reached from here",
            Self::TimedOut { .. } => "see whether it is up and can be reached from here",
        }
    }
}

/// Why a certificate cannot stand above ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Its time is over.
    #[error("ended at {0}")]
    Ended(OffsetDateTime),
    /// It may not stand above another authority.
    #[error("allows no authority below it: its path length is 0")]
    LastOfItsPath,
    /// Not a certificate.
    #[error("is not exactly one X.509 certificate")]
    Malformed,
    /// Not an authority's.
    #[error("is no authority's: it does not say CA:TRUE")]
    NoAuthority,
    /// It may not sign certificates.
    #[error("may not sign certificates: its key usage is not critical, or lacks keyCertSign")]
    NoCertSign,
    /// Somebody else's word is needed for it.
    #[error("is no root: another authority signed it")]
    NoRoot,
    /// Not believed yet.
    #[error("is valid only from {0} on")]
    NotYet(OffsetDateTime),
    /// What it signs could not be shown by both sides of a connection.
    #[error("has an extended key usage without serverAuth or clientAuth")]
    Purposes,
    /// A key that nobody should believe.
    #[error("has a weak or unknown key: not elliptic, not Ed25519, not RSA of 2048 bits and more")]
    WeakKey,
}

impl Unfit {
    const fn remedy(&self) -> &'static str {
        match self {
            Self::Ended(_) => "renew it",
            Self::LastOfItsPath => "make it with a path length of 1 or more, or none",
            Self::Malformed => "write it in PEM, unchanged",
            Self::NoAuthority => "make it with basicConstraints = critical, CA:TRUE",
            Self::NoCertSign => "make it with keyUsage = critical, keyCertSign, cRLSign",
            Self::NoRoot => "write the certificate at the top, which signed itself; those between stand in the chain",
            Self::NotYet(_) => "wait, or look at this machine's clock",
            Self::Purposes => "make it without extended key usage, or with both",
            Self::WeakKey => "make it with an ECDSA P-256 key",
        }
    }
}
