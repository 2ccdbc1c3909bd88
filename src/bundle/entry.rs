//! One entry of a bundle document: what it holds, or why it is left out (TDB-8 to TDB-18). One publisher's slip does not end all
//! trust, so each is judged alone.

use super::authority::certified_key;
use super::{Jwk, JwtAuthority, NotAnAuthority};
use crate::identity::TrustDomain;
use crate::telemetry::quotable;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value};

pub(super) const X509_USE: &str = "x509-svid";
pub(super) const JWT_USE: &str = "jwt-svid";
pub(super) const WIT_USE: &str = "wit-svid";

/// What an entry holds.
pub(super) enum Entry {
    Jwt(JwtAuthority),
    /// A key of the incubating WIT-SVID, which nobody here reads yet.
    Wit,
    X509(CertificateDer<'static>),
}

/// An entry that is left out, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("key {at}: {why}")]
pub struct OddEntry {
    /// Its place in the document, from 1.
    pub at: usize,
    /// What is wrong with it.
    #[source]
    pub why: Oddity,
}

/// Why an entry is left out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Oddity {
    /// The certificate is none of an authority.
    #[error(transparent)]
    Authority(#[from] NotAnAuthority),
    /// `x5c` holds no base64.
    #[error("its certificate is no base64 of DER")]
    Base64,
    /// `x5c` is absent or empty.
    #[error("it has no certificate (x5c)")]
    NoCertificate,
    /// A JWT key that no token could name.
    #[error("it has no kid")]
    NoKid,
    /// Not an object.
    #[error("it is no object")]
    NoObject,
    /// `use` is absent or no text.
    #[error("it has no use")]
    NoUse,
    /// Of a kind that is not known, misshapen, private or symmetric.
    #[error("its key is of no kind that is known here, misshapen, or not a public one")]
    NotAKey,
    /// The certificate names another trust domain.
    #[error("its certificate ({subject}) says that it is of spiffe://{named}")]
    OfAnother {
        /// Whom it names besides.
        subject: String,
        /// The trust domain.
        named: TrustDomain,
    },
    /// The numbers beside the certificate are another key's.
    #[error("its numbers are not those of its certificate's key")]
    OtherKey,
    /// A use that the standard does not know.
    #[error("its use {0:?} is not known")]
    Use(String),
}

pub(super) fn member<'a>(entry: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    entry.get(name).and_then(Value::as_str)
}

impl Entry {
    pub(super) fn read(entry: &Value) -> Result<Self, Oddity> {
        let entry = entry.as_object().ok_or(Oddity::NoObject)?;
        match member(entry, "use").ok_or(Oddity::NoUse)? {
            X509_USE => x509_authority(entry).map(Self::X509),
            JWT_USE => jwt_authority(entry).map(Self::Jwt),
            WIT_USE => Ok(Self::Wit),
            other => Err(Oddity::Use(quotable(other))),
        }
    }
}

/// The first certificate of `x5c`, if it is a CA's and its key is the entry's (TDB-12 to TDB-16).
fn x509_authority(entry: &Map<String, Value>) -> Result<CertificateDer<'static>, Oddity> {
    let first = entry.get("x5c").and_then(Value::as_array).and_then(|x5c| x5c.first()).ok_or(Oddity::NoCertificate)?;
    let der = first.as_str().and_then(|first| STANDARD.decode(first).ok()).ok_or(Oddity::Base64)?;
    let certificate = CertificateDer::from(der);
    let key = certified_key(&certificate)?;
    if Jwk::read(entry).ok_or(Oddity::NotAKey)? == key { Ok(certificate) } else { Err(Oddity::OtherKey) }
}

/// A key under a `kid` (TDB-17, TDB-18).
fn jwt_authority(entry: &Map<String, Value>) -> Result<JwtAuthority, Oddity> {
    let kid = member(entry, "kid").filter(|kid| !kid.is_empty()).ok_or(Oddity::NoKid)?.to_owned();
    Ok(JwtAuthority { kid, key: Jwk::read(entry).ok_or(Oddity::NotAKey)? })
}
