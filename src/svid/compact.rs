//! A JWS in compact form taken apart (RFC 7515 §7.1), nothing believed: three parts, strict base64url, no name twice.

use crate::bundle::{StrictJson, StrictJsonError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The largest token that is looked at, as for every token.
const TOKEN_BYTES_MAX: usize = 96 * 1024;

/// Header, payload and signature of a token that nobody has verified yet.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) payload: Map<String, Value>,
    /// What the signature is over.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
}

/// Why a text is no compact JWS of JSON objects.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// Padding, other alphabets, or bits left over.
    #[error("a part of the token is not base64url without padding")]
    Base64(#[from] base64::DecodeError),
    /// Not JSON objects, or with a name twice.
    #[error("a part of the token is not a JSON object")]
    Json(#[from] StrictJsonError),
    /// Not three parts: JSON serialisation and JWE are refused (JWT-SVID §2).
    #[error("the token does not have exactly three parts")]
    Parts,
    /// Over 96 KiB.
    #[error("the token has {actual} bytes, at most {TOKEN_BYTES_MAX} are read")]
    TooLarge {
        /// What came.
        actual: usize,
    },
}

impl<'a> Compact<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, CompactError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(CompactError::TooLarge { actual: token.len() });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(CompactError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(CompactError::Parts)?;
        if payload.contains('.') {
            return Err(CompactError::Parts);
        }
        Ok(Self {
            header: StrictJson::object(&URL_SAFE_NO_PAD.decode(header)?)?,
            payload: StrictJson::object(&URL_SAFE_NO_PAD.decode(payload)?)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature)?,
        })
    }
}
