//! Tokens signed by this process: a line with the header, a line with the payload. Other bytes are a token as it came.
//!
//! The key is made when the process starts, so no bytes from outside can be a token of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::crypto::{KeyAlgorithm, KeyPair, PublicNumbers};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The name of our key.
pub const KID: &str = "ours";

/// The one key whose tokens are believed.
pub static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeyAlgorithm::EcP256).unwrap());

/// A token, and who signed it.
#[derive(Debug)]
pub struct Sent<'a> {
    /// As it is sent.
    pub text: String,
    /// The payload, if we signed it.
    pub payload: Option<&'a [u8]>,
}

impl<'a> Sent<'a> {
    /// Bytes with a line end are a header and a payload to be signed; none if they are no text.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Some(Self { text: str::from_utf8(bytes).ok()?.to_owned(), payload: None });
        };
        let (header, payload) = (&bytes[..at], &bytes[at + 1..]);
        let mut text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = KEY.sign_jws(text.as_bytes()).unwrap();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Some(Self { text, payload: Some(payload) })
    }
}

/// A header and a payload as one document.
pub fn document(header: &Value, payload: &Value) -> Vec<u8> {
    format!("{header}\n{payload}").into_bytes()
}

/// Our key as a JWK.
pub fn jwk(purpose: &str) -> Value {
    let PublicNumbers::Ec { x, y, .. } = KEY.public().numbers() else { unreachable!("the key is P-256") };
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    json!({"kty": "EC", "crv": "P-256", "kid": KID, "use": purpose, "x": x, "y": y})
}
