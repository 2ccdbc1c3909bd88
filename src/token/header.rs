//! The token's header (RFC 7515 §4), duplicates refused.

use super::error::TokenError;
use super::payload::{Complaint, read_whole, twice};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// The header's members that mean something here. `jku`, `jwk`, `x5c`, `x5u` are read past: a key never comes from
/// the token it signs.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) alg: Option<String>,
    pub(super) crit: bool,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
}

impl Header {
    /// Reads a JSON object.
    pub(super) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        let mut complaint = None;
        read_whole(json, HeaderSeed(&mut complaint)).map_err(|_json| {
            complaint.unwrap_or(TokenError::Malformed { what: "the header is not one JSON object of texts" })
        })
    }
}

struct HeaderSeed<'a>(&'a mut Complaint);

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = Header;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Header, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        let mut seen = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "alg" => header.alg = Some(members.next_value()?),
                "kid" => header.kid = Some(members.next_value()?),
                "typ" => header.typ = Some(members.next_value()?),
                other => {
                    header.crit |= other == "crit";
                    members.next_value::<IgnoredAny>()?;
                }
            }
            if let Some(name) = seen.replace(name) {
                return Err(twice(self.0, &name));
            }
        }
        Ok(header)
    }
}
