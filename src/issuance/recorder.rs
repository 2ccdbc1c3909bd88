//! Who is told of outcomes: the journal of noes to known bearers, the metrics of everything.

use super::sampled::Sampled;
use super::{Bearer, HookRefusal, IssuedSvid, Refusal, Request, RequestId};
use crate::audit::{Job, Ledger, Refused};
use crate::crypto::Digest;
use crate::people::Keeping;
use crate::policy::{Denial, Wish};
use crate::session::EndReason;
use crate::store::Position;
use crate::telemetry::{Metrics, chain, traced};
use crate::token::{IssuerName, VerifiedClaims};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Whose genuine token or session it was, and what was asked for as far as the road came.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) claims: VerifiedClaims,
    pub(super) job: Arc<Job>,
    pub(super) policy: Digest,
    pub(super) wish: Option<Wish>,
    pub(super) keeping: Keeping,
}

/// Counts outcomes, and notes refusals.
#[derive(Debug)]
pub struct Recorder {
    metrics: Metrics,
    of_strangers: Sampled,
    of_bearers: Sampled,
    of_replays: Sampled,
}

impl Recorder {
    /// A recorder on these metrics.
    pub fn new(metrics: Metrics) -> Self {
        let [of_strangers, of_replays] = [(); 2].map(|()| Sampled::of_strangers());
        Self { metrics, of_strangers, of_bearers: Sampled::of_bearers(), of_replays }
    }

    /// An intent is durable at this position of the journal.
    pub(super) fn admitted(&self, position: Position) {
        self.metrics.journal_is_at(position);
    }

    /// So many sessions ended before their time.
    pub(super) fn ended(&self, reason: EndReason, sessions: usize) {
        self.metrics.sessions_ended(reason.as_str(), sessions);
    }

    /// A token came with a second key: somebody has a copy of it. The refusal itself is in the journal.
    pub(super) fn replayed(&self, request_id: &RequestId, issuer: &IssuerName, now: OffsetDateTime) {
        self.metrics.token_replayed(&issuer.0);
        if self.of_replays.tells(now).is_some() {
            tracing::warn!(%request_id, "a token was used with a second key; the journal says whose it is");
        }
    }

    /// A delivery of the CI system led to nothing.
    pub(super) fn unheard(
        &self,
        ledger: &Ledger,
        (id, issuer): (&RequestId, &IssuerName),
        refusal: &HookRefusal,
        now: OffsetDateTime,
    ) {
        let (request_id, code, why) = (id.as_str(), refusal.code(), chain(refusal));
        if self.of_strangers.tells(now).is_some() {
            tracing::info!(request_id, %issuer, code, why, "a hook's delivery led to nothing");
        }
        if let Err(fault) = ledger.refuse_hook(request_id, issuer, (code, &why), now) {
            tracing::error!(request_id, fault = %chain(&fault), "a refusal could not be recorded");
        }
    }

    /// One request is over.
    pub(super) fn outcome(
        &self,
        ledger: &Ledger,
        (request, known): (&Request, Option<&Known>),
        outcome: &Result<IssuedSvid, Refusal>,
        (began, now): (OffsetDateTime, OffsetDateTime),
    ) {
        let took = Duration::try_from(now - began).unwrap_or(Duration::ZERO);
        let (code, rule) = match outcome {
            Ok(issued) => ("issued", Some(issued.rule())),
            Err(refusal) => (refusal.code(), refusal.rule()),
        };
        self.metrics.answered(request.door, code, took);
        self.decided(known, (code, rule));
        match (outcome, known, &request.bearer) {
            (Err(refusal), known, _) => self.refused(ledger, (&request.id, known), refusal, now),
            (Ok(_), Some(known), Bearer::Token(_)) => {
                let after = now - known.claims.claims().issued_at;
                self.metrics.first_svid(Duration::try_from(after).unwrap_or(Duration::ZERO));
            }
            (Ok(_), _, _) => {}
        }
    }

    /// What came of it, by names that operators gave: never whose it was.
    fn decided(&self, known: Option<&Known>, (code, rule): (&'static str, Option<&str>)) {
        let issuer = known.map(|known| &*known.claims.claims().issuer.0);
        if let Some(issuer) = issuer {
            self.metrics.decided(issuer, rule.unwrap_or_default(), code);
        }
        if let Some(span) = traced() {
            span.record("lanyard.code", code).record("lanyard.issuer", issuer).record("lanyard.rule", rule);
        }
    }

    /// A no, and whom it is about where that is known.
    pub(super) fn refused(
        &self,
        ledger: &Ledger,
        (request_id, known): (&RequestId, Option<&Known>),
        refusal: &Refusal,
        now: OffsetDateTime,
    ) {
        let (request_id, code) = (request_id.as_str(), refusal.code());
        let sampled = if known.is_some() { &self.of_bearers } else { &self.of_strangers };
        if let Some(untold) = sampled.tells(now) {
            let untold = Some(untold).filter(|untold| *untold > 0);
            tracing::info!(request_id, code, why = chain(refusal), untold, "refused");
        }
        let Some(Known { claims, job, policy, wish, keeping }) = known else { return };
        let why = chain(refusal);
        let denial = if let Refusal::Denied(denial) = refusal { Some(denial) } else { None };
        let asked = wish.as_ref().filter(|_| denial.is_some()).map(|wish| (claims.claims(), wish, keeping));
        let facts = denial.and_then(Denial::unmet).map(|unmet| &unmet.facts);
        let refused = Refused { request_id, code, why, job, policy: *policy, asked, facts };
        if let Err(fault) = ledger.refuse(&refused, now) {
            tracing::error!(request_id, fault = %chain(&fault), "a refusal could not be recorded");
        }
    }
}
