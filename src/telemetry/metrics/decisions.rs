//! What was decided, and what decisions rest on: the policy.

use super::numbers::Metrics;
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::time::Duration;

/// What was decided, and what decisions rest on.
#[derive(Debug)]
pub(super) struct Decisions {
    decided: Family<Decided, Counter>,
    first_svid_seconds: Histogram,
    policy_reads: Family<Read, Counter>,
}

/// Names of the configuration and the policy, and a code: as many as an operator has written, whatever callers send.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Decided {
    issuer: Box<str>,
    rule: Box<str>,
    code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Read {
    outcome: &'static str,
}

impl Decisions {
    pub(super) fn on(page: &mut Page) -> Self {
        let first = Histogram::new(exponential_buckets(0.25, 2.0, 14)); // up to the age that a token may have, and more
        Self {
            decided: page.number(
                "decisions",
                "Requests of known bearers, by issuer, rule and outcome; the rule is empty where none spoke",
            ),
            first_svid_seconds: page.register(
                "first_svid_seconds",
                "From the making of a job's token, which is the job's start, to an SVID for it",
                first,
            ),
            policy_reads: page.number(
                "policy_reads",
                "Times that the policy was read again, by outcome; `refused` is one with problems",
            ),
        }
    }
}

impl Metrics {
    /// What a bearer of this issuer got by this rule: `issued` or the refusal's code.
    pub fn decided(&self, issuer: &str, rule: &str, code: &'static str) {
        let decided = Decided { issuer: issuer.into(), rule: rule.into(), code };
        self.0.decisions.decided.get_or_create(&decided).inc();
    }

    /// A job's token bought its SVID, so long after it was made.
    pub fn first_svid(&self, after: Duration) {
        self.0.decisions.first_svid_seconds.observe(after.as_secs_f64());
    }

    /// The policy's file was read again: `changed`, `unchanged`, `refused` or `failed`.
    pub fn policy_read(&self, outcome: &'static str) {
        self.0.decisions.policy_reads.get_or_create(&Read { outcome }).inc();
    }
}
