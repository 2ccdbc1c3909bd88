//! The numbers of our signing keys: how many there are, where they live, and until when those that sign may.

use super::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Keys that are counted together.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyStock {
    /// What they are for.
    pub kind: &'static str,
    /// Where they live.
    pub place: String,
    /// Where they stand in their life.
    pub state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct KeyNumbers {
    keys: Family<KeyStock, Gauge>,
    not_after: Family<Kind, Gauge>,
}

impl KeyNumbers {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Our signing keys, by kind, place and state; the place `keyring` is the sealed file";
        registry.register("authority_keys", help, self.keys.clone());
        let help = "Until when the key that signs now may, by kind, in Unix seconds";
        registry.register("authority_not_after_seconds", help, self.not_after.clone());
    }
}

impl Metrics {
    /// Which keys there are, and when the active one of each kind ends.
    pub fn keys_are(&self, keys: &BTreeMap<KeyStock, i64>, not_after: &BTreeMap<&'static str, OffsetDateTime>) {
        let numbers = self.of_keys();
        numbers.keys.clear();
        for (stock, count) in keys {
            numbers.keys.get_or_create(stock).set(*count);
        }
        for (kind, ends_at) in not_after {
            numbers.not_after.get_or_create(&Kind { kind }).set(ends_at.unix_timestamp());
        }
    }
}
