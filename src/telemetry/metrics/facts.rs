//! What other systems are asked, and how they answer.

use super::numbers::Metrics;
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;
use time::OffsetDateTime;

/// What other systems are asked, and how they answer.
#[derive(Debug)]
pub(super) struct Facts {
    heard: Family<Fact, Counter>,
    waited: Histogram,
    questions: Family<Question, Counter>,
    seconds: Family<Of, Histogram, fn() -> Histogram>,
    open: Family<Of, Gauge>,
    looked_at: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Fact {
    fact: &'static str,
    answer: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Question {
    source: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    source: String,
}

impl Facts {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            heard: page.number("facts", "Facts that other systems were asked for, by answer"),
            waited: page.seconds("facts_seconds", "What a request waited for the facts that its rule needs"),
            questions: page.number(
                "fact_questions",
                "Questions to other systems, by source and outcome: `answered` and `unavailable` were asked, `cached` was \
                 known, `resting` was not asked because the source is left alone, `crowded` because too many wait for it",
            ),
            seconds: page.seconds_each("fact_source_seconds", "How long a source took for what it was asked"),
            open: page.number(
                "fact_source_open",
                "1 while a source is left alone because it did not answer or asked for it (its circuit breaker is open), else 0",
            ),
            looked_at: page.number(
                "accounts_looked_at",
                "When the accounts behind live sessions were last looked at, all of them, in Unix seconds; 0 where they never were",
            ),
        }
    }
}

impl Metrics {
    /// The accounts behind live sessions were looked at, all of them.
    pub fn accounts_looked_at(&self, at: OffsetDateTime) {
        self.0.facts.looked_at.set(at.unix_timestamp());
    }

    /// A request heard of a fact: `is`, `no` or `unavailable`.
    pub fn fact_heard(&self, fact: &'static str, answer: &'static str) {
        self.0.facts.heard.get_or_create(&Fact { fact, answer }).inc();
    }

    /// A request waited that long for all the facts that its rule needs.
    pub fn facts_heard(&self, took: Duration) {
        self.0.facts.waited.observe(took.as_secs_f64());
    }

    /// The numbers of one source of facts, by its name.
    pub fn source(&self, name: &str) -> SourceMetrics {
        let Facts { questions, seconds, open, .. } = &self.0.facts;
        let of = Of { source: name.to_owned() };
        let question = |outcome| {
            let question = Question { source: name.to_owned(), outcome };
            questions.get_or_create(&question).clone()
        };
        SourceMetrics {
            answered: question("answered"),
            unavailable: question("unavailable"),
            cached: question("cached"),
            resting: question("resting"),
            crowded: question("crowded"),
            seconds: seconds.get_or_create(&of).clone(),
            open: open.get_or_create(&of).clone(),
        }
    }
}

/// The numbers of one source of facts.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    answered: Counter,
    unavailable: Counter,
    cached: Counter,
    resting: Counter,
    crowded: Counter,
    seconds: Histogram,
    open: Gauge,
}

impl SourceMetrics {
    /// It was asked, and took that long.
    pub fn asked(&self, has_answered: bool, took: Duration) {
        let outcome = if has_answered { &self.answered } else { &self.unavailable };
        outcome.inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// What it would say was known.
    pub fn cached(&self) {
        self.cached.inc();
    }

    /// Too many waited for it already.
    pub fn crowded(&self) {
        self.crowded.inc();
    }

    /// It is left alone.
    pub fn resting(&self) {
        self.resting.inc();
    }

    /// Whether it is left alone from now on.
    pub fn is_open(&self, is: bool) {
        self.open.set(is.into());
    }
}
