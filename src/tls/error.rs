//! Why a handshake, or what it needs, did not come about.

use super::server_trust::NotPinned;
use crate::crypto::CryptoError;
use rustls::CertificateError;
use std::io;
use std::path::PathBuf;

/// Why a handshake, or what it needs, did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The library could not build a certificate.
    #[error("the certificate cannot be built")]
    Build(#[source] rcgen::Error),
    /// A client went away, or does not speak our TLS.
    #[error("no TLS with the client")]
    Client(#[source] io::Error),
    /// A passphrase would open the key, and nobody is here to type it.
    #[error(
        "the private key in {place} is encrypted; decrypt it, and name what comes of that: \
         (umask 077; openssl pkey -in {place} -out {place}.decrypted)"
    )]
    Encrypted {
        /// Which file.
        place: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server was reached, but the two sides did not agree.
    #[error("no TLS with {server}; we trust {trust}")]
    Handshake {
        /// Host and port.
        server: String,
        /// What we would have believed.
        trust: String,
        /// What the library says.
        source: io::Error,
    },
    /// A key could not be made or read.
    #[error("the key cannot be used")]
    Key(#[from] CryptoError),
    /// A text holds none of what it was given for.
    #[error("no PEM {what} in {place}")]
    Missing {
        /// A certificate or a private key.
        what: &'static str,
        /// A path, or where else the text came from.
        place: String,
    },
    /// A certificate that may vouch for nobody stands where an authority's should.
    #[error("a certificate in {place} is no CA's, so it can vouch for nobody: name the CA's own")]
    NoCa {
        /// Which file.
        place: String,
    },
    /// A name that no certificate can carry, or that no server can have.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    Name {
        /// The name.
        name: String,
    },
    /// The client on the other side did not complete the handshake in time.
    #[error("the client did not complete the handshake in time")]
    Slow,
    /// Nobody answers there.
    #[error("cannot connect to {server}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// Why.
        source: io::Error,
    },
    /// Certificate and key are there, but do not serve.
    #[error("certificate and key from {place} cannot be used")]
    Unusable {
        /// Where they came from.
        place: String,
        /// What the library says.
        source: rustls::Error,
    },
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CertificateFault {
    /// It is over, or not yet good.
    Dates,
    /// It is for another name.
    OtherName,
    /// None of those that are trusted has signed it.
    UnknownIssuer,
}

impl TlsError {
    /// What was wrong with the other side's certificate, if that was it.
    pub fn certificate_fault(&self) -> Option<CertificateFault> {
        let Self::Handshake { source, .. } = self else { return None };
        let inner = source.get_ref()?;
        if inner.is::<NotPinned>() {
            return Some(CertificateFault::UnknownIssuer);
        }
        let rustls::Error::InvalidCertificate(fault) = inner.downcast_ref()? else { return None };
        of_library(fault)
    }
}

pub(super) fn of_library(fault: &CertificateError) -> Option<CertificateFault> {
    use CertificateError as Library;
    let faults = [
        (matches!(fault, Library::UnknownIssuer), CertificateFault::UnknownIssuer),
        (
            matches!(fault, Library::NotValidForName | Library::NotValidForNameContext { .. }),
            CertificateFault::OtherName,
        ),
        (
            matches!(
                fault,
                Library::Expired
                    | Library::ExpiredContext { .. }
                    | Library::NotValidYet
                    | Library::NotValidYetContext { .. }
            ),
            CertificateFault::Dates,
        ),
    ];
    faults.into_iter().find_map(|(is, fault)| is.then_some(fault))
}
