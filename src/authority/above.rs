//! What is due under an authority above ours: pure, as [`rotation`](super::rotation), whose invariants hold here too.
//!
//! There is no root key of ours then. The upstream's roots come and go with its set: a new one is published at once and
//! passes the gate like one of ours, and an intermediate that was certified under it waits until then, while the former one
//! goes on signing. What was certified is an offer until it is in the keyring; a crash before that means another is asked for.

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

    /// An offer that stands in the keyring is none any more.
    pub(super) fn forget_taken(&mut self, keyring: &Keyring) {
        self.offer.take_if(|offer| keyring.find(offer.key.public().id()).is_some());
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
        match kind {
            AuthorityKind::X509Root => self.next_root(keyring).map(|root| {
                let new = keyring.newcomer(kind, KeyOf::Upstream(root.name), (root.not_before, root.not_after), now);
                Authority { certificate: Some(root.certificate.clone()), ..new }
            }),
            AuthorityKind::X509Intermediate => {
                let Certified { key, certificate, above, not_before, not_after, .. } =
                    self.offer.clone().filter(|offer| Some(offer.root) == issuer)?;
                let key = KeyOf::Us(AuthorityKey::Held(key));
                let new = keyring.newcomer(kind, key, (not_before, not_after), now);
                Some(Authority { issuer, certificate: Some(certificate), above, ..new })
            }
            AuthorityKind::Journal | AuthorityKind::Jwt | AuthorityKind::JwtRs256 => None,
        }
    }
}

impl Rotation<'_> {
    /// The steps that are due for roots under an authority above ours, the most urgent first.
    pub(super) fn due_under(&self, above: &Above) -> Vec<Step> {
        let kind = AuthorityKind::X509Root;
        let is_new = above.next_root(self.keyring).is_some();
        let Some(active) = self.keyring.active(kind) else {
            return is_new.then(|| Step::planned(StepKind::Succeed, kind)).into_iter().collect();
        };
        let prepare = is_new.then(|| Step::planned(StepKind::Prepare { under: None }, kind));
        let gone = self.keyring.of_kind(kind).find(|one| self.is_gone(above, one));
        let remove = gone.map(|gone| Step::planned(StepKind::Remove(gone.key_id()), kind));
        prepare.into_iter().chain(self.switch(active)).chain(remove).collect()
    }

    /// Over to another root that the upstream has certified something under, as soon as that is safe.
    fn switch(&self, active: &Authority) -> Option<Step> {
        let next = self.keyring.find(self.ready()?.issuer?)?;
        if !self.plan.automatic || !self.can_follow(active, next) {
            return None;
        }
        let by = By { in_spite_of: self.passes(active, next)?, ..By::default() };
        Some(Step { kind: self.activate(next), authority: AuthorityKind::X509Root, by })
    }

    /// Whether a root of the upstream may come after the one that signs. An operator who went back to a root of ours is not
    /// overruled.
    fn can_follow(&self, active: &Authority, next: &Authority) -> bool {
        let waits = matches!(next.state, AuthorityState::Prepared | AuthorityState::Old) && !next.is_ours();
        let is_kept = active.is_ours() && self.was_rolled_back(active);
        waits && !(is_kept && self.now < self.deadline(active))
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
        let dead = [AuthorityState::Removed, AuthorityState::Tainted];
        let is_dead = self.keyring.find(offer.root).is_some_and(|root| dead.contains(&root.state));
        (offer.not_before <= self.now && self.now < half && outlives && !is_dead).then_some(offer)
    }

    /// Whether a new intermediate can be had under this root: by our own hand, or since one was offered.
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
        let ready = self.ready();
        if above.has(active.key_id()) {
            return Some(self.next_at(ready.unwrap_or(intermediate)));
        }
        // It is asked as soon as one of its roots is published: what comes waits as long as that root does.
        let mut next = above.roots.iter().filter_map(|root| self.keyring.find(root.name));
        let can_follow = next.any(|next| self.can_follow(active, next));
        can_follow.then(|| ready.map_or(self.now, |ready| self.next_at(ready)))
    }

    /// The root of an intermediate that waits until everybody holds it.
    pub(super) fn waits_for(&self) -> Option<KeyId> {
        let active = self.keyring.active(AuthorityKind::X509Root).map(Authority::key_id);
        self.ready()?.issuer.filter(|root| Some(*root) != active)
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
