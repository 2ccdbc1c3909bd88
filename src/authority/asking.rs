//! The rotator under an authority above ours: asks it in time, takes what comes, and goes on with what it has meanwhile.

use super::above::Above;
use super::desk::OrderAsked;
use super::making::{Making, wanted};
use super::rotation::Rotation;
use super::upstairs::{Upstairs, UpstreamState};
use super::{AuthorityKind, KeyPlan, Keyring, KeyringFile, NotNow, OrderError, Rotator, RotatorError, Taken};
use crate::crypto::Random;
use crate::identity::TrustDomain;
use crate::telemetry::chain;
use crate::upstream::{Certified, Heard, UpstreamEnds, UpstreamError, UpstreamRoot, Wanted};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// The first intermediate to ask for, where there is no keyring yet.
///
/// # Errors
/// When no key can be made.
pub fn first_wanted(
    trust_domain: &TrustDomain,
    plan: &KeyPlan,
    (now, random): (OffsetDateTime, &Random),
) -> Result<Wanted, RotatorError> {
    wanted(&Keyring::empty(trust_domain.clone()), plan, (now, random))
}

/// Makes and saves the first keyring under an authority above ours.
///
/// # Errors
/// See [`RotatorError`].
pub async fn begin_under(
    file: &KeyringFile,
    plan: &KeyPlan,
    (root, offer, trust_domain): (UpstreamRoot, Certified, &TrustDomain),
    (now, random): (OffsetDateTime, &Random),
) -> Result<Keyring, RotatorError> {
    let above = Above { roots: vec![root], offer: Some(offer) };
    let making = Making { file, plan, above: Some(&above), random, now };
    super::rotator::first_keys(Keyring::empty(trust_domain.clone()), &making).await
}

impl Rotator {
    /// Under an authority above ours.
    #[must_use]
    pub fn under(mut self, roots: Vec<UpstreamRoot>, ends: UpstreamEnds) -> Self {
        self.upstairs = Some(Upstairs::new(roots, ends));
        self
    }

    /// How the authority above ours stands; none where there is none.
    pub fn upstream(&self) -> Option<watch::Receiver<UpstreamState>> {
        self.upstairs.as_ref().map(Upstairs::watch)
    }

    pub(super) fn above(&self) -> Option<&Above> {
        self.upstairs.as_ref().map(|upstairs| &upstairs.above)
    }

    /// Asks, if it is time; when it will be, if that is known.
    pub(super) fn ask_upstream(&mut self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let known = self.known(now);
        let asks_at = self.upstairs.as_ref()?.asks_at(&self.rotation(&known, now));
        if asks_at.is_some_and(|at| at <= now) {
            self.ask_now(now);
        }
        self.upstairs.as_ref()?.tell(&self.rotation(&known, now));
        asks_at.filter(|at| *at > now)
    }

    fn ask_now(&mut self, now: OffsetDateTime) {
        let wanted = wanted(&self.keyring, &self.plan, (now, &self.random));
        let Some(upstairs) = &mut self.upstairs else { return };
        match wanted {
            Ok(wanted) => upstairs.ask(wanted, now),
            Err(fault) => tracing::error!(fault = chain(&fault), "the upstream cannot be asked"),
        }
    }

    /// What is heard of the authority above ours next. Where there is none, or its keeper is gone, that is nothing, which is
    /// told only if somebody waits for more.
    pub(super) async fn hear_upstream(upstairs: &mut Option<Upstairs>, nobody_waits: bool) -> Option<Heard> {
        let heard = match upstairs {
            Some(upstairs) => upstairs.hear().await,
            None => None,
        };
        if heard.is_none() && nobody_waits { std::future::pending().await } else { heard }
    }

    /// Takes what was heard, and goes on with the orders that waited for it; what is due by it is the next turn's matter.
    pub(super) async fn hear(&mut self, heard: Option<Heard>, now: OffsetDateTime) {
        let is_answer = !matches!(heard, Some(Heard::Roots(_)));
        let outcome = heard.map_or(Err(UpstreamError::Stopped), |heard| self.listen(heard, now)).map_err(Arc::new);
        if !is_answer {
            return;
        }
        for asked in std::mem::take(&mut self.patient) {
            let outcome = match &outcome {
                Ok(()) => self.carry_out(&asked, now).await,
                Err(fault) => Err(OrderError::Upstream { fault: Arc::clone(fault) }),
            };
            // Whoever asked may have gone meanwhile; what was ordered is done.
            drop(asked.2.send(outcome));
        }
    }

    /// Carries out an order and answers it. One that needs something from above waits for that, and no other waits behind it.
    pub(super) async fn attempt(&mut self, asked: OrderAsked, now: OffsetDateTime) {
        let outcome = self.carry_out(&asked, now).await;
        let lacks_offer = matches!(outcome, Err(OrderError::NotNow(NotNow::Unoffered { .. })));
        if lacks_offer && self.has_asked(now) {
            self.patient.push(asked);
        } else {
            drop(asked.2.send(outcome));
        }
    }

    async fn carry_out(&mut self, (order, adopted, _): &OrderAsked, now: OffsetDateTime) -> Result<Taken, OrderError> {
        match adopted {
            Some(label) => self.adopt(order, label, now).await,
            None => self.obey(order, now).await,
        }
    }

    /// Asks at once, for an operator who waits; whether an answer is to come.
    fn has_asked(&mut self, now: OffsetDateTime) -> bool {
        if self.upstairs.as_ref().is_some_and(|upstairs| !upstairs.is_asked()) {
            self.ask_now(now);
        }
        self.upstairs.as_ref().is_some_and(Upstairs::is_asked)
    }

    /// What an answer comes to; it has been told then.
    fn listen(&mut self, heard: Heard, now: OffsetDateTime) -> Result<(), UpstreamError> {
        let is_answer = matches!(heard, Heard::Answer(_));
        let Some(upstairs) = &mut self.upstairs else { return Ok(()) };
        let fault = upstairs.take(heard, now);
        let outcome = match fault {
            Some(fault) => Err(fault),
            None if is_answer => self.judge_offer(now),
            None => return Ok(()),
        };
        let (alarms_at, life) = self.life_under(now);
        let Some(upstairs) = &mut self.upstairs else { return outcome };
        let Err(fault) = &outcome else {
            upstairs.succeeded();
            return Ok(());
        };
        upstairs.failed(fault, life, (now, &self.random));
        let (why, remedy) = (chain(fault), fault.remedy());
        if alarms_at.is_some_and(|at| now >= at) {
            tracing::error!(why, remedy, "no new intermediate from the upstream, and the one in use ends soon");
        } else {
            tracing::warn!(why, remedy, "no new intermediate from the upstream; the one in use goes on");
        }
        outcome
    }

    /// Whether the offer outlives what it would replace.
    fn judge_offer(&mut self, now: OffsetDateTime) -> Result<(), UpstreamError> {
        let known = self.known(now);
        if self.rotation(&known, now).offer().is_some() {
            return Ok(());
        }
        let dropped = self.upstairs.as_mut().and_then(Upstairs::forget);
        dropped.map_or(Ok(()), |offer| Err(UpstreamError::NoLonger { ends_at: offer.not_after }))
    }

    /// When the lack of an answer becomes an alarm, and how long an intermediate lives.
    fn life_under(&self, now: OffsetDateTime) -> (Option<OffsetDateTime>, Duration) {
        let known = self.known(now);
        let rotation: Rotation<'_> = self.rotation(&known, now);
        let active = self.keyring.active(AuthorityKind::X509Intermediate);
        (rotation.alarms_at(), active.map_or(self.plan.intermediate, |active| rotation.whole_life(active)))
    }
}
