//! What is due for intermediates: pure, as [`rotation`](super::rotation), whose invariants hold here too.
//!
//! They are in no bundle, and yet somebody must know one before it signs: who checks a whole chain refuses what it has no
//! revocation list for. So the next one is made, and its list published, well before half of the life of the one in use is
//! over, when it takes over. A root that may sign next has one waiting, too.

use super::gate::{Gate, minimum};
use super::rotation::Rotation;
use super::{Authority, AuthorityKind, AuthorityState, By, Step, StepKind};
use crate::crypto::KeyId;
use std::time::Duration;
use time::OffsetDateTime;

const KIND: AuthorityKind = AuthorityKind::X509Intermediate;

impl Rotation<'_> {
    /// The steps that are due, the most urgent first.
    pub(super) fn due_below(&self) -> Vec<Step> {
        let planned = |step| Step::planned(step, KIND);
        if self.keyring.active(KIND).is_none() {
            return self.can_begin().then(|| planned(StepKind::Succeed)).into_iter().collect();
        }
        let offered = self.offer().map(|offer| offer.root).filter(|root| self.keyring.find(*root).is_some());
        let active = self.keyring.active(AuthorityKind::X509Root);
        let next = self.prepared(AuthorityKind::X509Root);
        let lacking = active.into_iter().chain(next).filter(|root| self.lacks_next(root)).map(Authority::key_id);
        let prepare = offered.into_iter().chain(lacking).map(|root| planned(StepKind::Prepare { under: Some(root) }));
        prepare.chain(self.takeover()).chain(self.spent(KIND).map(|spent| planned(StepKind::Remove(spent)))).collect()
    }

    /// Whether one can be made, or was certified above, under the root that signs.
    pub(super) fn can_begin(&self) -> bool {
        let root = self.keyring.active(AuthorityKind::X509Root);
        root.is_some_and(|root| root.is_ours() || self.offer().is_some_and(|offer| offer.root == root.key_id()))
    }

    /// Whether a root of ours needs one more below it, that would live longer than those that are there.
    fn lacks_next(&self, root: &Authority) -> bool {
        let would_end = (self.now + self.plan.intermediate).min(root.not_after);
        let last = self.waiting_below(root.key_id()).chain(self.keyring.active(KIND).filter(|one| is_below(one, root)));
        let last = last.max_by_key(|one| one.not_after);
        // Below one from before the clock was put back nothing is valid yet.
        let can_sign = root.is_ours() && root.not_before <= self.now && self.now < root.not_after;
        can_sign && last.is_none_or(|last| self.next_at(last) <= self.now && last.not_after < would_end)
    }

    /// When an intermediate's successor is made: as long before half of its life as lists take to reach their readers.
    pub(super) fn next_at(&self, one: &Authority) -> OffsetDateTime {
        self.half_life(one) - self.lead(one)
    }

    /// The next one in place of the one that signs: at half of its life, and at three quarters whoever has its list.
    fn takeover(&self) -> Option<Step> {
        let (root, active) = (self.keyring.active(AuthorityKind::X509Root)?, self.keyring.active(KIND)?);
        let next = self.foremost(self.waiting_below(root.key_id()).filter(|one| one.not_after > active.not_after))?;
        let gate = self.gate_of_list(next);
        let is_last_call = self.now >= active.not_after - self.whole_life(active) / 4;
        let goes_on = self.now >= self.half_life(active) && (gate.is_open(self.now) || is_last_call);
        let by = By { in_spite_of: gate.left_aside(self.now), ..By::default() };
        let kind = StepKind::Activate { key: next.key_id(), through: None };
        goes_on.then_some(Step { kind, authority: KIND, by })
    }

    /// The intermediate that a root would sign through: one that waits, or that signed before, with enough of its life left
    /// for a successor to come in time.
    pub(super) fn through(&self, root: KeyId) -> Option<&Authority> {
        let former = self.keyring.below(root).filter(|one| one.state == AuthorityState::Old);
        self.foremost(former.chain(self.waiting_below(root)).filter(|one| self.lasts(one)))
    }

    /// Those below a root that have not signed yet.
    fn waiting_below(&self, root: KeyId) -> impl Iterator<Item = &Authority> {
        let waits = |one: &&Authority| one.state == AuthorityState::Prepared;
        // One from before the clock was put back cannot sign yet.
        self.keyring.below(root).filter(waits).filter(|one| one.not_before <= self.now && self.now < one.not_after)
    }

    /// One whose list everybody has, if there is one; of these the one that lives longest.
    fn foremost<'b>(&self, some: impl Iterator<Item = &'b Authority>) -> Option<&'b Authority> {
        some.max_by_key(|one| (self.gate_of_list(one).is_open(self.now), one.not_after))
    }

    /// The newest that waits and was certified above us.
    pub(super) fn ready(&self) -> Option<&Authority> {
        let can_sign = |root: &&Authority| {
            !root.is_ours() && !matches!(root.state, AuthorityState::Removed | AuthorityState::Tainted)
        };
        let roots = self.keyring.of_kind(AuthorityKind::X509Root).filter(can_sign);
        let waiting = roots.flat_map(|root| self.waiting_below(root.key_id())).filter(|one| self.lasts(one));
        waiting.max_by_key(|one| one.not_after)
    }

    fn lasts(&self, one: &Authority) -> bool {
        let last_at = one.not_after - self.whole_life(one) / 4 - self.lead(one);
        one.not_before <= self.now && self.now < last_at
    }

    /// One that has waited too long, where another waits or signs in its place.
    pub(super) fn waited_in_vain(&self, one: &Authority) -> bool {
        let Some(root) = one.issuer.and_then(|root| self.keyring.find(root)) else { return false };
        let can_sign = matches!(root.state, AuthorityState::Active | AuthorityState::Prepared);
        let is_later = |other: &Authority| {
            matches!(other.state, AuthorityState::Active | AuthorityState::Prepared) && other.not_after > one.not_after
        };
        can_sign && !self.lasts(one) && self.keyring.below(root.key_id()).any(is_later)
    }

    /// How long readers of revocation lists need: as long as those of bundles, but no more than a quarter of its life.
    fn lead(&self, one: &Authority) -> Duration {
        minimum(KIND, self.plan, self.known).min(self.whole_life(one) / 4)
    }

    /// The gate of one that has not signed yet: that its list is out, for long enough.
    pub(super) fn gate_of_list(&self, one: &Authority) -> Gate {
        let out_since = match &self.known.listed {
            None => Some(one.since),
            Some(listed) => listed.get(&one.key_id()).copied(),
        };
        let passed = out_since.map_or(Duration::ZERO, |since| self.known.passed(since, self.now));
        let waits = one.state == AuthorityState::Prepared;
        let left = if waits { self.lead(one).saturating_sub(passed) } else { Duration::ZERO };
        Gate { opens_at: self.now + left, missing: Vec::new() }
    }

    /// The same for a root: that of the intermediate that it would sign through; it does not open where there is none.
    pub(super) fn gate_below(&self, root: &Authority) -> Gate {
        let none = || Gate { opens_at: self.now + minimum(KIND, self.plan, self.known), missing: Vec::new() };
        self.through(root.key_id()).map_or_else(none, |one| self.gate_of_list(one))
    }
}

fn is_below(one: &Authority, root: &Authority) -> bool {
    one.issuer == Some(root.key_id())
}
