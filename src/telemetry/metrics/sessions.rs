//! How many sessions there are, and why they ended.

use super::numbers::{Metrics, Reason};
use super::page::Page;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// How many sessions there are, and why they ended.
#[derive(Debug)]
pub(super) struct Sessions {
    live_sessions: Gauge,
    ended_sessions: Family<Reason, Counter>,
}

impl Sessions {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            live_sessions: page.number("live_sessions", "Sessions that can be renewed"),
            ended_sessions: page.number("ended_sessions", "Sessions that ended before their time, by reason"),
        }
    }
}

impl Metrics {
    /// How many sessions can be renewed.
    pub fn sessions_live(&self, count: usize) {
        self.0.sessions.live_sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many sessions ended before their time.
    pub fn sessions_ended(&self, reason: &'static str, count: usize) {
        self.0
            .sessions
            .ended_sessions
            .get_or_create(&Reason { reason })
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
