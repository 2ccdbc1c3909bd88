//! What is due for our keys: a pure function of keyring, plan, holders and time to at most one step. Operators' orders
//! ([`order`](super::order)) come to steps under the same invariants.
//!
//! Invariants, over any history:
//! 1. exactly one active key of a kind once the first exists, and the active intermediate is under the active root;
//! 2. no published key signs before it is proven to be with every reporting and declared holder and the minimum time has
//!    passed, unless an operator forces it, or the plan's deadline is over; both say who was left aside. No intermediate
//!    signs before its revocation list is out for as long, with the same exceptions. The first keys have no holders yet,
//!    and journal keys are not published;
//! 3. no SVID outlives the key that signed it (`draft` sees to it);
//! 4. no key leaves the bundle while something it signed is valid, unless an operator revokes it by force;
//! 5. after a crash at any point the next step completes or repeats the last one; it never forks.
//!
//! A relying party trusts roots, so whoever holds an intermediate's key passes as the root: tainting one means its root.
//! Nothing published is erased but by an operator's word.

use super::above::Above;
use super::gate::{Gate, Known};
use super::{Authority, AuthorityKind, AuthorityState, By, Keyring, Step, StepKind};
use crate::crypto::KeyId;
use std::time::Duration;
use time::OffsetDateTime;

/// How long keys of each kind live, what their certificates say, and how they change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyPlan {
    /// A root's certificate, and a journal key's use.
    pub root: Duration,
    /// An intermediate's certificate; the next one is made before half of it is over, and takes over then.
    pub intermediate: Duration,
    /// A JWT key's use.
    pub jwt: Duration,
    /// Whether intermediates may sign only for IDs of their trust domain. The one in use stays until its successor.
    pub name_constraints: bool,
    /// How often relying parties are asked to look again.
    pub refresh_hint: Duration,
    /// How long the slowest relying party takes to read a bundle again: a mesh reloads in half an hour, and no reader of a
    /// JWK Set that we know keeps it longer than twenty minutes.
    pub propagation: Duration,
    /// How long the slowest reader of JWT keys goes on with those that it has.
    pub jwks_cache: Duration,
    /// Whether anybody wants JWT-SVIDs signed by RS256. A key that is there stays, and changes as others do.
    pub rs256: bool,
    /// Whether roots and JWT keys change by themselves when half of their life is over; else only by order.
    pub automatic: bool,
}

impl KeyPlan {
    /// What stands where nothing is configured.
    pub const DEFAULT: Self = Self {
        root: Duration::from_secs(3650 * 86_400),
        intermediate: Duration::from_secs(86_400),
        jwt: Duration::from_secs(90 * 86_400),
        name_constraints: false,
        // What clients take too when nothing is said (FED-4).
        refresh_hint: Duration::from_secs(300),
        propagation: Duration::from_secs(30 * 60),
        jwks_cache: Duration::ZERO,
        rs256: false,
        automatic: true,
    };

    /// How long a key of a kind is used.
    pub const fn life(&self, kind: AuthorityKind) -> Duration {
        match kind {
            AuthorityKind::X509Intermediate => self.intermediate,
            AuthorityKind::Jwt | AuthorityKind::JwtRs256 => self.jwt,
            AuthorityKind::Journal | AuthorityKind::X509Root => self.root,
        }
    }
}

/// A JWT-SVID lives minutes at most, whatever the rule's ttl (JWT-19).
pub(super) const JWT_TTL_MAX: Duration = Duration::from_secs(300);

/// A request that is under way may still be signed by the former key, and clocks differ.
const SLACK: Duration = Duration::from_secs(60);

/// The order in which first keys are made: an intermediate needs its root.
const KINDS: [AuthorityKind; 5] = [
    AuthorityKind::X509Root,
    AuthorityKind::X509Intermediate,
    AuthorityKind::Jwt,
    AuthorityKind::JwtRs256,
    AuthorityKind::Journal,
];

/// What is decided from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation<'a> {
    pub(super) keyring: &'a Keyring,
    pub(super) plan: &'a KeyPlan,
    pub(super) known: &'a Known,
    /// None where our own roots sign.
    pub(super) above: Option<&'a Above>,
    pub(super) now: OffsetDateTime,
}

impl Rotation<'_> {
    /// The step that is due, if any.
    pub(super) fn due(&self) -> Option<Step> {
        self.due_beside(&[])
    }

    /// The same, leaving out steps that do not work now: whatever waits behind them need not.
    pub(super) fn due_beside(&self, stuck: &[Step]) -> Option<Step> {
        KINDS.into_iter().flat_map(|kind| self.due_for(kind)).find(|step| !stuck.contains(step))
    }

    /// All steps of a kind, the most urgent first.
    fn due_for(&self, kind: AuthorityKind) -> Vec<Step> {
        match (kind, self.above, self.keyring.active(kind)) {
            (AuthorityKind::X509Intermediate, ..) => self.due_below(),
            (AuthorityKind::X509Root, Some(above), _) => self.due_under(above),
            (_, _, None) => self.due_first(kind).into_iter().collect(),
            (AuthorityKind::Journal, _, Some(_)) => Vec::new(),
            (AuthorityKind::Jwt | AuthorityKind::JwtRs256 | AuthorityKind::X509Root, _, Some(active)) => {
                let spent = self.spent(kind).map(|spent| Step::planned(StepKind::Remove(spent), kind));
                self.due_by_plan(kind, active).into_iter().chain(spent).collect()
            }
        }
    }

    /// The first key of a kind signs at once while nobody holds a bundle of ours: the journal's key, and with it the
    /// history, comes last. A kind that is wanted later begins as a successor does.
    fn due_first(&self, kind: AuthorityKind) -> Option<Step> {
        let begins = self.keyring.active(AuthorityKind::Journal).is_none();
        if kind != AuthorityKind::JwtRs256 || begins && self.plan.rs256 {
            return Some(Step::planned(StepKind::Succeed, kind));
        }
        match self.prepared(kind).last() {
            None => self.plan.rs256.then(|| Step::planned(StepKind::Prepare { under: None }, kind)),
            Some(next) => {
                let opens = self.gate(next).is_open(self.now);
                opens.then(|| Step::planned(self.activate(next), kind))
            }
        }
    }

    /// At half of its life a successor is prepared, and signs as soon as that is safe; in place of an upstream's that is no
    /// more, at once.
    fn due_by_plan(&self, kind: AuthorityKind, active: &Authority) -> Option<Step> {
        if !self.plan.automatic || active.is_ours() && !self.is_past_half(active) {
            return None;
        }
        let Some(next) = self.prepared(kind).last() else {
            let waits = self.was_rolled_back(active) && self.now < self.deadline(active);
            return (!waits).then(|| Step::planned(StepKind::Prepare { under: None }, kind));
        };
        let by = By { in_spite_of: self.passes(active, next)?, ..By::default() };
        Some(Step { kind: self.activate(next), authority: kind, by })
    }

    /// That a key signs from now on.
    pub(super) fn activate(&self, next: &Authority) -> StepKind {
        StepKind::Activate { key: next.key_id(), through: self.through(next.key_id()).map(Authority::key_id) }
    }

    /// The gate before a prepared key: whoever must know it, and whoever must know what signs below it.
    pub(super) fn gate(&self, prepared: &Authority) -> Gate {
        match prepared.kind {
            AuthorityKind::Journal | AuthorityKind::Jwt | AuthorityKind::JwtRs256 => self.gate_of_bundle(prepared),
            AuthorityKind::X509Intermediate => self.gate_of_list(prepared),
            AuthorityKind::X509Root => self.gate_of_bundle(prepared).and(self.gate_below(prepared)),
        }
    }

    fn gate_of_bundle(&self, prepared: &Authority) -> Gate {
        Gate::of(prepared, self.plan, self.known, self.now)
    }

    /// Whether the gate lets a successor of the active key through by plan, and in spite of whom. The minimum time has
    /// passed in any case, since without it somebody is cut off for sure.
    pub(super) fn passes(&self, active: &Authority, next: &Authority) -> Option<Vec<String>> {
        let (gate, deadline) = (self.gate(next), self.deadline(active));
        if gate.is_open(self.now) {
            return Some(Vec::new());
        }
        let may_go_on = self.now >= deadline && self.now >= self.gate_of_bundle(next).opens_at;
        may_go_on.then(|| gate.left_aside(self.now))
    }

    /// When the plan goes on without those who have no proof: a quarter of the active key's life is kept for what follows.
    /// Under an upstream's root that is as long as the intermediate lasts: nobody else can sign another below that root.
    pub(super) fn deadline(&self, active: &Authority) -> OffsetDateTime {
        let intermediate = self.keyring.active(AuthorityKind::X509Intermediate);
        match intermediate.filter(|_| !active.is_ours()) {
            Some(intermediate) => intermediate.not_after - (self.known.longest_ttl + SLACK),
            None => active.not_after - self.plan.life(active.kind) / 4,
        }
    }

    /// When the plan prepares a successor; when an intermediate's takes over.
    pub(super) fn half_life(&self, active: &Authority) -> OffsetDateTime {
        active.not_after - self.whole_life(active) / 2
    }

    /// Until when something that a key signed may be valid; none if it never signed.
    pub(super) fn valid_until(&self, authority: &Authority) -> Option<OffsetDateTime> {
        let retired = authority.kind.is_published().then(|| self.now + self.hangs_on_for(authority));
        match authority.state {
            AuthorityState::Prepared => None,
            AuthorityState::Active => Some(authority.not_after),
            AuthorityState::Old | AuthorityState::Removed | AuthorityState::Tainted => {
                Some(retired.unwrap_or(authority.not_after))
            }
        }
    }

    /// How long something that a retired root or JWT key signed may still be valid. By the span that this process has seen
    /// pass, since dates written by a clock that was wrong say nothing.
    pub(super) fn hangs_on_for(&self, retired: &Authority) -> Duration {
        self.span_of(retired).saturating_sub(self.known.passed(retired.since, self.now))
    }

    /// For how long after a key's last signature something that it signed may be valid.
    pub(super) fn span_of(&self, one: &Authority) -> Duration {
        let life = |one: &Authority| Duration::try_from(one.not_after - one.not_before).unwrap_or(Duration::ZERO);
        let span = match one.kind {
            AuthorityKind::Jwt | AuthorityKind::JwtRs256 => JWT_TTL_MAX,
            AuthorityKind::Journal | AuthorityKind::X509Intermediate | AuthorityKind::X509Root => {
                let below = self.keyring.below(one.key_id()).map(life);
                below.fold(self.plan.intermediate, Duration::max)
            }
        };
        span + SLACK
    }

    /// The prepared keys of a kind that can still be used, oldest first.
    pub(super) fn prepared(&self, kind: AuthorityKind) -> impl Iterator<Item = &Authority> {
        let prepared = |authority: &&Authority| authority.state == AuthorityState::Prepared;
        // Another's root that nobody asks any more will never sign.
        let can_sign = |one: &&Authority| one.is_ours() || self.above.is_some_and(|above| above.has(one.key_id()));
        let alive = self.keyring.of_kind(kind).filter(prepared).filter(|authority| authority.not_after > self.now);
        alive.filter(can_sign)
    }

    /// Whether an operator went back to this key: then the plan does not try again before its deadline.
    pub(super) fn was_rolled_back(&self, active: &Authority) -> bool {
        let later = |one: &Authority| one.generation > active.generation && one.state != AuthorityState::Prepared;
        self.keyring.of_kind(active.kind).any(later)
    }

    fn is_past_half(&self, active: &Authority) -> bool {
        self.now >= self.half_life(active)
    }

    /// A key that nothing valid hangs on.
    pub(super) fn spent(&self, kind: AuthorityKind) -> Option<KeyId> {
        let is_spent = |one: &&Authority| match one.state {
            AuthorityState::Old | AuthorityState::Tainted => self.is_spent(one),
            AuthorityState::Prepared => !one.is_ours() || self.waited_in_vain(one),
            AuthorityState::Active | AuthorityState::Removed => false,
        };
        self.keyring.of_kind(kind).find(is_spent).map(Authority::key_id)
    }

    /// Roots and JWT keys leave by themselves only where they come by themselves, and not before this process has seen the
    /// whole span pass: until then one can go back to them.
    pub(super) fn is_spent(&self, retired: &Authority) -> bool {
        match retired.kind {
            AuthorityKind::X509Root | AuthorityKind::Jwt | AuthorityKind::JwtRs256 => {
                self.plan.automatic && self.hangs_on_for(retired).is_zero()
            }
            // Those of a former root stay as long as it does: it is spent when they are.
            AuthorityKind::X509Intermediate | AuthorityKind::Journal => {
                let root = self.keyring.active(AuthorityKind::X509Root).map(Authority::key_id);
                // As above: its own date alone says little where the clock was wrong.
                let has_passed = self.known.passed(retired.since, self.now) > self.known.longest_ttl + SLACK;
                retired.not_after < self.now && has_passed && retired.issuer == root
            }
        }
    }
}
