//! The numbers that operators watch. Label sets are closed: codes and configured names, never an identity.

use super::page::Page;
use super::{answers, decisions, doors, facts, foreign, keys, records, revocation, sessions, trust};
use crate::telemetry::panics::panics;
use crate::telemetry::traces::{spans_dropped, spans_sent};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use std::sync::Arc;

/// The numbers that operators watch; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics(pub(super) Arc<Numbers>);

/// Which door a request came through.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Door {
    /// `lanyard.v1.Issuer`.
    Grpc,
    /// `/v1/…`.
    Rest,
}

/// One file a concern: its numbers, and what is said of them.
#[derive(Debug)]
pub(super) struct Numbers {
    page: Page,
    pub(super) answers: answers::Answers,
    pub(super) decisions: decisions::Decisions,
    pub(super) doors: doors::Doors,
    pub(super) facts: facts::Facts,
    pub(super) foreign: foreign::Foreign,
    pub(super) keys: keys::Keys,
    pub(super) records: records::Records,
    pub(super) revocation: revocation::Revocation,
    pub(super) sessions: sessions::Sessions,
    pub(super) trust: trust::Trust,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All numbers at zero.
    pub fn new() -> Self {
        let mut page = Page::default();
        page.register("panics", "Panics of this process, in requests and elsewhere", panics());
        page.register("spans_sent", "Spans of traces that the collector has taken", spans_sent());
        page.register(
            "spans_dropped",
            "Spans of traces that were lost: the collector was slow or away",
            spans_dropped(),
        );
        Self(Arc::new(Numbers {
            answers: answers::Answers::on(&mut page),
            decisions: decisions::Decisions::on(&mut page),
            doors: doors::Doors::on(&mut page),
            facts: facts::Facts::on(&mut page),
            foreign: foreign::Foreign::on(&mut page),
            keys: keys::Keys::on(&mut page),
            records: records::Records::on(&mut page),
            revocation: revocation::Revocation::on(&mut page),
            sessions: sessions::Sessions::on(&mut page),
            trust: trust::Trust::on(&mut page),
            page,
        }))
    }

    /// All numbers in the `OpenMetrics` 1.0 text format.
    pub fn render(&self) -> String {
        self.0.page.render()
    }
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
