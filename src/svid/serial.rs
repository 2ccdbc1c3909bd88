//! Serial numbers: what tells two certificates of one issuer apart.

use crate::crypto::{Random, write_hex};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A certificate's serial number: 16 random bytes, positive, not zero (RFC 5280 §4.1.2.2). Prints as hex.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; 16]);

impl Serial {
    /// A new one: 126 random bits, so that it is positive and always has all of its 16 bytes.
    pub fn random(random: &Random) -> Self {
        let mut bytes = random.bytes::<16>();
        let [first, ..] = &mut bytes;
        *first = *first & 0x3f | 0x40;
        Self(bytes)
    }

    /// A serial number read from elsewhere; none if it is negative or zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let [first, ..] = bytes;
        (first & 0x80 == 0 && bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The bytes, big-endian.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl TryFrom<String> for Serial {
    type Error = &'static str;

    fn try_from(hex: String) -> Result<Self, &'static str> {
        const WHAT: &str = "a serial number is 32 hex digits, positive and not zero";
        let exact = hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(&hex, 16).map_err(|_not_hex| WHAT)?;
        Self::from_bytes(number.to_be_bytes()).filter(|_| exact).ok_or(WHAT)
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}
