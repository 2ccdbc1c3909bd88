//! What decisions rest on: the policy.

use super::numbers::Metrics;
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// What decisions rest on: the policy.
#[derive(Debug)]
pub(super) struct Decisions {
    policy_reads: Family<Read, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Read {
    outcome: &'static str,
}

impl Decisions {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            policy_reads: page.number(
                "policy_reads",
                "Times that the policy was read again, by outcome; `refused` is one with problems",
            ),
        }
    }
}

impl Metrics {
    /// The policy's file was read again: `changed`, `unchanged`, `refused` or `failed`.
    pub fn policy_read(&self, outcome: &'static str) {
        self.0.decisions.policy_reads.get_or_create(&Read { outcome }).inc();
    }
}
