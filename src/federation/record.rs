//! A bundle as it is kept, under `bundle/<trust domain>`: the last good one of each source outlives the process.

use super::{Foreign, Source};
use crate::audit::Person;
use crate::bundle::{Bundle, BundleError};
use crate::identity::TrustDomain;
use crate::store::{StoreError, Version};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use time::OffsetDateTime;

/// How the names of records begin.
pub(super) const PREFIX: &str = "bundle/";

/// See the file's words. The version stands in front.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Record {
    v: Version<1>,
    #[serde(flatten)]
    pub(super) source: Source,
    #[serde(with = "time::serde::timestamp")]
    pub(super) since: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Person>,
    /// The SPIFFE bundle document, as text.
    document: String,
}

impl Record {
    pub(super) fn of(foreign: &Foreign, source: Source, by: Option<Person>, since: OffsetDateTime) -> Self {
        let document = String::from_utf8_lossy(&foreign.json).into_owned();
        Self { v: Version, source, since, by, document }
    }

    pub(super) fn key(trust_domain: &TrustDomain) -> String {
        format!("{PREFIX}{trust_domain}")
    }

    pub(super) fn parse(value: &RawValue) -> Result<Self, StoreError> {
        serde_json::from_str(value.get()).map_err(|fault| StoreError::Index(fault.into()))
    }

    pub(super) fn to_value(&self) -> Result<Box<RawValue>, StoreError> {
        to_raw_value(self).map_err(|fault| StoreError::Index(fault.into()))
    }

    pub(super) fn foreign(&self, trust_domain: TrustDomain) -> Result<Arc<Foreign>, BundleError> {
        Bundle::parse(trust_domain, self.document.as_bytes()).map(|bundle| Arc::new(bundle.into()))
    }
}
