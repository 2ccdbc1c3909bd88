//! Our signing keys: how many there are, where they live, and until when those that sign may.

use super::numbers::Metrics;
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
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

/// Our signing keys.
#[derive(Debug)]
pub(super) struct Keys {
    stock: Family<KeyStock, Gauge>,
    not_after: Family<Kind, Gauge>,
}

impl Keys {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            stock: page.number(
                "authority_keys",
                "Our signing keys, by kind, place and state; the place `keyring` is the sealed file",
            ),
            not_after: page.number(
                "authority_not_after_seconds",
                "Until when the key that signs now may, by kind, in Unix seconds",
            ),
        }
    }
}

impl Metrics {
    /// Which keys there are, and when the active one of each kind ends.
    pub fn keys_are(&self, stock: &BTreeMap<KeyStock, i64>, not_after: &BTreeMap<&'static str, OffsetDateTime>) {
        self.0.keys.stock.clear();
        for (together, count) in stock {
            self.0.keys.stock.get_or_create(together).set(*count);
        }
        for (kind, ends_at) in not_after {
            self.0.keys.not_after.get_or_create(&Kind { kind }).set(ends_at.unix_timestamp());
        }
    }
}
