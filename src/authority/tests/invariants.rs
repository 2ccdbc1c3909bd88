//! The invariants of [`rotation`](super::super::rotation), by their numbers there, each after every step.

use super::parties::{Copy, Mood, Shown};
use super::world::World;
use super::{HINT, PLAN, TTL};
use crate::authority::{Authority, AuthorityKind, AuthorityState, Keyring, Step, StepKind};
use crate::crypto::KeyId;

impl World {
    /// The first that does not hold.
    pub(super) fn check(&mut self) -> Result<(), String> {
        for at in 0..self.leaders.len() {
            let memory = self.leaders[at].memory.clone();
            one_key_of_each_kind_signs(&memory)?;
            one_sequence_is_one_bundle(self, &memory)?;
            for key in Copy::of(&memory).keys {
                self.out_at.entry(key).or_insert(self.now);
            }
            self.what_is_valid_has_its_key(&memory)?;
        }
        let sequences: Vec<u64> = self.used_at.keys().copied().collect();
        let newest = self.leaders.iter().map(|leader| leader.memory.published_sequence).max();
        must(sequences.last() <= newest.as_ref(), || "5: the bundle's sequence went back".to_owned())?;
        self.nobody_meets_what_it_cannot_verify()
    }

    fn shown(&self) -> impl Iterator<Item = &Shown> {
        self.agents.iter().flat_map(|agent| agent.shows.values()).filter(|shown| shown.ends > self.now)
    }

    fn is_excused(&self, key: KeyId, name: &str) -> bool {
        [name, "*"].into_iter().any(|name| self.excused.contains(&(key, name.to_owned())))
    }

    /// The second, as time: what signs without an excuse has been out for the minimum time, on a clock that never jumps.
    pub(super) fn must_have_waited(&self, before: &Keyring, step: &Step) {
        let StepKind::Activate { key, through } = step.kind else { return };
        if !step.by.in_spite_of.is_empty() {
            return;
        }
        let minimum = i64::try_from(PLAN.propagation.as_secs()).unwrap() + TTL;
        let intermediates = [Some(key), through].into_iter().flatten().filter_map(|key| before.find(key));
        for one in intermediates.filter(|one| one.state == AuthorityState::Prepared) {
            let is_intermediate = one.kind == AuthorityKind::X509Intermediate;
            if is_intermediate && self.lists.of.is_none() {
                continue;
            }
            let life = (one.not_after - one.not_before).whole_seconds();
            let wanted = if is_intermediate { minimum.min(life / 4 - 60) } else { minimum };
            let passed = self.out_at.get(&one.key_id()).map_or(0, |at| self.now - at);
            assert!(passed >= wanted, "2: {} waited {passed} s, not {wanted}\n{}", one.key_id(), self.tale());
        }
    }

    /// The third and the fourth.
    fn what_is_valid_has_its_key(&self, memory: &Keyring) -> Result<(), String> {
        for shown in self.shown() {
            let Shown { signer, hangs_on, not_after, .. } = *shown;
            if self.is_excused(hangs_on, "*") {
                continue;
            }
            let is_published = Copy::of(memory).keys.contains(&hangs_on);
            must(is_published, || format!("4: {hangs_on} left the bundle, and something under it is valid"))?;
            let found =
                memory.find(signer).ok_or_else(|| format!("4: {signer} is gone, and what it signed is valid"))?;
            must(not_after <= found.not_after, || format!("3: something under {signer} ends after it"))?;
        }
        Ok(())
    }

    /// The second, as what it is for.
    fn nobody_meets_what_it_cannot_verify(&self) -> Result<(), String> {
        let agents = self.agents.iter().filter(|agent| agent.mood != Mood::Dead && self.now - agent.fresh_at <= HINT);
        let agents = agents.map(|agent| (agent.name.as_str(), &agent.copy));
        let declared = self.declared.iter().map(|declared| (declared.name.as_str(), &declared.copy));
        let readers = self.readers.iter().filter(|reader| reader.is_served(self.now));
        let readers = readers.map(|reader| ("a reader", &reader.copy));
        let holders: Vec<_> = agents.chain(declared).chain(readers).collect();
        let pairs = self.shown().flat_map(|shown| holders.iter().map(move |holder| (shown.hangs_on, holder)));
        for (key, (name, copy)) in pairs {
            let verifies = copy.keys.contains(&key) || self.is_excused(key, name);
            must(verifies, || format!("2: {name}, at {}, meets an SVID under {key}", copy.sequence))?;
        }
        let strict =
            self.readers.iter().filter(|reader| reader.every <= HINT).filter_map(|reader| reader.lists.as_ref());
        let x509 = || self.agents.iter().filter_map(|agent| agent.shows.get(&AuthorityKind::X509Root));
        let pairs =
            strict.flat_map(|lists| x509().filter(|shown| shown.ends > self.now).map(move |shown| (lists, shown)));
        for (lists, Shown { signer, hangs_on, .. }) in pairs {
            let verifies =
                lists.contains(signer) || [signer, hangs_on].into_iter().any(|key| self.is_excused(*key, "*"));
            must(verifies, || format!("2: a strict reader has no list of {signer}, and meets an SVID under it"))?;
        }
        Ok(())
    }
}

/// The first.
fn one_key_of_each_kind_signs(memory: &Keyring) -> Result<(), String> {
    for kind in [AuthorityKind::X509Root, AuthorityKind::X509Intermediate, AuthorityKind::Jwt, AuthorityKind::Journal] {
        let active = memory.of_kind(kind).filter(|one| one.state == AuthorityState::Active).count();
        must(active == 1, || format!("1: {active} active keys of kind {}", kind.as_str()))?;
    }
    let root = memory.active(AuthorityKind::X509Root).map(Authority::key_id);
    let under = memory.active(AuthorityKind::X509Intermediate).and_then(|one| one.issuer);
    must(root == under, || "1: the active intermediate is not under the active root".to_owned())
}

/// The fifth; that the keyring never forks from what is recorded is asserted at each start.
fn one_sequence_is_one_bundle(world: &mut World, memory: &Keyring) -> Result<(), String> {
    let keys: Vec<KeyId> = Copy::of(memory).keys.into_iter().collect();
    let at = world.used_at.entry(memory.published_sequence).or_insert_with(|| keys.clone());
    must(*at == keys, || "5: two bundles have one sequence".to_owned())
}

fn must(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}
