//! Tokens signed by this process: a line with the header, a line with the payload, and perhaps a line with changes to
//! what was signed, three bytes each: where (two bytes) and what is flipped. Other bytes are a token as it came.
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
    /// The payload, if we signed just this text.
    pub payload: Option<&'a [u8]>,
}

impl<'a> Sent<'a> {
    /// Bytes with a line end are to be signed; none if they are no text.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Some(Self { text: str::from_utf8(bytes).ok()?.to_owned(), payload: None });
        };
        let (header, rest) = (&bytes[..at], &bytes[at + 1..]);
        let (payload, changes) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, [].as_slice()),
        };
        let mut text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = KEY.sign_jws(text.as_bytes()).unwrap();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        let signed = text.clone();
        let mut sent = text.into_bytes();
        for [high, low, flip] in changes.as_chunks::<3>().0 {
            let at = usize::from(u16::from_be_bytes([*high, *low])) % sent.len();
            sent[at] ^= flip;
        }
        let text = String::from_utf8(sent).ok()?;
        Some(Self { payload: (text == signed).then_some(payload), text })
    }
}

/// A token with one letter changed, in each of its parts and at its end.
pub fn changed(text: &str) -> impl Iterator<Item = String> {
    let places = [0, text.find('.').unwrap() + 5, text.rfind('.').unwrap() + 7, text.len() - 1];
    places.into_iter().map(|at| {
        let other = if text[at..].starts_with('A') { "B" } else { "A" };
        [&text[..at], other, &text[at + 1..]].concat()
    })
}

/// A header and a payload as one document.
pub fn document(header: &Value, payload: &Value) -> Vec<u8> {
    format!("{header}\n{payload}\n").into_bytes()
}

/// Our key as a JWK.
pub fn jwk(purpose: &str) -> Value {
    let PublicNumbers::Ec { x, y, .. } = KEY.public().numbers() else { unreachable!("the key is P-256") };
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    json!({"kty": "EC", "crv": "P-256", "kid": KID, "use": purpose, "x": x, "y": y})
}
