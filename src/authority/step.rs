//! One change of the keyring: what it is, by whose word, and what the keyring is after it.

use super::{Authority, AuthorityKind, AuthorityState, Keyring, Publication};
use crate::audit::{Auditable, Entry, KeyStep};
use crate::crypto::KeyId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// One change of the keyring.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What is done.
    pub kind: StepKind,
    /// To which kind of key.
    pub authority: AuthorityKind,
    /// By whose word.
    pub by: By,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StepKind {
    /// A prepared key signs from now on; the former active one becomes old.
    Activate {
        /// Which.
        key: KeyId,
        /// The intermediate that a root signs through from now on; one is made where none is at hand.
        through: Option<KeyId>,
    },
    /// A new key is made and published; it does not sign yet.
    Prepare {
        /// The root of an intermediate.
        under: Option<KeyId>,
    },
    /// A key that nothing valid hangs on leaves the bundle; an intermediate's is erased with it.
    Remove(KeyId),
    /// A key leaves the bundle at once, and is erased; a root's intermediates go with it.
    Revoke(KeyId),
    /// The former active key signs again.
    Rollback {
        /// Which.
        key: KeyId,
        /// As of an activated root.
        through: Option<KeyId>,
    },
    /// A new key is made and signs at once; the former active one, if there is one, becomes old.
    Succeed,
    /// A key that no longer signs is trusted no more; a root's intermediates neither.
    Taint(KeyId),
}

impl StepKind {
    /// Its name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activate { .. } => "activate",
            Self::Prepare { .. } => "prepare",
            Self::Remove(_) => "remove",
            Self::Revoke(_) => "revoke",
            Self::Rollback { .. } => "rollback",
            Self::Succeed => "succeed",
            Self::Taint(_) => "taint",
        }
    }
}

/// By whose word a step is taken; the default is the plan.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct By {
    /// The operator's user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// What it was done in spite of: who has no proof of the key yet, and what would have had to pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_spite_of: Vec<String>,
}

impl By {
    /// The first of those it was done in spite of, and how many more: thousands of agents may lack a key. The journal has all.
    pub fn in_spite_in_short(&self) -> String {
        const NAMED: usize = 5;
        let named: Vec<&str> = self.in_spite_of.iter().take(NAMED).map(String::as_str).collect();
        match self.in_spite_of.len().saturating_sub(NAMED) {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }
}

impl Step {
    /// By the plan.
    pub(super) fn planned(kind: StepKind, authority: AuthorityKind) -> Self {
        Self { kind, authority, by: By::default() }
    }

    /// Which key must be made for it, and under which root if it is an intermediate.
    pub(super) fn makes(&self, keyring: &Keyring) -> Option<(AuthorityKind, Option<KeyId>)> {
        let active = || keyring.active(AuthorityKind::X509Root).map(Authority::key_id);
        let is_root = self.authority == AuthorityKind::X509Root;
        match self.kind {
            StepKind::Succeed if self.authority == AuthorityKind::X509Intermediate => Some((self.authority, active())),
            StepKind::Succeed => Some((self.authority, None)),
            StepKind::Prepare { under } => Some((self.authority, under)),
            StepKind::Activate { key, through: None } | StepKind::Rollback { key, through: None } if is_root => {
                Some((AuthorityKind::X509Intermediate, Some(key)))
            }
            StepKind::Activate { .. }
            | StepKind::Remove(_)
            | StepKind::Revoke(_)
            | StepKind::Rollback { .. }
            | StepKind::Taint(_) => None,
        }
    }
}

/// A step that was taken, as the keyring keeps it and the journal tells it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Taken {
    /// What was done.
    pub step: String,
    /// To which kind of key.
    pub authority: AuthorityKind,
    /// The key.
    pub key_id: KeyId,
    /// Counts the keys of a kind.
    pub generation: u64,
    /// The keyring's sequence after it.
    pub sequence: u64,
    /// The intermediate that a root signs through from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate: Option<KeyId>,
    /// By whose word.
    #[serde(flatten)]
    pub by: By,
}

impl Auditable for Taken {
    fn entry(&self) -> Entry<'_> {
        Entry::Authority(KeyStep {
            step: &self.step,
            authority: self.authority.as_str(),
            key_id: self.key_id,
            generation: self.generation,
            sequence: self.sequence,
            intermediate: self.intermediate,
            uid: self.by.uid,
            say: self.by.say.as_deref(),
            in_spite_of: &self.by.in_spite_of,
        })
    }
}

impl Keyring {
    /// The keyring after a step, for which a key was made if it [makes](Step::makes) one.
    #[must_use]
    pub(super) fn after(&self, step: &Step, made: Option<Authority>, now: OffsetDateTime) -> Self {
        let mut next = Self { sequence: self.sequence + 1, ..self.clone() };
        let new = made.as_ref().map(Authority::key_id);
        let (concerned, intermediate) = next.change(step, new, now);
        let published = made.as_ref().is_some_and(|made| made.kind.is_published());
        next.authorities.extend(made.map(|made| Authority {
            state: if matches!(step.kind, StepKind::Prepare { .. }) { made.state } else { AuthorityState::Active },
            published: published.then_some(Publication { sequence: next.sequence, at: now }),
            ..made
        }));
        if !self.published_ids().eq(next.published_ids()) {
            next.published_sequence = next.sequence;
        }
        let known = |keyring: &Self| keyring.find(concerned?).map(|authority| authority.generation);
        next.latest = concerned.map(|key_id| Taken {
            step: step.kind.as_str().to_owned(),
            authority: step.authority,
            key_id,
            generation: known(&next).or_else(|| known(self)).unwrap_or(0),
            sequence: next.sequence,
            intermediate,
            by: step.by.clone(),
        });
        next
    }

    /// Moves the keys that are there. Which key it is about, and which intermediate a root signs through after it.
    fn change(&mut self, step: &Step, new: Option<KeyId>, now: OffsetDateTime) -> (Option<KeyId>, Option<KeyId>) {
        let kind = step.authority;
        match step.kind {
            StepKind::Activate { key, through } | StepKind::Rollback { key, through } => {
                self.retire(kind, now);
                let through = new.or(through);
                if through.is_some() {
                    self.retire(AuthorityKind::X509Intermediate, now);
                }
                self.put(|one| [Some(key), through].contains(&Some(one.key_id())), AuthorityState::Active, now);
                (Some(key), through)
            }
            StepKind::Prepare { .. } => (new, None),
            StepKind::Remove(key_id) if kind.is_published() && self.find(key_id).is_some_and(Authority::is_ours) => {
                self.put(|authority| authority.key_id() == key_id, AuthorityState::Removed, now);
                self.authorities.retain(|authority| authority.issuer != Some(key_id));
                (Some(key_id), None)
            }
            StepKind::Remove(key_id) | StepKind::Revoke(key_id) => {
                self.authorities.retain(|one| one.key_id() != key_id && one.issuer != Some(key_id));
                (Some(key_id), None)
            }
            StepKind::Succeed => {
                self.retire(kind, now);
                (new, None)
            }
            StepKind::Taint(key_id) => {
                let meant = |one: &Authority| one.key_id() == key_id || one.issuer == Some(key_id);
                self.put(meant, AuthorityState::Tainted, now);
                (Some(key_id), None)
            }
        }
    }

    fn retire(&mut self, kind: AuthorityKind, now: OffsetDateTime) {
        let signs = |authority: &Authority| authority.kind == kind && authority.state == AuthorityState::Active;
        self.put(signs, AuthorityState::Old, now);
    }

    fn put(&mut self, meant: impl Fn(&Authority) -> bool, state: AuthorityState, now: OffsetDateTime) {
        for authority in self.authorities.iter_mut().filter(|authority| meant(authority)) {
            (authority.state, authority.since) = (state, now);
        }
    }

    fn published_ids(&self) -> impl Iterator<Item = KeyId> {
        let kinds = [AuthorityKind::X509Root, AuthorityKind::Jwt, AuthorityKind::JwtRs256];
        kinds.into_iter().flat_map(|kind| self.published(kind)).map(Authority::key_id)
    }
}
