//! Serial numbers: what tells two certificates of one issuer apart.

use crate::crypto::{Random, write_hex};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A certificate's serial number: 16 random bytes, positive, not zero (RFC 5280 §4.1.2.2). Prints as hex.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; Self::BYTES]);

impl Serial {
    /// How long one is.
    const BYTES: usize = 16;

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

    /// One of ours as somebody copied it: hex digits with or without colons, as `openssl x509` prints it after `serial=` or
    /// `Serial Number:`, or decimal. Theirs have 32 hex or 38 decimal digits and more, so that no text is both.
    pub fn as_typed(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = ["serial=", "Serial Number:", "0x", "0X"].iter().find_map(|lead| text.strip_prefix(lead));
        let mut digits: String = bare.unwrap_or(text).to_owned();
        digits.retain(|c| c != ':' && !c.is_whitespace());
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let is_decimal = digits.len() > 2 * Self::BYTES && digits.bytes().all(|digit| digit.is_ascii_digit());
        let number = u128::from_str_radix(&digits, if is_decimal { 10 } else { 16 }).ok()?;
        Self::from_bytes(number.to_be_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_known_in_every_form_that_people_copy() {
        let own = Serial::try_from("4a0c5df1e2b3949586778899aabbccdd".to_owned()).unwrap();
        let dumped = "Serial Number:\n            4a:0c:5d:f1:e2:b3:94:95:86:77:88:99:aa:bb:cc:dd\n";
        for typed in [
            "4a0c5df1e2b3949586778899aabbccdd",
            "4A:0C:5D:F1:E2:B3:94:95:86:77:88:99:AA:BB:CC:DD",
            "serial=4A0C5DF1E2B3949586778899AABBCCDD",
            " 0x4a0c5df1e2b3949586778899aabbccdd\n",
            dumped,
            &u128::from_be_bytes(*own.as_bytes()).to_string(),
        ] {
            assert_eq!(Serial::as_typed(typed), Some(own), "{typed}");
        }
        for odd in ["", "serial=", "my-jti", "-4a", "4a0c5df1e2b3949586778899aabbccddee", &"9".repeat(40)] {
            assert_eq!(Serial::as_typed(odd), None, "{odd}");
        }
    }
}
