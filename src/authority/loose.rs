//! Keys in places that no authority names: a crash never leaves one of which nobody knows.
//!
//! What is to be made is written down first, and what is given up is struck out last. What a place has beyond that under
//! our name, after a restore for one, is an orphan too.

use super::{Authority, AuthorityKind, Keyring};
use crate::custody::{Label, Places};
use crate::telemetry::chain;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A key in a place that no authority names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LooseKey {
    /// The place's configured name.
    pub place: String,
    /// What it is called there.
    pub label: Label,
    /// What it was to be for.
    pub kind: AuthorityKind,
    /// Counts the keys of a kind.
    pub generation: u64,
    /// Why it is loose.
    pub why: Looseness,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// Why a key is loose.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looseness {
    /// It was to be made, and was not taken into the keyring yet. The next attempt takes it.
    Begun,
    /// An operator revoked it, and its place has not deleted it yet. It is never used again.
    GivenUp,
}

/// A key of ours in a place, that is nobody's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Orphan {
    /// The place's configured name.
    pub place: String,
    /// What it is called there.
    pub label: Label,
    /// What the keyring knows of it; nothing for one that only the place names.
    pub known: Option<LooseKey>,
    /// Whether the place has it; none where it does not say.
    pub is_there: Option<bool>,
}

/// All of them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Orphans {
    /// By place and label.
    pub orphans: Vec<Orphan>,
    /// Places that did not say what they have, and why.
    pub silent: Vec<String>,
}

impl Keyring {
    /// What an attempt that did not come to its end was making.
    pub(super) fn begun(&self, place: &str, kind: AuthorityKind) -> Option<&LooseKey> {
        let generation = self.next_generation(kind);
        let is_it = |loose: &&LooseKey| {
            loose.why == Looseness::Begun && (&*loose.place, loose.kind, loose.generation) == (place, kind, generation)
        };
        self.loose.iter().find(is_it)
    }

    /// After a step: a key that was taken is loose no more, and one that was given up is.
    #[must_use]
    pub(super) fn accounted(mut self, former: &Self, now: OffsetDateTime) -> Self {
        let has = |keyring: &Self, label: &Label| {
            keyring.authorities.iter().filter_map(|one| one.placed_key()).any(|placed| placed.label == *label)
        };
        let given_up = |one: &Authority| {
            let placed = one.placed_key().filter(|placed| !has(&self, &placed.label))?;
            let (place, label) = (placed.place.to_string(), placed.label.clone());
            let (kind, generation, why) = (one.kind, one.generation, Looseness::GivenUp);
            Some(LooseKey { place, label, kind, generation, why, since: now })
        };
        let given_up: Vec<_> = former.authorities.iter().filter_map(given_up).collect();
        let mut loose = std::mem::take(&mut self.loose);
        loose.retain(|loose| !has(&self, &loose.label));
        loose.extend(given_up);
        Self { loose, ..self }
    }

    /// What places have under our name and no authority does.
    pub(super) async fn orphans(&self, places: &Places) -> Orphans {
        let (there, silent) = places.list(&self.trust_domain).await;
        let silent_places: Vec<_> = silent.iter().map(|fault| fault.place.clone()).collect();
        let taken = |label: &Label| {
            self.authorities.iter().filter_map(|one| one.placed_key()).any(|placed| placed.label == *label)
        };
        let known = |label: &Label| self.loose.iter().find(|loose| loose.label == *label).cloned();
        let is_listed = |loose: &LooseKey| {
            let is_there = there.iter().any(|(place, label)| **place == *loose.place && *label == loose.label);
            (!silent_places.contains(&loose.place)).then_some(is_there)
        };
        let loose = self.loose.iter().map(|loose| {
            let (place, label) = (loose.place.clone(), loose.label.clone());
            Orphan { place, label, known: Some(loose.clone()), is_there: is_listed(loose) }
        });
        let strange =
            there.iter().filter(|(_, label)| !taken(label) && known(label).is_none()).map(|(place, label)| Orphan {
                place: place.to_string(),
                label: label.clone(),
                known: None,
                is_there: Some(true),
            });
        let mut orphans: Vec<_> = loose.chain(strange).collect();
        orphans.sort_by(|one, other| (&one.place, &one.label).cmp(&(&other.place, &other.label)));
        Orphans { orphans, silent: silent.iter().map(|fault| chain(fault)).collect() }
    }
}
