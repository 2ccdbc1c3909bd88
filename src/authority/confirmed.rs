//! An operator's word about a declared holder, as it is kept, under `holder/<name>`.

use super::Holders;
use crate::store::{Heard, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use time::OffsetDateTime;

/// How the names of these words begin.
const PREFIX: &str = "holder/";

/// What was confirmed, and when.
#[derive(Deserialize, Serialize)]
pub(super) struct Confirmed {
    v: Version<1>,
    pub(super) sequence: u64,
    #[serde(with = "time::serde::timestamp")]
    pub(super) at: OffsetDateTime,
}

impl Confirmed {
    /// Where it stands.
    pub(super) fn key(holder: &str) -> String {
        format!("{PREFIX}{holder}")
    }

    pub(super) fn parse(value: &RawValue) -> Result<Self, StoreError> {
        serde_json::from_str(value.get()).map_err(|fault| StoreError::Index(fault.into()))
    }

    /// To be committed.
    pub(super) fn write(holder: &str, sequence: u64, at: OffsetDateTime) -> Result<Write, StoreError> {
        let value =
            to_raw_value(&Self { v: Version, sequence, at }).map_err(|fault| StoreError::Journal(fault.into()))?;
        Ok(Write::Put(Self::key(holder), value))
    }
}

impl Holders {
    /// Takes in what an operator has told another replica. Keys of others are nothing to us.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn hear(&self, heard: &Heard) -> Result<(), StoreError> {
        let (Some(name), Some(kept)) = (heard.key.strip_prefix(PREFIX), &heard.now) else { return Ok(()) };
        let Confirmed { sequence, at, .. } = Confirmed::parse(&kept.value)?;
        self.confirm(name, sequence, at);
        Ok(())
    }
}
