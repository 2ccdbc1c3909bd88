//! What is due for our keys: a pure function of keyring, plan and time to at most one step.
//!
//! Invariants, over any history (house rules of key change):
//! 1. exactly one active key of a kind once the first exists;
//! 2. no published key signs before its holders had the time to learn of it; the first ones have no holders yet,
//!    and intermediates and journal keys are not published;
//! 3. no SVID outlives the key that signed it (`draft` sees to it);
//! 4. no key leaves the keyring while something it signed is valid;
//! 5. after a crash the next step completes or repeats the last one.
//!
//! Roots and JWT keys are made once here; changing them waits for the proofs that operators' commands gather.

use super::{Authority, AuthorityKind, AuthorityState, Keyring};
use crate::audit::{Auditable, Entry};
use crate::crypto::KeyId;
use std::time::Duration;
use time::OffsetDateTime;

/// How long keys of each kind live, and what their certificates say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyPlan {
    /// A root's certificate, and a JWT key's and a journal key's use.
    pub root: Duration,
    /// An intermediate's certificate; the next one takes over at half of it.
    pub intermediate: Duration,
    /// Whether intermediates may sign only for IDs of their trust domain. The one in use stays until its successor.
    pub name_constraints: bool,
}

/// One change of the keyring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// What is done.
    pub kind: StepKind,
    /// To which kind of key.
    pub authority: AuthorityKind,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StepKind {
    /// A new key is made and signs from now on; the former active one becomes old.
    Succeed,
    /// An old key, which nothing valid hangs on, is dropped.
    Remove(KeyId),
}

/// The order in which first keys are made: an intermediate needs its root.
const KINDS: [AuthorityKind; 4] =
    [AuthorityKind::X509Root, AuthorityKind::X509Intermediate, AuthorityKind::Jwt, AuthorityKind::Journal];

/// The step that is due, if any.
pub(super) fn due(keyring: &Keyring, plan: &KeyPlan, now: OffsetDateTime) -> Option<Step> {
    KINDS.into_iter().find_map(|authority| {
        let kind = due_for(keyring, plan, authority, now)?;
        Some(Step { kind, authority })
    })
}

fn due_for(keyring: &Keyring, plan: &KeyPlan, kind: AuthorityKind, now: OffsetDateTime) -> Option<StepKind> {
    let Some(active) = keyring.active(kind) else { return Some(StepKind::Succeed) };
    match kind {
        AuthorityKind::X509Root | AuthorityKind::Jwt | AuthorityKind::Journal => None,
        AuthorityKind::X509Intermediate
            if now >= succession_at(active.not_after, plan) && outlives(keyring, plan, active, now) =>
        {
            Some(StepKind::Succeed)
        }
        AuthorityKind::X509Intermediate => {
            let spent = |state, ends| state == AuthorityState::Old && ends < now;
            keyring
                .of_kind(kind)
                .find(|authority| spent(authority.state, authority.not_after))
                .map(|authority| StepKind::Remove(authority.key_id()))
        }
    }
}

/// Whether a successor made now would live longer: under a root that ends soon it would not.
fn outlives(keyring: &Keyring, plan: &KeyPlan, active: &Authority, now: OffsetDateTime) -> bool {
    let root = keyring.active(AuthorityKind::X509Root);
    root.is_some_and(|root| (now + plan.intermediate).min(root.not_after) > active.not_after)
}

/// An intermediate hands over when half its life is left, so that the longest SVID still fits.
fn succession_at(not_after: OffsetDateTime, plan: &KeyPlan) -> OffsetDateTime {
    not_after - plan.intermediate / 2
}

/// A step with the key it concerns: what the journal says before it is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) step: Step,
    pub(super) key_id: KeyId,
    pub(super) generation: u64,
    pub(super) sequence: u64,
}

impl Auditable for Planned {
    fn entry(&self) -> Entry<'_> {
        Entry::Authority {
            step: match self.step.kind {
                StepKind::Succeed => "succeed",
                StepKind::Remove(_) => "remove",
            },
            authority: self.step.authority.as_str(),
            key_id: self.key_id,
            generation: self.generation,
            sequence: self.sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyAlgorithm, KeyPair};
    use proptest::prelude::*;
    use std::sync::Arc;

    const PLAN: KeyPlan = KeyPlan {
        root: Duration::from_secs(3650 * 86_400),
        intermediate: Duration::from_secs(86_400),
        name_constraints: false,
    };

    fn key(kind: AuthorityKind, generation: u64, now: OffsetDateTime) -> Authority {
        let life = match kind {
            AuthorityKind::X509Intermediate => PLAN.intermediate,
            AuthorityKind::X509Root | AuthorityKind::Jwt | AuthorityKind::Journal => PLAN.root,
        };
        Authority {
            kind,
            generation,
            state: AuthorityState::Active,
            key: Arc::new(KeyPair::generate(KeyAlgorithm::EcP256).unwrap()),
            certificate: None,
            not_before: now,
            not_after: now + life,
        }
    }

    fn apply(keyring: &Keyring, step: Step, now: OffsetDateTime) -> Keyring {
        match step.kind {
            StepKind::Succeed => {
                keyring.succeeded_by(key(step.authority, keyring.next_generation(step.authority), now))
            }
            StepKind::Remove(key_id) => keyring.without(step.authority, key_id),
        }
    }

    fn settle(mut keyring: Keyring, now: OffsetDateTime) -> Keyring {
        while let Some(step) = due(&keyring, &PLAN, now) {
            keyring = apply(&keyring, step, now);
        }
        keyring
    }

    /// Shows: X509-21.
    #[test]
    fn near_the_end_of_a_root_no_successor_is_made_that_would_not_live_longer() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut keyring = settle(Keyring::empty("ci.example.org".to_owned().try_into().unwrap()), now);
        let root_ends = now + Duration::from_secs(25 * 3600);
        for authority in &mut keyring.authorities {
            if authority.kind == AuthorityKind::X509Root {
                authority.not_after = root_ends;
            }
        }
        let later = now + Duration::from_secs(13 * 3600);
        assert!(matches!(due(&keyring, &PLAN, later), Some(Step { kind: StepKind::Succeed, .. })));
        let mut next = key(AuthorityKind::X509Intermediate, 2, later);
        next.not_after = root_ends;
        let keyring = keyring.succeeded_by(next);
        assert_eq!(due(&keyring, &PLAN, later), None);
    }

    proptest! {
        /// Over any history of visits, late ones and clock jumps backwards among them.
        /// Shows: FED-3, TDB-27.
        #[test]
        fn the_invariants_hold_over_random_histories(visits in proptest::collection::vec(-7200_i64..200_000, 1..40)) {
            let mut now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let mut keyring = settle(Keyring::empty("ci.example.org".to_owned().try_into().unwrap()), now);
            for seconds in visits {
                now += time::Duration::seconds(seconds);
                let before = keyring.clone();
                keyring = settle(keyring, now);
                for kind in KINDS {
                    let active = keyring.of_kind(kind).filter(|a| a.state == AuthorityState::Active).count();
                    prop_assert_eq!(active, 1, "one active {}", kind.as_str());
                }
                for gone in before.authorities.iter().filter(|a| keyring.authorities.iter().all(|b| b.key_id() != a.key_id())) {
                    prop_assert!(gone.not_after < now, "a key left while what it signed could be valid");
                }
                let left = keyring.active(AuthorityKind::X509Intermediate).unwrap().not_after - now;
                prop_assert!(left > PLAN.intermediate / 2);
                prop_assert!(keyring.sequence >= before.sequence);
                prop_assert_eq!(keyring.published_sequence, before.published_sequence, "the bundle did not change");
            }
        }
    }
}
