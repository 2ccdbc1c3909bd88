//! The keys, the bundle that tells of them, and who has it.

use super::numbers::{Metrics, signed};
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// The keys, the bundle that tells of them, and who has it.
#[derive(Debug)]
pub(super) struct Trust {
    bundle_sequence: Gauge,
    holders: Family<Held, Gauge>,
    slowest_holder_seconds: Gauge,
    stuck_holders: Gauge,
    holders_left_behind: Gauge,
    svids_on_tainted_keys: Gauge,
    publishers_failing: Gauge,
    upstream_failures: Gauge,
    upstream_intermediate_ends: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Held {
    sequence: u64,
}

impl Trust {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            bundle_sequence: page.number("bundle_sequence", "The published bundle's sequence"),
            holders: page.number(
                "holders",
                "Known holders of the bundle, by the sequence that they have; 0 for those not heard since the start",
            ),
            slowest_holder_seconds: page.number(
                "slowest_holder_seconds",
                "For how long somebody among the known holders has lacked the published bundle",
            ),
            stuck_holders: page.number(
                "stuck_holders",
                "Known holders that are heard, and keep to an old bundle though renewals bring them the new one",
            ),
            holders_left_behind: page.number(
                "holders_left_behind",
                "Known holders without proof of a key that signs already: a change of keys went on without them",
            ),
            svids_on_tainted_keys: page.number(
                "svids_on_tainted_keys",
                "Live X.509-SVIDs below tainted roots: all should be renewed within half a minute",
            ),
            publishers_failing: page
                .number("publishers_failing", "Places that the trust bundle is published to, and cannot be written"),
            upstream_failures: page.number(
                "upstream_failures",
                "How often in a row the upstream authority gave no intermediate when it was asked",
            ),
            upstream_intermediate_ends: page.number(
                "upstream_intermediate_not_after",
                "When the intermediate that it certified ends, in Unix seconds: nothing is issued afterwards",
            ),
        }
    }
}

impl Metrics {
    /// The sequence of the bundle that we publish.
    pub fn bundle_is_at(&self, sequence: u64) {
        self.0.trust.bundle_sequence.set(signed(sequence));
    }

    /// How many known holders have which bundle (0 for those not heard), for how long the slowest has lacked the newest, and
    /// how many will not get it by waiting.
    pub fn holders_are(&self, by_sequence: &BTreeMap<u64, usize>, slowest: Duration, stuck: usize) {
        self.0.trust.stuck_holders.set(i64::try_from(stuck).unwrap_or(i64::MAX));
        self.0.trust.holders.clear();
        for (sequence, count) in by_sequence {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.0.trust.holders.get_or_create(&Held { sequence: *sequence }).set(count);
        }
        self.0.trust.slowest_holder_seconds.set(signed(slowest.as_secs()));
    }

    /// How many known holders are not proven to have a key that signs.
    pub fn holders_are_left_behind(&self, count: usize) {
        self.0.trust.holders_left_behind.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many live SVIDs are to be renewed at once and were not yet.
    pub fn tainted_svids_are(&self, remaining: usize) {
        self.0.trust.svids_on_tainted_keys.set(i64::try_from(remaining).unwrap_or(i64::MAX));
    }

    /// So many of the places that the bundle is published to cannot be written.
    pub fn publishers_fail(&self, count: usize) {
        self.0.trust.publishers_failing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How often in a row the authority above ours gave no intermediate, and when the one in use ends.
    pub fn upstream_stands(&self, failures: u32, ends_at: OffsetDateTime) {
        self.0.trust.upstream_failures.set(failures.into());
        self.0.trust.upstream_intermediate_ends.set(ends_at.unix_timestamp());
    }
}
