//! What is due under an authority above ours: pure, as [`rotation`](super::rotation), whose invariants hold here too.
//!
//! There is no root key of ours then. The upstream's roots come and go with its set: a new one is published at once and
//! passes the gate like one of ours, and an intermediate that was certified under it waits until then, while the former one
//! goes on signing. What was certified is an offer: it stands in memory only, and after a crash another is asked for.

use super::gate::Gate;
use super::order::NotNow;
use super::rotation::Rotation;
use super::{Authority, AuthorityKind, AuthorityState, By, KeyOf, Keyring, Step, StepKind};
use crate::crypto::KeyId;
use crate::custody::AuthorityKey;
use crate::upstream::{Certified, UpstreamRoot};
use std::time::Duration;
use time::OffsetDateTime;

/// What is known of the authority above ours.
#[derive(Clone, Debug, Default)]
pub struct Above {
    /// Its roots.
    pub roots: Vec<UpstreamRoot>,
    /// What it certified, until it signs.
    pub offer: Option<Certified>,
}

impl Above {
    /// Whether a root is among its roots.
    pub(super) fn has(&self, name: KeyId) -> bool {
        self.roots.iter().any(|root| root.name == name)
    }

    /// The root that is to be published next: at first that of the offer, then all others.
    fn next_root(&self, keyring: &Keyring) -> Option<&UpstreamRoot> {
        let is_first = keyring.active(AuthorityKind::X509Root).is_none();
        let offered = self.offer.as_ref().map(|offer| offer.root);
        let wanted = |root: &&UpstreamRoot| {
            if is_first { Some(root.name) == offered } else { keyring.find(root.name).is_none() }
        };
        self.roots.iter().find(wanted)
    }

    /// What a step takes from above, instead of a key that we make; none if it needs nothing of there.
    pub(super) fn gives(&self, keyring: &Keyring, step: &Step, now: OffsetDateTime) -> Option<Authority> {
        let (kind, issuer) = step.makes(keyring)?;
        let (generation, state, published) = (keyring.next_generation(kind), AuthorityState::Prepared, None);
        match kind {
            AuthorityKind::X509Root => self.next_root(keyring).map(|root| Authority {
                kind,
                generation,
                state,
                since: now,
                published,
                issuer: None,
                key: KeyOf::Upstream(root.name),
                certificate: Some(root.certificate.clone()),
                above: Vec::new(),
                not_before: root.not_before,
                not_after: root.not_after,
            }),
            AuthorityKind::X509Intermediate => {
                let offer = self.offer.clone().filter(|offer| Some(offer.root) == issuer)?;
                Some(Authority {
                    kind,
                    generation,
                    state,
                    since: now,
                    published,
                    issuer,
                    key: KeyOf::Us(AuthorityKey::Held(offer.key)),
                    certificate: Some(offer.certificate),
                    above: offer.above,
                    not_before: offer.not_before,
                    not_after: offer.not_after,
                })
            }
            AuthorityKind::Journal | AuthorityKind::Jwt | AuthorityKind::JwtRs256 => None,
        }
    }
}

impl Rotation<'_> {
    /// The step that is due for roots or intermediates under an authority above ours.
    pub(super) fn due_under(&self, above: &Above, kind: AuthorityKind) -> Option<Step> {
        let planned = |step| Some(Step::planned(step, kind));
        match (kind, self.keyring.active(kind)) {
            (AuthorityKind::X509Root, None) => above.next_root(self.keyring).and_then(|_| planned(StepKind::Succeed)),
            (AuthorityKind::X509Root, Some(_)) if above.next_root(self.keyring).is_some() => planned(StepKind::Prepare),
            (AuthorityKind::X509Root, Some(active)) => self.switch(active).or_else(|| {
                let gone = self.keyring.of_kind(kind).find(|one| self.is_gone(above, one))?;
                planned(StepKind::Remove(gone.key_id()))
            }),
            _ => self.renewal().or_else(|| planned(StepKind::Remove(self.spent(kind)?))),
        }
    }

    /// What the upstream certified under the root that signs, in place of the intermediate in use.
    pub(super) fn renewal(&self) -> Option<Step> {
        let (root, offer) = (self.keyring.active(AuthorityKind::X509Root)?, self.offer()?);
        (offer.root == root.key_id()).then(|| Step::planned(StepKind::Succeed, AuthorityKind::X509Intermediate))
    }

    /// What the upstream certified under another root, as soon as that is safe.
    fn switch(&self, active: &Authority) -> Option<Step> {
        let next = self.keyring.find(self.offer()?.root)?;
        let in_spite_of = self.may_follow(active, next)?;
        let by = By { in_spite_of, ..By::default() };
        Some(Step { kind: StepKind::Activate(next.key_id()), authority: AuthorityKind::X509Root, by })
    }

    /// Whether the plan goes over to a root by now, and in spite of whom. An operator who went back to a root of ours is
    /// not overruled.
    fn may_follow(&self, active: &Authority, next: &Authority) -> Option<Vec<String>> {
        let waits = matches!(next.state, AuthorityState::Prepared | AuthorityState::Old);
        let is_kept = active.is_ours() && self.was_rolled_back(active);
        if !self.plan.automatic || !waits || is_kept && self.now < self.deadline(active) {
            return None;
        }
        self.passes(active, &self.gate(next))
    }

    /// Whether a gate lets a successor of the active key through by plan, and in spite of whom.
    pub(super) fn passes(&self, active: &Authority, gate: &Gate) -> Option<Vec<String>> {
        if gate.is_open(self.now) {
            return Some(Vec::new());
        }
        (self.now >= gate.opens_at && self.now >= self.deadline(active)).then(|| gate.left_aside(self.now))
    }

    /// A root that its authority has no more, and that nothing valid hangs on.
    fn is_gone(&self, above: &Above, root: &Authority) -> bool {
        match root.state {
            AuthorityState::Active | AuthorityState::Removed => false,
            AuthorityState::Prepared => !root.is_ours() && !above.has(root.key_id()),
            AuthorityState::Old | AuthorityState::Tainted => !above.has(root.key_id()) && self.is_spent(root),
        }
    }

    /// The offer, if it is still of use: half of its life is left, and it outlives what it would replace.
    pub(super) fn offer(&self) -> Option<&Certified> {
        let offer = self.above?.offer.as_ref()?;
        let half = offer.not_before + (offer.not_after - offer.not_before) / 2;
        let replaced = self.keyring.active(AuthorityKind::X509Intermediate);
        let outlives = replaced.is_none_or(|one| one.issuer != Some(offer.root) || one.not_after < offer.not_after);
        (self.now < half && outlives).then_some(offer)
    }

    /// A new intermediate at an operator's word.
    pub(super) fn renewable(&self) -> Result<StepKind, NotNow> {
        let root = self.keyring.active(AuthorityKind::X509Root).filter(|root| !root.is_ours());
        match root {
            Some(root) if self.renewal().is_none() => Err(NotNow::Unoffered { key_id: root.key_id() }),
            _ => Ok(StepKind::Succeed),
        }
    }

    /// Whether an intermediate is at hand that signs under this root, or we can make one.
    pub(super) fn offered(&self, root: &Authority) -> Result<(), NotNow> {
        let key_id = root.key_id();
        let is_offered = root.is_ours() || self.offer().is_some_and(|offer| offer.root == key_id);
        is_offered.then_some(()).ok_or(NotNow::Unoffered { key_id })
    }

    /// When the upstream is to be asked for an intermediate; never while none could be used.
    pub(super) fn asks_at(&self) -> Option<OffsetDateTime> {
        let above = self.above?;
        if self.offer().is_some() {
            return None;
        }
        let active = self.keyring.active(AuthorityKind::X509Root);
        let (Some(active), Some(intermediate)) = (active, self.keyring.active(AuthorityKind::X509Intermediate)) else {
            return Some(self.now);
        };
        if above.has(active.key_id()) {
            return Some(self.half_life(intermediate));
        }
        let mut next = above.roots.iter().filter_map(|root| self.keyring.find(root.name));
        next.any(|next| self.may_follow(active, next).is_some()).then_some(self.now)
    }

    /// When it is high time: half of what was left when the upstream was first asked.
    pub(super) fn alarms_at(&self) -> Option<OffsetDateTime> {
        let intermediate = self.keyring.active(AuthorityKind::X509Intermediate)?;
        self.is_certified_above(intermediate).then(|| {
            let half = self.half_life(intermediate);
            half + (intermediate.not_after - half) / 2
        })
    }

    /// Whether somebody above us signed an intermediate.
    pub(super) fn is_certified_above(&self, intermediate: &Authority) -> bool {
        let root = intermediate.issuer.and_then(|root| self.keyring.find(root));
        root.is_some_and(|root| !root.is_ours())
    }

    /// How long an authority's certificate lasts in all.
    pub(super) fn whole_life(&self, authority: &Authority) -> Duration {
        if self.is_certified_above(authority) {
            return Duration::try_from(authority.not_after - authority.not_before).unwrap_or(Duration::ZERO);
        }
        self.plan.life(authority.kind)
    }
}
