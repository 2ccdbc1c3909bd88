//! What decisions rest on: the policy, and what other systems say.

use super::numbers::Metrics;
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

/// What decisions rest on: the policy, and what other systems say.
#[derive(Debug)]
pub(super) struct Decisions {
    policy_reads: Family<Read, Counter>,
    facts: Family<Fact, Counter>,
    facts_seconds: Histogram,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Read {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Fact {
    fact: &'static str,
    answer: &'static str,
}

impl Decisions {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            policy_reads: page.number(
                "policy_reads",
                "Times that the policy was read again, by outcome; `refused` is one with problems",
            ),
            facts: page.number("facts", "Facts that other systems were asked for, by answer"),
            facts_seconds: page.seconds("facts_seconds", "What a request waited for the facts that its rule needs"),
        }
    }
}

impl Metrics {
    /// The policy's file was read again: `changed`, `unchanged`, `refused` or `failed`.
    pub fn policy_read(&self, outcome: &'static str) {
        self.0.decisions.policy_reads.get_or_create(&Read { outcome }).inc();
    }

    /// Another system was asked for a fact; its answer: `is`, `no` or `unavailable`.
    pub fn fact_heard(&self, fact: &'static str, answer: &'static str) {
        self.0.decisions.facts.get_or_create(&Fact { fact, answer }).inc();
    }

    /// A request waited that long for all the facts that its rule needs.
    pub fn facts_heard(&self, took: Duration) {
        self.0.decisions.facts_seconds.observe(took.as_secs_f64());
    }
}
