//! The numbers that operators watch. Label sets are closed: codes and configured names, never an identity.

use super::panics::panics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// The numbers that operators watch; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Numbers>);

/// Which door a request came through.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Door {
    /// `lanyard.v1.Issuer`.
    Grpc,
    /// `/v1/…`.
    Rest,
}

#[derive(Debug)]
struct Numbers {
    registry: Registry,
    exchanges: Family<Outcome, Counter>,
    refusals: Family<Refusal, Counter>,
    issue_seconds: Histogram,
    journal_position: Gauge,
    indexes_set_aside: Counter,
    disk_full: Gauge,
    checkpoints_failing: Gauge,
    live_sessions: Gauge,
    ended_sessions: Family<Reason, Counter>,
    token_replays: Family<Of, Counter>,
    bundle_sequence: Gauge,
    holders: Family<Held, Gauge>,
    slowest_holder_seconds: Gauge,
    stuck_holders: Gauge,
    svids_on_tainted_keys: Gauge,
    crl_revoked: Gauge,
    crl_made: Gauge,
    crl_next_update: Gauge,
    open_connections: Gauge,
    refused_connections: Family<Reason, Counter>,
    policy_reads: Family<Read, Counter>,
    facts: Family<Fact, Counter>,
    facts_seconds: Histogram,
    publishers_failing: Gauge,
    upstream_failures: Gauge,
    upstream_intermediate_ends: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    door: Door,
    code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Refusal {
    door: Door,
    code: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Read {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Held {
    sequence: u64,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Fact {
    fact: &'static str,
    answer: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    issuer: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All numbers at zero.
    pub fn new() -> Self {
        // From 0.1 ms, below the cheapest exchange, to 6.5 s, short of the deadline.
        let buckets = || exponential_buckets(0.0001, 2.0, 17);
        let mut numbers = Numbers {
            registry: Registry::with_prefix("lanyard"),
            exchanges: Family::default(),
            refusals: Family::default(),
            issue_seconds: Histogram::new(buckets()),
            journal_position: Gauge::default(),
            indexes_set_aside: Counter::default(),
            disk_full: Gauge::default(),
            checkpoints_failing: Gauge::default(),
            live_sessions: Gauge::default(),
            ended_sessions: Family::default(),
            token_replays: Family::default(),
            bundle_sequence: Gauge::default(),
            holders: Family::default(),
            slowest_holder_seconds: Gauge::default(),
            stuck_holders: Gauge::default(),
            svids_on_tainted_keys: Gauge::default(),
            crl_revoked: Gauge::default(),
            crl_made: Gauge::default(),
            crl_next_update: Gauge::default(),
            open_connections: Gauge::default(),
            refused_connections: Family::default(),
            policy_reads: Family::default(),
            facts: Family::default(),
            facts_seconds: Histogram::new(buckets()),
            publishers_failing: Gauge::default(),
            upstream_failures: Gauge::default(),
            upstream_intermediate_ends: Gauge::default(),
        };
        numbers.register();
        Self(Arc::new(numbers))
    }

    /// An SVID was asked for; `code` is `issued` or the refusal's code.
    pub fn answered(&self, door: Door, code: &'static str, took: Duration) {
        self.0.exchanges.get_or_create(&Outcome { door, code }).inc();
        self.0.issue_seconds.observe(took.as_secs_f64());
    }

    /// Whatever was asked for, the answer was a no with this code of ours.
    pub fn refused(&self, door: Door, code: &str) {
        self.0.refusals.get_or_create(&Refusal { door, code: code.to_owned() }).inc();
    }

    /// The journal's newest record.
    pub fn journal_is_at(&self, position: u64) {
        self.0.journal_position.set(signed(position));
    }

    /// A damaged index was moved away and made anew.
    pub fn index_set_aside(&self) {
        self.0.indexes_set_aside.inc();
    }

    /// Whether the journal's disk is full.
    pub fn disk_is_full(&self, full: bool) {
        self.0.disk_full.set(full.into());
    }

    /// Whether a signed checkpoint could not be written to where it should go.
    pub fn checkpoints_are_failing(&self, failing: bool) {
        self.0.checkpoints_failing.set(failing.into());
    }

    /// How many sessions can be renewed.
    pub fn sessions_live(&self, count: usize) {
        self.0.live_sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many sessions ended before their time.
    pub fn sessions_ended(&self, reason: &'static str, count: usize) {
        self.0.ended_sessions.get_or_create(&Reason { reason }).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// A token of this issuer, which is bound to a key, came with another one.
    pub fn token_replayed(&self, issuer: &str) {
        self.0.token_replays.get_or_create(&Of { issuer: issuer.to_owned() }).inc();
    }

    /// The sequence of the bundle that we publish.
    pub fn bundle_is_at(&self, sequence: u64) {
        self.0.bundle_sequence.set(signed(sequence));
    }

    /// How many known holders have which bundle (0 for those not heard), for how long the slowest has lacked the newest, and
    /// how many will not get it by waiting.
    pub fn holders_are(&self, by_sequence: &BTreeMap<u64, usize>, slowest: Duration, stuck: usize) {
        self.0.stuck_holders.set(i64::try_from(stuck).unwrap_or(i64::MAX));
        self.0.holders.clear();
        for (sequence, count) in by_sequence {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.0.holders.get_or_create(&Held { sequence: *sequence }).set(count);
        }
        self.0.slowest_holder_seconds.set(signed(slowest.as_secs()));
    }

    /// How many live SVIDs are to be renewed at once and were not yet.
    pub fn tainted_svids_are(&self, remaining: usize) {
        self.0.svids_on_tainted_keys.set(i64::try_from(remaining).unwrap_or(i64::MAX));
    }

    /// So many of the places that the bundle is published to cannot be written.
    pub fn publishers_fail(&self, count: usize) {
        self.0.publishers_failing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How often in a row the authority above ours gave no intermediate, and when the one in use ends.
    pub fn upstream_stands(&self, failures: u32, ends_at: OffsetDateTime) {
        self.0.upstream_failures.set(failures.into());
        self.0.upstream_intermediate_ends.set(ends_at.unix_timestamp());
    }

    /// A set of revocation lists was made: how many leaves stand on it, when it was made, until when it is good.
    pub fn crls_made(&self, revoked: usize, at: OffsetDateTime, next_update: OffsetDateTime) {
        self.0.crl_revoked.set(i64::try_from(revoked).unwrap_or(i64::MAX));
        self.0.crl_made.set(at.unix_timestamp());
        self.0.crl_next_update.set(next_update.unix_timestamp());
    }

    /// A connection was opened.
    pub fn connection_opened(&self) {
        self.0.open_connections.inc();
    }

    /// A connection was closed.
    pub fn connection_closed(&self) {
        self.0.open_connections.dec();
    }

    /// A connection was not served.
    pub fn connection_refused(&self, reason: &'static str) {
        self.0.refused_connections.get_or_create(&Reason { reason }).inc();
    }

    /// The policy's file was read again: `changed`, `unchanged`, `refused` or `failed`.
    pub fn policy_read(&self, outcome: &'static str) {
        self.0.policy_reads.get_or_create(&Read { outcome }).inc();
    }

    /// Another system was asked for a fact; its answer: `is`, `no` or `unavailable`.
    pub fn fact_heard(&self, fact: &'static str, answer: &'static str) {
        self.0.facts.get_or_create(&Fact { fact, answer }).inc();
    }

    /// A request waited that long for all the facts that its rule needs.
    pub fn facts_heard(&self, took: Duration) {
        self.0.facts_seconds.observe(took.as_secs_f64());
    }

    /// All numbers in the `OpenMetrics` 1.0 text format.
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail; a metric that cannot say itself leaves its page unfinished.
        if text::encode(&mut page, &self.0.registry).is_err() {
            tracing::error!("the metrics page could not be completed");
        }
        page
    }
}

impl Numbers {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("answers", "Requests for an SVID, by door and outcome", self.exchanges.clone());
        let help = "Requests of any kind on the issuer port that were refused, by door and code";
        registry.register("refusals", help, self.refusals.clone());
        registry.register("answer_seconds", "From request to answer", self.issue_seconds.clone());
        registry.register("journal_position", "The journal's newest record", self.journal_position.clone());
        let help = "Damaged indexes that were moved away and made anew at start";
        registry.register("indexes_set_aside", help, self.indexes_set_aside.clone());
        let help = "1 while the journal's disk is full and no identity is given";
        registry.register("disk_full", help, self.disk_full.clone());
        let help = "1 while a signed checkpoint of the journal cannot be written to where it should go";
        registry.register("checkpoints_failing", help, self.checkpoints_failing.clone());
        registry.register("live_sessions", "Sessions that can be renewed", self.live_sessions.clone());
        let help = "Sessions that ended before their time, by reason";
        registry.register("ended_sessions", help, self.ended_sessions.clone());
        let help = "Tokens that came with a second key, by issuer: somebody had a copy";
        registry.register("token_replays", help, self.token_replays.clone());
        registry.register("bundle_sequence", "The published bundle's sequence", self.bundle_sequence.clone());
        let help = "Known holders of the bundle, by the sequence that they have; 0 for those not heard since the start";
        registry.register("holders", help, self.holders.clone());
        let help = "For how long somebody among the known holders has lacked the published bundle";
        registry.register("slowest_holder_seconds", help, self.slowest_holder_seconds.clone());
        let help = "Known holders that are heard, and keep to an old bundle though renewals bring them the new one";
        registry.register("stuck_holders", help, self.stuck_holders.clone());
        let help = "Live X.509-SVIDs below tainted roots: all should be renewed within half a minute";
        registry.register("svids_on_tainted_keys", help, self.svids_on_tainted_keys.clone());
        let help = "Places that the trust bundle is published to, and cannot be written";
        registry.register("publishers_failing", help, self.publishers_failing.clone());
        let help = "How often in a row the upstream authority gave no intermediate when it was asked";
        registry.register("upstream_failures", help, self.upstream_failures.clone());
        let help = "When the intermediate that it certified ends, in Unix seconds: nothing is issued afterwards";
        registry.register("upstream_intermediate_not_after", help, self.upstream_intermediate_ends.clone());
        registry.register("crl_revoked", "SVIDs on the newest revocation lists", self.crl_revoked.clone());
        let help = "When the newest revocation lists were made, in Unix seconds; 0 before the first";
        registry.register("crl_made_at", help, self.crl_made.clone());
        let help = "Until when they are good, in Unix seconds: consumers refuse everybody afterwards";
        registry.register("crl_next_update", help, self.crl_next_update.clone());
        registry.register("open_connections", "Connections on the issuer port", self.open_connections.clone());
        let help = "Connections on the issuer port that were not served";
        registry.register("refused_connections", help, self.refused_connections.clone());
        let help = "Times that the policy was read again, by outcome; `refused` is one with problems";
        registry.register("policy_reads", help, self.policy_reads.clone());
        let help = "Facts that other systems were asked for, by answer";
        registry.register("facts", help, self.facts.clone());
        let help = "What a request waited for the facts that its rule needs";
        registry.register("facts_seconds", help, self.facts_seconds.clone());
        registry.register("panics", "Panics of this process, in requests and elsewhere", panics());
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_reads_outcomes_by_door_and_code() {
        let metrics = Metrics::new();
        metrics.answered(Door::Grpc, "issued", Duration::from_micros(300));
        metrics.answered(Door::Rest, "token_replayed", Duration::from_micros(200));
        metrics.journal_is_at(7);
        let page = metrics.render();
        assert!(page.contains(r#"lanyard_answers_total{door="Grpc",code="issued"} 1"#), "{page}");
        assert!(page.contains(r#"lanyard_answers_total{door="Rest",code="token_replayed"} 1"#), "{page}");
        assert!(page.contains("lanyard_journal_position 7"), "{page}");
    }
}
