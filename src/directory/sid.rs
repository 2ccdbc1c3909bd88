//! The names that a directory gives for good: an account's GUID, an account's or group's SID.

use crate::crypto::write_hex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A security identifier, as the directory keeps it (MS-DTYP §2.4.2.2).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sid(Vec<u8>);

/// A text is no SID, or bytes are none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no SID")]
pub struct NoSid;

/// More parts than any SID has (MS-DTYP §2.4.2).
const PARTS_MAX: usize = 15;
/// Revision, number of parts, authority.
const HEAD_BYTES: usize = 8;

impl Sid {
    /// As it is searched for.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn parts(&self) -> impl Iterator<Item = u32> {
        let parts = self.0.get(HEAD_BYTES..).unwrap_or_default().chunks_exact(4);
        parts.filter_map(|part| Some(u32::from_le_bytes(part.try_into().ok()?)))
    }

    fn authority(&self) -> u64 {
        let bytes = self.0.get(2..HEAD_BYTES).unwrap_or_default();
        bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

impl TryFrom<&[u8]> for Sid {
    type Error = NoSid;

    fn try_from(bytes: &[u8]) -> Result<Self, NoSid> {
        match bytes {
            [1, parts, ..]
                if usize::from(*parts) <= PARTS_MAX && bytes.len() == HEAD_BYTES + 4 * usize::from(*parts) =>
            {
                Ok(Self(bytes.to_vec()))
            }
            _ => Err(NoSid),
        }
    }
}

/// `S-1-5-21-…`, decimal only.
impl FromStr for Sid {
    type Err = NoSid;

    fn from_str(text: &str) -> Result<Self, NoSid> {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let mut parts = text.strip_prefix("S-1-").ok_or(NoSid)?.split('-');
        let authority: u64 =
            parts.next().filter(|part| digits(part)).and_then(|part| part.parse().ok()).ok_or(NoSid)?;
        let parts: Option<Vec<u32>> = parts.map(|part| part.parse().ok().filter(|_| digits(part))).collect();
        let parts = parts.filter(|parts| (1..=PARTS_MAX).contains(&parts.len()) && authority < 1 << 48).ok_or(NoSid)?;
        let [_, _, authority @ ..] = authority.to_be_bytes();
        let mut bytes = vec![1, u8::try_from(parts.len()).map_err(|_many| NoSid)?];
        bytes.extend(authority);
        bytes.extend(parts.into_iter().flat_map(u32::to_le_bytes));
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S-1-{}", self.authority())?;
        self.parts().try_for_each(|part| write!(f, "-{part}"))
    }
}

/// What names an account through every rename and move.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Guid([u8; 16]);

impl Guid {
    /// As it is searched for.
    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Guid {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

/// As Windows writes it: the first three groups are numbers with their lowest byte first (MS-DTYP §2.3.4.3).
const GROUPS: [Range<usize>; 5] = [0..4, 4..6, 6..8, 8..10, 10..16];

fn turned(mut bytes: [u8; 16]) -> [u8; 16] {
    for group in GROUPS.into_iter().take(3) {
        if let Some(number) = bytes.get_mut(group) {
            number.reverse();
        }
    }
    bytes
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = turned(self.0);
        let mut lead = "";
        for group in GROUPS {
            f.write_str(lead)?;
            write_hex(written.get(group).unwrap_or_default(), f)?;
            lead = "-";
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Guid {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NONE: &str = "a GUID is 32 hex digits in groups of 8, 4, 4, 4 and 12";
        let lengths = text.split('-').map(str::len);
        let hex: String = text.split('-').collect();
        let number = u128::from_str_radix(&hex, 16)
            .ok()
            .filter(|_| !hex.starts_with('+') && lengths.eq(GROUPS.map(|group| 2 * group.len())));
        Ok(Self(turned(number.ok_or(NONE)?.to_be_bytes())))
    }
}

impl TryFrom<String> for Guid {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Guid> for String {
    fn from(guid: Guid) -> Self {
        guid.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sid_is_written_as_windows_writes_it() {
        let bytes: [u8; 28] = [
            1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0xa0, 0x65, 0xcf, 0x7e, 0x78, 0x4b, 0x9b, 0x5f, 0xe7, 0x7c, 0x87,
            0x70, 0x09, 0x1c, 0x01, 0x00,
        ];
        let sid = Sid::try_from(&bytes[..]).unwrap();
        assert_eq!(sid.to_string(), "S-1-5-21-2127521184-1604012920-1887927527-72713");
        assert_eq!(sid.to_string().parse(), Ok(sid));
        assert_eq!(
            "S-1-5-32-545".parse::<Sid>().unwrap().as_bytes(),
            [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 33, 2, 0, 0]
        );
        for odd in [
            "",
            "S-1-5",
            "S-2-5-32",
            "s-1-5-32",
            "S-1-5-x",
            "S-1-5-+3",
            "S-1-5-4294967296",
            "S-1-281474976710656-1",
            "S-1-5-32-",
        ] {
            assert_eq!(odd.parse::<Sid>(), Err(NoSid), "{odd}");
        }
        for odd in [&bytes[..27], &[2, 0, 0, 0, 0, 0, 0, 5], &[], &[1, 16]] {
            assert_eq!(Sid::try_from(odd), Err(NoSid));
        }
    }

    #[test]
    fn a_guid_is_written_as_windows_writes_it() {
        let bytes: [u8; 16] =
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        assert_eq!(Guid(bytes).to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        for odd in [
            "",
            "00112233445566778899aabbccddeeff",
            "0011223-34455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeefg",
        ] {
            assert!(odd.parse::<Guid>().is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back(guid: [u8; 16], authority in 0..1_u64 << 48, parts in prop::collection::vec(any::<u32>(), 1..=15)) {
            prop_assert_eq!(Guid(guid).to_string().parse(), Ok(Guid(guid)));
            let text = parts.iter().fold(format!("S-1-{authority}"), |text, part| format!("{text}-{part}"));
            let sid: Sid = text.parse().unwrap();
            prop_assert_eq!(sid.to_string(), text);
            prop_assert_eq!(Sid::try_from(sid.as_bytes()), Ok(sid));
        }
    }
}
