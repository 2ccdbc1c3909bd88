//! A relationship as it is kept, under `bundle/<trust domain>`: the last good bundle of each source outlives the process, and so
//! does an operator's word that an endpoint is to be asked.

use super::{Foreign, Relation, Source};
use crate::audit::Person;
use crate::bundle::{Bundle, BundleError};
use crate::identity::TrustDomain;
use crate::store::{StoreError, Version, Write};
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
    /// Who told to ask an endpoint, where the configuration does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told_by: Option<Person>,
    #[serde(with = "time::serde::timestamp")]
    pub(super) since: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Person>,
    /// The SPIFFE bundle document, as text; none before an endpoint's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    document: Option<String>,
    /// Why the one that was held is not any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) set_aside: Option<String>,
}

impl Record {
    /// Of a relation that holds this.
    pub(super) fn of(
        relation: &Relation,
        foreign: Option<&Foreign>,
        by: Option<Person>,
        since: OffsetDateTime,
    ) -> Self {
        let document = foreign.map(|foreign| String::from_utf8_lossy(&foreign.json).into_owned());
        let (source, told_by) = (relation.source.clone(), relation.told_by.clone());
        Self { v: Version, source, told_by, since, by, document, set_aside: None }
    }

    /// Of a relation whose bundle is held no more.
    pub(super) fn without(relation: &Relation, why: String, since: OffsetDateTime) -> Self {
        Self { set_aside: Some(why), ..Self::of(relation, None, None, since) }
    }

    pub(super) fn key(trust_domain: &TrustDomain) -> String {
        format!("{PREFIX}{trust_domain}")
    }

    pub(super) fn parse(value: &RawValue) -> Result<Self, StoreError> {
        serde_json::from_str(value.get()).map_err(|fault| StoreError::Index(fault.into()))
    }

    pub(super) fn write(&self, trust_domain: &TrustDomain) -> Result<Write, StoreError> {
        let value = to_raw_value(self).map_err(|fault| StoreError::Index(fault.into()))?;
        Ok(Write::Put(Self::key(trust_domain), value))
    }

    pub(super) fn foreign(&self, trust_domain: TrustDomain) -> Result<Option<Arc<Foreign>>, BundleError> {
        let Some(document) = &self.document else { return Ok(None) };
        Bundle::parse(trust_domain, document.as_bytes()).map(|bundle| Some(Arc::new(bundle.into())))
    }
}
