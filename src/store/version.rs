//! The version of a kept value's form.

use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use serde::ser::{Serialize, Serializer};
use std::cmp::Ordering;

/// Stands as the first field, `v`, so that a reader knows whose form it is before it stumbles over what it does not know.
/// Only `OURS` is read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Version<const OURS: u32>;

impl<const OURS: u32> Serialize for Version<OURS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(OURS)
    }
}

impl<'de, const OURS: u32> Deserialize<'de> for Version<OURS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = u32::deserialize(deserializer)?;
        match found.cmp(&OURS) {
            Ordering::Equal => Ok(Self),
            Ordering::Greater => Err(D::Error::custom(format_args!(
                "it is of version {found}, written by a newer lanyard than this one, which knows version {OURS}; run that \
                 one again"
            ))),
            Ordering::Less => Err(D::Error::invalid_value(Unexpected::Unsigned(found.into()), &"a version from 1 on")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    struct Kept {
        v: Version<1>,
        name: String,
    }

    #[test]
    fn another_version_is_told_before_what_it_changed() {
        let kept = Kept { v: Version, name: "a".to_owned() };
        assert_eq!(serde_json::to_string(&kept).unwrap(), r#"{"v":1,"name":"a"}"#);
        let read = |text| serde_json::from_str::<Kept>(text).map_err(|error| error.to_string());
        assert!(read(r#"{"v":1,"name":"a"}"#).is_ok());
        let newer = read(r#"{"v":2,"names":["a"]}"#).unwrap_err();
        assert!(newer.starts_with("it is of version 2, written by a newer lanyard"), "{newer}");
        for malformed in [r#"{"v":0,"name":"a"}"#, r#"{"name":"a"}"#, r#"{"v":"1","name":"a"}"#] {
            read(malformed).unwrap_err();
        }
    }
}
