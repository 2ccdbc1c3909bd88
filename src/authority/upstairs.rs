//! The rotator's side of the authority above ours: when it is asked, what came of it, and what operators are told.

use super::rotation::Rotation;
use super::{Above, AuthorityKind};
use crate::backoff::Backoff;
use crate::crypto::{KeyId, Random};
use crate::telemetry::chain;
use crate::upstream::{Certified, Heard, UpstreamEnds, UpstreamError, UpstreamRoot, Wanted};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// Waits after failures, for a day's intermediate; shorter lives wait a share of theirs at most.
const REST: Backoff = Backoff { first: Duration::from_secs(5), most: Duration::from_secs(300) };
/// How many waits fit into an intermediate's life at least.
const RESTS: u32 = 64;

/// How the authority above ours stands.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UpstreamState {
    /// What it is.
    pub kind: String,
    /// When it was asked last.
    #[serde(with = "time::serde::rfc3339::option")]
    pub asked_at: Option<OffsetDateTime>,
    /// When what it answered was taken last, since the start.
    #[serde(with = "time::serde::rfc3339::option")]
    pub answered_at: Option<OffsetDateTime>,
    /// Why there was no usable answer last time.
    pub fault: Option<String>,
    /// What would help.
    pub remedy: Option<String>,
    /// How often in a row.
    pub failures: u32,
    /// When it is asked next.
    #[serde(with = "time::serde::rfc3339::option")]
    pub asks_at: Option<OffsetDateTime>,
    /// When the intermediate in use ends.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ends_at: Option<OffsetDateTime>,
    /// From when on it is an alarm that there is no answer.
    #[serde(with = "time::serde::rfc3339::option")]
    pub alarms_at: Option<OffsetDateTime>,
    /// Whether it is one.
    pub is_alarm: bool,
    /// The root of the intermediate that waits until everybody holds it.
    pub waits_for: Option<KeyId>,
}

/// See the file's words.
#[derive(Debug)]
pub(super) struct Upstairs {
    pub(super) above: Above,
    ends: UpstreamEnds,
    under_way: bool,
    rests_until: Option<OffsetDateTime>,
    state: watch::Sender<UpstreamState>,
}

impl Upstairs {
    pub(super) fn new(roots: Vec<UpstreamRoot>, ends: UpstreamEnds) -> Self {
        let state = UpstreamState {
            kind: ends.kind.to_owned(),
            asked_at: None,
            answered_at: None,
            fault: None,
            remedy: None,
            failures: 0,
            asks_at: None,
            ends_at: None,
            alarms_at: None,
            is_alarm: false,
            waits_for: None,
        };
        let (above, state) = (Above { roots, offer: None }, watch::Sender::new(state));
        Self { above, ends, under_way: false, rests_until: None, state }
    }

    /// How it stands, now and as it changes.
    pub(super) fn watch(&self) -> watch::Receiver<UpstreamState> {
        self.state.subscribe()
    }

    /// What is heard next; none once the keeper is gone.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        self.ends.heard.recv().await
    }

    /// When to ask, by what is due and by how often it was in vain.
    pub(super) fn asks_at(&self, rotation: &Rotation<'_>) -> Option<OffsetDateTime> {
        let due = rotation.asks_at().filter(|_| !self.under_way)?;
        Some(self.rests_until.map_or(due, |until| due.max(until)))
    }

    /// Whether an answer is still to come.
    pub(super) const fn is_asked(&self) -> bool {
        self.under_way
    }

    /// Asks; the answer is heard later.
    pub(super) fn ask(&mut self, wanted: Wanted, now: OffsetDateTime) {
        self.under_way = self.ends.asks.try_send(wanted).is_ok();
        self.state.send_modify(|state| state.asked_at = Some(now));
    }

    /// Takes what was heard. Other roots are a reason to ask again at once.
    pub(super) fn take(&mut self, heard: Heard, now: OffsetDateTime) -> Option<UpstreamError> {
        match heard {
            Heard::Roots(roots) => {
                tracing::info!(roots = roots.len(), "the upstream has other roots");
                (self.above.roots, self.rests_until) = (roots, None);
                None
            }
            Heard::Answer(Ok(offer)) => {
                self.under_way = false;
                self.above.offer = Some(offer);
                self.state.send_modify(|state| state.answered_at = Some(now));
                None
            }
            Heard::Answer(Err(fault)) => {
                self.under_way = false;
                Some(fault)
            }
        }
    }

    /// After an answer that is of use.
    pub(super) fn succeeded(&mut self) {
        self.rests_until = None;
        self.state.send_modify(|state| (state.failures, state.fault, state.remedy) = (0, None, None));
    }

    /// After one that is of none: how long it rests.
    pub(super) fn failed(&mut self, fault: &UpstreamError, life: Duration, (now, random): (OffsetDateTime, &Random)) {
        self.state.send_modify(|state| {
            state.failures = state.failures.saturating_add(1);
            (state.fault, state.remedy) = (Some(chain(fault)), Some(fault.remedy().to_owned()));
        });
        let failures = self.state.borrow().failures;
        let rest = REST.after(failures).min(life / RESTS);
        self.rests_until = Some(now + rest + random.jitter(rest / 2));
    }

    /// Drops an offer that is in use, or of none any more.
    pub(super) fn forget(&mut self) -> Option<Certified> {
        self.above.offer.take()
    }

    /// Tells operators, if anything is new.
    pub(super) fn tell(&self, rotation: &Rotation<'_>) {
        let intermediate = rotation.keyring.active(AuthorityKind::X509Intermediate);
        let alarms_at = rotation.alarms_at();
        let new = UpstreamState {
            asks_at: self.asks_at(rotation),
            ends_at: intermediate.map(|one| one.not_after),
            is_alarm: alarms_at.is_some_and(|at| at <= rotation.now),
            alarms_at,
            waits_for: rotation.waits_for(),
            ..self.state.borrow().clone()
        };
        self.state.send_if_modified(|state| {
            let changed = *state != new;
            *state = new;
            changed
        });
    }
}
