//! What was answered, on which connections.

use super::numbers::{Door, Metrics, Reason};
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

/// What was answered, on which connections.
#[derive(Debug)]
pub(super) struct Answers {
    exchanges: Family<Outcome, Counter>,
    refusals: Family<Refusal, Counter>,
    issue_seconds: Histogram,
    token_replays: Family<Of, Counter>,
    open_connections: Gauge,
    refused_connections: Family<Reason, Counter>,
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
struct Of {
    issuer: String,
}

impl Answers {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            exchanges: page.number("answers", "Requests for an SVID, by door and outcome"),
            refusals: page
                .number("refusals", "Requests of any kind on the issuer port that were refused, by door and code"),
            issue_seconds: page.seconds("answer_seconds", "From request to answer"),
            token_replays: page
                .number("token_replays", "Tokens that came with a second key, by issuer: somebody had a copy"),
            open_connections: page.number("open_connections", "Connections on the issuer port"),
            refused_connections: page
                .number("refused_connections", "Connections on the issuer port that were not served"),
        }
    }
}

impl Metrics {
    /// An SVID was asked for; `code` is `issued` or the refusal's code.
    pub fn answered(&self, door: Door, code: &'static str, took: Duration) {
        self.0.answers.exchanges.get_or_create(&Outcome { door, code }).inc();
        self.0.answers.issue_seconds.observe(took.as_secs_f64());
    }

    /// Whatever was asked for, the answer was a no with this code of ours.
    pub fn refused(&self, door: Door, code: &str) {
        self.0.answers.refusals.get_or_create(&Refusal { door, code: code.to_owned() }).inc();
    }

    /// A token of this issuer, which is bound to a key, came with another one.
    pub fn token_replayed(&self, issuer: &str) {
        self.0.answers.token_replays.get_or_create(&Of { issuer: issuer.to_owned() }).inc();
    }

    /// A connection was opened.
    pub fn connection_opened(&self) {
        self.0.answers.open_connections.inc();
    }

    /// A connection was closed.
    pub fn connection_closed(&self) {
        self.0.answers.open_connections.dec();
    }

    /// A connection was not served.
    pub fn connection_refused(&self, reason: &'static str) {
        self.0.answers.refused_connections.get_or_create(&Reason { reason }).inc();
    }
}
