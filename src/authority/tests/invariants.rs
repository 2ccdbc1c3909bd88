//! The invariants of [`rotation`](super::super::rotation), in their order there, each asserted by its name after every step.

use super::leaders::Place;
use super::parties::{Copy, Mood, Reads, Shown, seconds};
use super::world::World;
use super::{HINT, TTL};
use crate::authority::{Authority, AuthorityKind, AuthorityState, Keyring, Step, StepKind};
use crate::crypto::KeyId;
use std::collections::BTreeSet;
use std::fmt;

/// What holds over any history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Invariant {
    /// Exactly one key of a kind signs once the first exists, and the active intermediate is under the active root.
    OneKeySigns,
    /// No key signs before it is with everybody who counts and the minimum time has passed, and so nobody who is up to date
    /// meets what it cannot verify.
    ProvenBeforeItSigns,
    OutlivedByItsSigner,
    PublishedWhileInUse,
    NeverForks,
}

/// Which one, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Broken(pub(super) Invariant, String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: {}", self.0, self.1)
    }
}

use Invariant::{NeverForks, OneKeySigns, OutlivedByItsSigner, ProvenBeforeItSigns, PublishedWhileInUse};

pub(super) fn must(invariant: Invariant, holds: bool, broken: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(invariant, broken())) }
}

/// Somebody who verifies what others show.
struct Judge<'a> {
    name: &'a str,
    copy: &'a Copy,
    reads: Reads,
    pardons: Option<&'a BTreeSet<KeyId>>,
}

impl World {
    /// The first that does not hold.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        self.broken.take().map_or(Ok(()), Err)?;
        for at in 0..self.leaders.len() {
            let memory = self.leaders[at].memory.clone();
            one_key_of_each_kind_signs(&memory)?;
            one_sequence_is_one_bundle(self, &memory)?;
            for key in Copy::of(&memory).keys {
                self.out_at.entry(key).or_insert(self.now);
            }
            // A leader that is behind asks the store before it does anything: to it a new key has not come, and has not gone.
            if self.place == Place::File || memory.sequence == self.kept.sequence {
                self.what_is_valid_has_its_key(&memory)?;
            }
        }
        let sequences: Vec<u64> = self.used_at.keys().copied().collect();
        let newest = self.leaders.iter().map(|leader| leader.memory.published_sequence).max();
        must(NeverForks, sequences.last() <= newest.as_ref(), || "the bundle's sequence went back".to_owned())?;
        self.nobody_meets_what_it_cannot_verify()
    }

    /// Said on the way to the next check.
    pub(super) fn must_hold(&mut self, held: Result<(), Broken>) {
        self.broken = self.broken.take().or(held.err());
    }

    fn shown(&self) -> impl Iterator<Item = (AuthorityKind, &Shown)> {
        let shown = self.agents.iter().flat_map(|agent| agent.shows.iter().map(|(kind, shown)| (*kind, shown)));
        shown.filter(|(_, shown)| shown.ends > self.now)
    }

    fn is_excused(&self, key: KeyId, name: &str) -> bool {
        [name, "*"].into_iter().any(|name| self.excused.contains(&(key, name.to_owned())))
    }

    /// What signs without an excuse has been out for the minimum time, on a clock that never jumps.
    pub(super) fn waited(&self, before: &Keyring, step: &Step) -> Result<(), Broken> {
        let StepKind::Activate { key, through } = step.kind else { return Ok(()) };
        if !step.by.in_spite_of.is_empty() {
            return Ok(());
        }
        let minimum = seconds(self.plan.propagation) + TTL;
        let signs = [Some(key), through].into_iter().flatten().filter_map(|key| before.find(key));
        for one in signs.filter(|one| one.state == AuthorityState::Prepared) {
            let life = (one.not_after - one.not_before).whole_seconds();
            let wanted = match one.kind {
                AuthorityKind::X509Intermediate if self.lists.of.is_none() => continue,
                AuthorityKind::X509Intermediate => minimum.min(life / 4 - 60),
                AuthorityKind::Jwt | AuthorityKind::JwtRs256 => minimum.max(seconds(self.plan.jwks_cache)),
                AuthorityKind::Journal | AuthorityKind::X509Root => minimum,
            };
            let passed = self.out_at.get(&one.key_id()).map_or(0, |at| self.now - at);
            must(ProvenBeforeItSigns, passed >= wanted, || {
                format!("{} waited {passed} s, not {wanted}", one.key_id())
            })?;
        }
        Ok(())
    }

    fn what_is_valid_has_its_key(&self, memory: &Keyring) -> Result<(), Broken> {
        let published = Copy::of(memory).keys;
        for (_, Shown { signer, hangs_on, not_after, .. }) in self.shown() {
            if self.is_excused(*hangs_on, "*") {
                continue;
            }
            let in_use = |what: &str| format!("{what}, and something under it is valid");
            must(PublishedWhileInUse, published.contains(hangs_on), || in_use(&format!("{hangs_on} left the bundle")))?;
            let found = memory.find(*signer);
            must(PublishedWhileInUse, found.is_some(), || in_use(&format!("{signer} is gone")))?;
            let lives_on = found.is_some_and(|found| *not_after <= found.not_after);
            must(OutlivedByItsSigner, lives_on, || format!("something under {signer} ends after it"))?;
        }
        Ok(())
    }

    fn judges(&self) -> Vec<Judge<'_>> {
        let agents = self.agents.iter().filter(|agent| agent.mood != Mood::Dead && self.now - agent.fresh_at <= HINT);
        let agents = agents.map(|agent| (agent.name.as_str(), &agent.copy));
        let declared = self.declared.iter().map(|declared| (declared.name.as_str(), &declared.copy));
        let holders = agents.chain(declared);
        let holders = holders.map(|(name, copy)| Judge { name, copy, reads: Reads::Bundle, pardons: None });
        let readers = self.readers.iter().filter(|reader| reader.is_served(&self.plan, self.now));
        let readers = readers.map(|reader| Judge {
            name: reader.of.map_or("a reader", |publisher| self.publishers[publisher].name.as_str()),
            copy: &reader.copy,
            reads: reader.reads,
            pardons: Some(&reader.pardons),
        });
        holders.chain(readers).collect()
    }

    fn nobody_meets_what_it_cannot_verify(&self) -> Result<(), Broken> {
        let judges = self.judges();
        let meetings = self.shown().flat_map(|(kind, shown)| judges.iter().map(move |judge| (kind, shown, judge)));
        for (kind, Shown { hangs_on, .. }, Judge { name, copy, reads, pardons }) in meetings {
            let is_met = *reads == Reads::Bundle || kind.signs_jwts();
            let is_pardoned = pardons.is_some_and(|pardons| pardons.contains(hangs_on));
            let verifies = copy.keys.contains(hangs_on) || is_pardoned || self.is_excused(*hangs_on, name);
            let (sequence, kind) = (copy.sequence, kind.as_str());
            must(ProvenBeforeItSigns, verifies || !is_met, || {
                format!("{name}, at {sequence}, reads {reads:?} and meets a {kind} under {hangs_on}")
            })?;
        }
        self.nobody_misses_a_list()
    }

    fn nobody_misses_a_list(&self) -> Result<(), Broken> {
        let strict =
            self.readers.iter().filter(|reader| reader.every <= HINT).filter_map(|reader| reader.lists.as_ref());
        let x509 = || self.shown().filter(|(kind, _)| *kind == AuthorityKind::X509Root);
        let pairs = strict.flat_map(|lists| x509().map(move |(_, shown)| (lists, shown)));
        for (lists, Shown { signer, hangs_on, .. }) in pairs {
            let verifies =
                lists.contains(signer) || [signer, hangs_on].into_iter().any(|key| self.is_excused(*key, "*"));
            must(ProvenBeforeItSigns, verifies, || {
                format!("a strict reader has no list of {signer}, and meets an SVID under it")
            })?;
        }
        Ok(())
    }
}

fn one_key_of_each_kind_signs(memory: &Keyring) -> Result<(), Broken> {
    use AuthorityKind::{Journal, Jwt, JwtRs256, X509Intermediate, X509Root};
    for kind in [X509Root, X509Intermediate, Jwt, JwtRs256, Journal] {
        let active = memory.of_kind(kind).filter(|one| one.state == AuthorityState::Active).count();
        // One that is wanted later has no first one yet.
        let none_signed = memory.of_kind(kind).all(|one| one.state == AuthorityState::Prepared);
        let holds = active == 1 || kind == JwtRs256 && active == 0 && none_signed;
        must(OneKeySigns, holds, || format!("{active} active keys of kind {}", kind.as_str()))?;
    }
    let root = memory.active(X509Root).map(Authority::key_id);
    let under = memory.active(X509Intermediate).and_then(|one| one.issuer);
    must(OneKeySigns, root == under, || "the active intermediate is not under the active root".to_owned())
}

/// That the keyring never forks from what is recorded is judged at each start.
fn one_sequence_is_one_bundle(world: &mut World, memory: &Keyring) -> Result<(), Broken> {
    let keys: Vec<KeyId> = Copy::of(memory).keys.into_iter().collect();
    let at = world.used_at.entry(memory.published_sequence).or_insert_with(|| keys.clone());
    must(NeverForks, *at == keys, || "two bundles have one sequence".to_owned())
}

type Break = fn(&mut World);

/// What would break each of them is seen, and called by its name.
#[test]
fn each_invariant_can_break_and_is_named() {
    let breaks: [(Invariant, Break); 5] = [
        (OneKeySigns, |world| {
            let prepared = AuthorityState::Prepared;
            world.leaders[0].memory.authorities.iter_mut().for_each(|one| one.state = prepared);
        }),
        (ProvenBeforeItSigns, |world| world.agents[0].copy.keys.clear()),
        (OutlivedByItsSigner, |world| {
            let shows = world.agents[0].shows.values_mut();
            shows.for_each(|shown| shown.not_after += time::Duration::days(9000));
        }),
        (PublishedWhileInUse, |world| {
            let memory = &mut world.leaders[0].memory;
            let key = memory.active(AuthorityKind::X509Root).unwrap().key_id();
            // The next root is there, and whoever signs is under it.
            let (next, wall) = (KeyId::from_digest(crate::crypto::Digest::of(b"next")), memory.authorities[0].since);
            let mut root = memory.find(key).unwrap().clone();
            root.key = crate::authority::KeyOf::Upstream(next);
            (root.since, memory.published_sequence) = (wall, memory.published_sequence + 1);
            memory.authorities.retain(|one| one.key_id() != key);
            memory.authorities.push(root);
            memory.authorities.iter_mut().filter(|one| one.issuer == Some(key)).for_each(|one| one.issuer = Some(next));
        }),
        (NeverForks, |world| world.leaders.iter_mut().for_each(|leader| leader.memory.published_sequence -= 1)),
    ];
    for (invariant, break_it) in breaks {
        let mut world = World::new(7, Vec::new());
        world.join();
        assert_eq!(world.check(), Ok(()), "{}", world.tale());
        break_it(&mut world);
        let seen = world.check().map_err(|broken| broken.0);
        assert_eq!(seen, Err(invariant));
    }
}
