//! The revocation lists.

use super::numbers::Metrics;
use super::page::Page;
use prometheus_client::metrics::gauge::Gauge;
use time::OffsetDateTime;

/// The revocation lists.
#[derive(Debug)]
pub(super) struct Revocation {
    revoked: Gauge,
    made: Gauge,
    next_update: Gauge,
}

impl Revocation {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            revoked: page.number("crl_revoked", "SVIDs on the newest revocation lists"),
            made: page.number(
                "crl_made_at",
                "When the newest revocation lists were made, in Unix seconds; 0 before the first",
            ),
            next_update: page.number(
                "crl_next_update",
                "Until when they are good, in Unix seconds: consumers refuse everybody afterwards",
            ),
        }
    }
}

impl Metrics {
    /// A set of revocation lists was made: how many leaves stand on it, when it was made, until when it is good.
    pub fn crls_made(&self, revoked: usize, at: OffsetDateTime, next_update: OffsetDateTime) {
        self.0.revocation.revoked.set(i64::try_from(revoked).unwrap_or(i64::MAX));
        self.0.revocation.made.set(at.unix_timestamp());
        self.0.revocation.next_update.set(next_update.unix_timestamp());
    }
}
