//! How the bundles of other trust domains stand.

use super::numbers::Metrics;
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use time::OffsetDateTime;

/// How the bundles of other trust domains stand.
#[derive(Debug)]
pub(super) struct Foreign {
    confirmed_at: Family<Of, Gauge>,
    ends_at: Family<Of, Gauge>,
    failures: Family<Of, Gauge>,
}

/// How one of them stands.
#[derive(Clone, Copy, Debug)]
pub struct ForeignStanding<'a> {
    /// Whose it is.
    pub trust_domain: &'a str,
    /// How often in a row its source was not to be taken.
    pub failures: u32,
    /// When its source was last seen to hold what we hold; none since the start.
    pub confirmed_at: Option<OffsetDateTime>,
    /// When its last root ends.
    pub ends_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    trust_domain: String,
}

impl Foreign {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            confirmed_at: page.number(
                "foreign_bundle_confirmed_at",
                "When the source of another trust domain's bundle was last seen to hold what we hold, in Unix seconds",
            ),
            ends_at: page.number(
                "foreign_bundle_not_after",
                "When the last root of another trust domain's bundle ends, in Unix seconds",
            ),
            failures: page.number(
                "foreign_bundle_failures",
                "How often in a row another trust domain's bundle could not be taken from its source",
            ),
        }
    }
}

impl Metrics {
    /// How all of them stand now.
    pub fn foreign_bundles_are(&self, all: &[ForeignStanding<'_>]) {
        let Foreign { confirmed_at, ends_at, failures } = &self.0.foreign;
        confirmed_at.clear();
        ends_at.clear();
        failures.clear();
        for standing in all {
            let of = Of { trust_domain: standing.trust_domain.to_owned() };
            failures.get_or_create(&of).set(standing.failures.into());
            set(confirmed_at, &of, standing.confirmed_at);
            set(ends_at, &of, standing.ends_at);
        }
    }
}

fn set(family: &Family<Of, Gauge>, of: &Of, at: Option<OffsetDateTime>) {
    if let Some(at) = at {
        family.get_or_create(of).set(at.unix_timestamp());
    }
}
