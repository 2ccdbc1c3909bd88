//! Who is told of outcomes: the journal of noes to known bearers, the metrics of everything.

use super::{IssuedSvid, Refusal, Request};
use crate::audit::{Job, Ledger, Refused};
use crate::store::Position;
use crate::telemetry::{Metrics, chain};
use std::time::Duration;
use time::OffsetDateTime;

/// Counts outcomes, and notes refusals.
#[derive(Clone, Debug)]
pub struct Recorder(Metrics);

impl Recorder {
    /// A recorder on these metrics.
    pub const fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }

    /// An intent is durable at this position of the journal.
    pub(super) fn admitted(&self, position: Position) {
        self.0.journal_is_at(position);
    }

    /// One request is over.
    pub(super) fn outcome(
        &self,
        ledger: &Ledger,
        (request, job): (&Request, Option<&Job>),
        outcome: &Result<IssuedSvid, Refusal>,
        (began, now): (OffsetDateTime, OffsetDateTime),
    ) {
        let took = Duration::try_from(now - began).unwrap_or(Duration::ZERO);
        let Err(refusal) = outcome else { return self.0.answered(request.door, "issued", took) };
        self.0.answered(request.door, refusal.code(), took);
        let (why, request_id) = (chain(refusal), request.id.as_str());
        tracing::info!(request_id, code = refusal.code(), why, "refused");
        let Some(job) = job else { return };
        let refused = Refused { request_id, code: refusal.code(), why, job };
        if let Err(fault) = ledger.refuse(&refused, now) {
            tracing::error!(request_id, fault = %chain(&fault), "a refusal could not be recorded");
        }
    }
}
