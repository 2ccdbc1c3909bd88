//! Text to a readable token: sizes first, then base64, then JSON. Nothing is believed yet.

use super::claims::ClaimValue;
use super::error::TokenError;
use super::header::Header;
use super::issuer_kind::{IssuerKind, Model};
use super::payload::{Payload, Read};
use crate::bundle::StrictJson;
use crate::telemetry::quotable;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// With 200 long group names a token reaches some 60 KiB; integrations beyond that are not known.
const TOKEN_BYTES_MAX: usize = 96 * 1024;
/// A key's name is a SHA-256 thumbprint of 43 characters at GitLab; this leaves room for others.
const KID_BYTES_MAX: usize = 256;

/// The signature algorithms that an issuer may be configured to use. Neither `none` nor an HMAC can be said.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum TokenAlgorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3), GitLab's only one.
    #[serde(rename = "RS256")]
    Rs256,
}

impl TokenAlgorithm {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }

    /// As a token's header writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A readable token that nobody has vouched for. Only `verify` gets anything but issuer and key name out of it.
pub struct UnverifiedToken<'a> {
    pub(super) text: &'a str,
    /// Where the signed part ends and the dot before the signature stands.
    pub(super) signed_bytes: usize,
    pub(super) algorithm: TokenAlgorithm,
    pub(super) payload: Payload,
    issuer: String,
    kid: String,
}

impl<'a> UnverifiedToken<'a> {
    /// Reads a JWS in compact form (RFC 7515 §7.1).
    ///
    /// # Errors
    /// `TooLarge`, `Malformed`, `CriticalHeader`, `DuplicateMember`, `AlgorithmRefused` for what no issuer may use,
    /// and `ClaimShape` or `ClaimMissing` for a token that is no CI job's.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge { bytes: text.len(), max: TOKEN_BYTES_MAX });
        }
        let (header, payload) = parts(text)?;
        let signed_bytes = header.len() + 1 + payload.len();
        let (algorithm, kid) = check_header(Header::parse(&decode(header)?)?)?;
        let mut payload = Payload::parse(&decode(payload)?)?;
        let Some(Read::Kept(ClaimValue::Text(issuer))) = payload.take("iss") else {
            return Err(TokenError::ClaimMissing { name: "iss" });
        };
        Ok(Self { text, signed_bytes, algorithm, payload, issuer, kid })
    }

    /// Reads the same of another kind of issuer, which is known by now.
    pub(super) fn of_other(
        text: &'a str,
        (of, model, issuer): (IssuerKind, &'static Model, String),
        payload: &Map<String, Value>,
    ) -> Result<Self, TokenError> {
        let (header, payload_part) = parts(text)?;
        let (algorithm, kid) = check_header(Header::parse(&decode(header)?)?)?;
        let payload = Payload::of_other(of, model, payload)?;
        Ok(Self { text, signed_bytes: header.len() + 1 + payload_part.len(), algorithm, payload, issuer, kid })
    }

    /// The payload's members, of a token that is no larger than any may be.
    pub(super) fn members(text: &str) -> Result<Map<String, Value>, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge { bytes: text.len(), max: TOKEN_BYTES_MAX });
        }
        let odd = |_json| TokenError::Malformed { what: "the payload is not one JSON object, each member once" };
        StrictJson::object(&decode(parts(text)?.1)?).map_err(odd)
    }

    /// The exact `iss`, or whoever stands for it; to look up who would have to vouch for it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The name of the key that is said to have signed it.
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnverifiedToken({:?})", quotable(&self.issuer))
    }
}

/// Header and payload of a token of three parts.
fn parts(text: &str) -> Result<(&str, &str), TokenError> {
    let mut parts = text.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(_signature), None) => Ok((header, payload)),
        _ => Err(TokenError::Malformed { what: "it has not three parts" }),
    }
}

fn check_header(header: Header) -> Result<(TokenAlgorithm, String), TokenError> {
    if header.crit {
        return Err(TokenError::CriticalHeader);
    }
    // RFC 7519 §5.1. Another type (at+jwt, logout+jwt) is a token made for another purpose (RFC 8725 §3.11).
    if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err(TokenError::Malformed { what: "typ is not JWT" });
    }
    let name = header.alg.ok_or(TokenError::Malformed { what: "the header has no alg" })?;
    let algorithm =
        TokenAlgorithm::parse(&name).ok_or_else(|| TokenError::AlgorithmRefused { alg: quotable(&name) })?;
    match header.kid {
        Some(kid) if (1..=KID_BYTES_MAX).contains(&kid.len()) => Ok((algorithm, kid)),
        Some(_) => Err(TokenError::Malformed { what: "kid is empty or too long" }),
        None => Err(TokenError::Malformed { what: "the header has no kid" }),
    }
}

/// Strict: no padding, no other alphabet, no stray bits at the end (RFC 7515 §2).
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_where| TokenError::Malformed { what: "a part is not strict base64url" })
}
