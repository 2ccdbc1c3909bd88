//! Random histories of keys and of those who hold them: crashes between any two lines, commits that are lost, clocks that
//! jump, holders that are slow, silent or gone, operators of all moods, two leaders. Every invariant is checked after each
//! step, above all: nobody who reports or is confirmed, and is within the refresh hint, meets an SVID that it cannot verify.
//!
//! `LANYARD_ROTATION_SEED` and `LANYARD_ROTATION_STEPS` choose others; a failing history names both.

use super::gate::{Holder, HolderKind, Known};
use super::keyring::Against;
use super::order::{Leeway, Live, NotNow, Order, OrderKind};
use super::rotation::Rotation;
use super::{Above, Authority, AuthorityKind, AuthorityState, KeyOf, KeyPlan, Keyring, Step, StepKind, Taken};
use crate::crypto::{Digest, KeyAlgorithm, KeyId, KeyPair};
use crate::custody::AuthorityKey;
use crate::upstream::{Certified, UpstreamRoot};
use rustls_pki_types::CertificateDer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

const STEPS: u64 = 40_000;
/// Each history begins anew after so many.
const HISTORY: u64 = 800;
const HOUR: i64 = 3600;
const TTL: i64 = 900;
const HINT: i64 = 300;
/// A life of keys in a day: each history sees several.
const PLAN: KeyPlan = KeyPlan {
    root: Duration::from_secs(20 * 3600),
    intermediate: Duration::from_secs(2 * 3600),
    jwt: Duration::from_secs(12 * 3600),
    propagation: Duration::from_secs(1800),
    ..KeyPlan::DEFAULT
};
const PUBLISHED: [AuthorityKind; 2] = [AuthorityKind::X509Root, AuthorityKind::Jwt];

/// Chance that can be had again (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn between(&mut self, least: i64, most: i64) -> i64 {
        least + i64::try_from(self.below(u64::try_from(most - least).unwrap())).unwrap()
    }
}

/// Where keys are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// A file beside the journal, of one leader: saved, then recorded.
    File,
    /// A store of two leaders: one commit that only one of them wins.
    Store,
}

/// What the place of roots does about another; it signs with those that it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NewRoots {
    Made,
    Refused,
}

/// A copy of our bundle.
#[derive(Clone, Debug, Default)]
struct Copy {
    sequence: u64,
    keys: BTreeSet<KeyId>,
}

impl Copy {
    fn of(keyring: &Keyring) -> Self {
        let keys = PUBLISHED.into_iter().flat_map(|kind| keyring.published(kind)).map(Authority::key_id).collect();
        Self { sequence: keyring.published_sequence, keys }
    }
}

/// What somebody shows to others, and which published key it hangs on.
#[derive(Clone, Copy, Debug)]
struct Shown {
    hangs_on: KeyId,
    signer: KeyId,
    ends: i64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Quick,
    /// Renews, and never takes a new bundle into use.
    Stuck,
    /// Takes what it is sent into use some minutes later.
    Slow(i64),
    Silent,
    Dead,
}

/// An agent with a session: reports, renews, and shows SVIDs to all others.
#[derive(Clone, Debug)]
struct Agent {
    name: String,
    mood: Mood,
    copy: Copy,
    /// The last time at which its copy was known to be the newest.
    fresh_at: i64,
    /// On its way.
    coming: Option<(i64, Copy)>,
    shows: BTreeMap<AuthorityKind, Shown>,
    renews_at: i64,
}

/// Somebody's pasted copy, confirmed by an operator.
#[derive(Clone, Debug, Default)]
struct Declared {
    name: String,
    copy: Copy,
    confirmed: Option<u64>,
}

#[derive(Debug)]
struct Leader {
    memory: Keyring,
    since: OffsetDateTime,
    heard: BTreeMap<String, (u64, OffsetDateTime)>,
    /// What it knows of the authority above; a start forgets the offer.
    above: Option<Above>,
}

/// An authority above ours, as it really is.
#[derive(Clone, Debug)]
struct Upstream {
    /// What the file of its roots says.
    roots: Vec<UpstreamRoot>,
    signs_under: UpstreamRoot,
    is_away: bool,
}

struct World {
    chance: Chance,
    place: Place,
    clocks_jump: bool,
    now: i64,
    skew: i64,
    upstream: Option<Upstream>,
    /// Whether our own roots may give way to another's, and the other way round.
    moves: bool,
    kept: Keyring,
    recorded: u64,
    leaders: Vec<Leader>,
    agents: Vec<Agent>,
    declared: Vec<Declared>,
    /// Who asks every few minutes without saying so, and how its copy stands.
    pollers: Vec<(i64, Copy)>,
    spare: Vec<Arc<KeyPair>>,
    used: usize,
    /// Which keys may be met without proof, by whom; `*` is everybody.
    excused: BTreeSet<(KeyId, String)>,
    used_at: BTreeMap<u64, Vec<KeyId>>,
    new_roots: NewRoots,
    /// Whether one leader is in the other's way.
    racing: bool,
    log: Vec<String>,
    done: BTreeMap<String, u64>,
}

impl World {
    fn new(seed: u64, spare: Vec<Arc<KeyPair>>) -> Self {
        let mut chance = Chance(seed);
        let (place, clocks_jump) = ([Place::File, Place::Store][usize::from(chance.one_in(2))], chance.one_in(2));
        let (is_under, moves) = (chance.one_in(2), chance.one_in(2));
        let kept = Keyring::empty("ci.example.org".to_owned().try_into().unwrap());
        let declared = (0..chance.below(3)).map(|n| Declared { name: format!("mesh {n}"), ..Declared::default() });
        let declared = declared.collect();
        let mut world = Self {
            chance,
            place,
            clocks_jump,
            now: 1_700_000_000,
            skew: 0,
            upstream: None,
            moves,
            kept,
            recorded: 0,
            leaders: Vec::new(),
            agents: Vec::new(),
            declared,
            pollers: Vec::new(),
            spare,
            used: 0,
            excused: BTreeSet::new(),
            used_at: BTreeMap::new(),
            new_roots: NewRoots::Made,
            racing: false,
            log: Vec::new(),
            done: BTreeMap::new(),
        };
        world.upstream = is_under.then(|| world.new_upstream());
        let (plan, known, now) = (&PLAN, Known::nobody(world.wall()), world.wall());
        let above = world.upstream.clone().map(|upstream| Above {
            roots: vec![upstream.signs_under.clone()],
            offer: Some(world.certified(&upstream)),
        });
        while let Some(step) =
            (Rotation { keyring: &world.kept, plan, known: &known, above: above.as_ref(), now }).due()
        {
            let made = world.made(&world.kept.clone(), above.as_ref(), &step);
            world.kept = world.kept.after(&step, made, now);
        }
        (world.kept.latest, world.recorded) = (None, world.kept.sequence);
        for _ in 0..if place == Place::Store { 2 } else { 1 } {
            let above = world.read_above();
            world.leaders.push(Leader { memory: world.kept.clone(), since: now, heard: BTreeMap::new(), above });
        }
        let copy = Copy::of(&world.kept);
        for declared in &mut world.declared {
            (declared.copy, declared.confirmed) = (copy.clone(), Some(copy.sequence));
        }
        world.pollers = vec![(world.now, copy); 2];
        world
    }

    fn wall(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.now + self.skew).unwrap()
    }

    fn fresh_key(&mut self) -> Arc<KeyPair> {
        if self.used == self.spare.len() {
            self.spare.push(Arc::new(KeyPair::generate(KeyAlgorithm::EcP256).unwrap()));
        }
        self.used += 1;
        Arc::clone(&self.spare[self.used - 1])
    }

    fn new_root(&mut self) -> UpstreamRoot {
        let certificate: CertificateDer<'static> = self.chance.below(1 << 60).to_be_bytes().to_vec().into();
        let (name, now) = (KeyId::from_digest(Digest::of(&certificate)), self.wall());
        let forty_days = Duration::from_secs(40 * 86_400);
        UpstreamRoot { name, certificate, not_before: now - forty_days, not_after: now + forty_days }
    }

    fn new_upstream(&mut self) -> Upstream {
        let signs_under = self.new_root();
        Upstream { roots: vec![signs_under.clone()], signs_under, is_away: false }
    }

    fn certified(&mut self, upstream: &Upstream) -> Certified {
        let (key, now) = (self.fresh_key(), self.wall());
        // Some give less than they are asked for.
        let life = PLAN.intermediate / if self.chance.one_in(4) { 2 } else { 1 };
        let (certificate, above, root) = (CertificateDer::from(Vec::new()), Vec::new(), upstream.signs_under.name);
        Certified { key, certificate, above, root, not_before: now, not_after: now + life }
    }

    fn read_above(&self) -> Option<Above> {
        self.upstream.as_ref().map(|upstream| Above { roots: upstream.roots.clone(), offer: None })
    }

    /// Looks at the roots, and asks if that is due; garbage and unknown roots never get as far as to the keys.
    fn hear_above(&mut self, leader: usize) {
        let Some(upstream) = self.upstream.clone() else { return };
        let (known, now) = (self.known(leader), self.wall());
        let Some(above) = &mut self.leaders[leader].above else { return };
        above.roots.clone_from(&upstream.roots);
        let (above, keyring) = (above.clone(), self.leaders[leader].memory.clone());
        let rotation = Rotation { keyring: &keyring, plan: &PLAN, known: &known, above: Some(&above), now };
        let is_due = rotation.asks_at().is_some_and(|at| at <= now);
        if !is_due || self.chance.one_in(3) {
            return;
        }
        let is_known = upstream.roots.contains(&upstream.signs_under);
        if upstream.is_away || !is_known {
            return self.count("asked above in vain");
        }
        let offer = self.certified(&upstream);
        self.leaders[leader].above = Some(Above { offer: Some(offer), ..above });
        self.count("certified above");
    }

    fn change_above(&mut self) {
        let Some(mut upstream) = self.upstream.clone() else { return };
        match self.chance.below(8) {
            0 => upstream.is_away = !upstream.is_away,
            1 | 2 if upstream.roots.len() < 3 => upstream.roots.push(self.new_root()),
            3 | 4 => {
                let at = usize::try_from(self.chance.below(upstream.roots.len().try_into().unwrap())).unwrap();
                upstream.signs_under = upstream.roots[at].clone();
            }
            // Its operators are ahead of ours: we hear of the root when nothing else is signed under.
            5 => upstream.signs_under = self.new_root(),
            6 if !upstream.roots.contains(&upstream.signs_under) => upstream.roots.push(upstream.signs_under.clone()),
            _ if upstream.roots.len() > 1 => drop(upstream.roots.remove(0)),
            _ => {}
        }
        let Upstream { roots, signs_under, is_away } = &upstream;
        self.note(format!("above: {} roots, signs under {}, away {is_away}", roots.len(), signs_under.name));
        self.upstream = Some(upstream);
    }

    /// The configuration changes, and everybody starts again.
    fn move_house(&mut self) {
        self.upstream = if self.upstream.is_some() { None } else { Some(self.new_upstream()) };
        self.count("moves");
        for leader in 0..self.leaders.len() {
            self.restart(leader);
        }
    }

    fn made(&mut self, keyring: &Keyring, above: Option<&Above>, step: &Step) -> Option<Authority> {
        if let Some(given) = above.and_then(|above| above.gives(keyring, step, self.wall())) {
            return Some(given);
        }
        let (kind, issuer) = step.makes(keyring)?;
        let (key, now) = (KeyOf::Us(AuthorityKey::Held(self.fresh_key())), self.wall());
        let root = issuer.map(|root| keyring.find(root).unwrap());
        assert!(root.is_none_or(Authority::is_ours), "nobody here can sign below another's root");
        let root_ends = root.map(|root| root.not_after);
        let not_after = (now + PLAN.life(kind)).min(root_ends.unwrap_or(now + PLAN.life(kind)));
        let (generation, state, published) = (keyring.next_generation(kind), AuthorityState::Prepared, None);
        let (since, not_before, certificate, above) = (now, now, None, Vec::new());
        Some(Authority {
            kind,
            generation,
            state,
            since,
            published,
            issuer,
            key,
            certificate,
            above,
            not_before,
            not_after,
        })
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        self.log.push(format!("{:>7} s (clock {:+} s): {what}", self.now - 1_700_000_000, self.skew));
    }

    fn count(&mut self, what: &str) {
        *self.done.entry(what.to_owned()).or_default() += 1;
    }

    fn known(&self, leader: usize) -> Known {
        let Leader { heard, since, .. } = &self.leaders[leader];
        let agents = self.agents.iter().map(|agent| {
            let (holds, heard_at) = heard.get(&agent.name).copied().unzip();
            Holder { name: agent.name.clone(), kind: HolderKind::Reporting, holds, heard_at }
        });
        let declared = self.declared.iter().map(|declared| {
            let (name, holds) = (declared.name.clone(), declared.confirmed);
            Holder { name, kind: HolderKind::Declared, holds, heard_at: None }
        });
        let longest_ttl = Duration::from_secs(TTL.unsigned_abs());
        Known { holders: agents.chain(declared).collect(), longest_ttl, since: *since }
    }

    fn live(&self) -> Live {
        let mut live = Live::new();
        let shown = self.agents.iter().filter_map(|agent| agent.shows.get(&AuthorityKind::X509Root));
        for shown in shown.filter(|shown| shown.ends > self.now) {
            *live.entry(shown.signer.to_string().into()).or_default() += 1;
        }
        live
    }

    /// Everything that is due, or one order; a crash may come before any line.
    fn visit(&mut self, leader: usize, order: Option<&Order>) {
        self.refresh(leader);
        if let Some(order) = order {
            let (known, live, now) = (self.known(leader), self.live(), self.wall());
            let (keyring, above) = (self.leaders[leader].memory.clone(), self.leaders[leader].above.clone());
            let rotation = Rotation { keyring: &keyring, plan: &PLAN, known: &known, above: above.as_ref(), now };
            match rotation.ordered(order, &live) {
                Ok(step) => drop(self.take(leader, &step, Some(order))),
                Err(NotNow::Unsafe { .. }) => self.count("refused as unsafe"),
                Err(NotNow::InUse { .. }) => self.count("refused as in use"),
                Err(_) => self.count("refused"),
            }
            return;
        }
        self.hear_above(leader);
        let mut stuck = Vec::new();
        loop {
            let (known, now) = (self.known(leader), self.wall());
            let (keyring, above) = (self.leaders[leader].memory.clone(), self.leaders[leader].above.clone());
            let rotation = Rotation { keyring: &keyring, plan: &PLAN, known: &known, above: above.as_ref(), now };
            let Some(step) = rotation.due_beside(&stuck) else { return };
            if self.new_roots == NewRoots::Refused
                && step.makes(&keyring).is_some_and(|(kind, _)| kind == AuthorityKind::X509Root)
            {
                stuck.push(step.authority);
                continue;
            }
            if !self.take(leader, &step, None) {
                return;
            }
        }
    }

    /// Save, record, use. Whether the leader still stands where it stood.
    fn take(&mut self, leader: usize, step: &Step, order: Option<&Order>) -> bool {
        let before = self.leaders[leader].memory.clone();
        // The place of a root does not make it, or does not sign with it: nothing is done, and it is tried again.
        let needs_root = step.makes(&before).is_some_and(|(kind, _)| kind != AuthorityKind::Jwt);
        if needs_root && self.chance.one_in(20) {
            self.note(format!("leader {leader} wants {step:?}, and the root's place is away"));
            self.count("places away");
            return false;
        }
        let above = self.leaders[leader].above.clone();
        let made = self.made(&before, above.as_ref(), step);
        let next = before.after(step, made, self.wall());
        let crash = self.chance.below(60);
        if self.place == Place::Store && self.chance.one_in(20) && !self.racing {
            self.racing = true;
            self.visit(1 - leader, None);
            self.racing = false;
        }
        self.note(format!("leader {leader} takes {step:?}, crash {crash}"));
        if crash == 0 {
            return self.restart(leader);
        }
        match self.place {
            Place::File => {
                self.kept = next.clone();
                if crash == 1 {
                    return self.restart(leader);
                }
                // A commit that is lost was not done, or was done and nobody heard.
                if crash == 2 || crash == 3 {
                    self.recorded += (next.sequence - self.recorded) * (crash - 2);
                    self.count("lost commits");
                    return false;
                }
            }
            Place::Store if self.kept.sequence != before.sequence => {
                self.count("lost races");
                self.refresh(leader);
                return false;
            }
            Place::Store if crash == 2 => return false,
            Place::Store => self.kept = next.clone(),
        }
        self.recorded = next.sequence;
        if crash == 4 {
            return self.restart(leader);
        }
        self.excuse();
        self.leaders[leader].memory = next;
        self.count(step.kind.as_str());
        let signs = self.leaders[leader].memory.active(AuthorityKind::X509Root).is_some_and(|root| !root.is_ours());
        if signs && matches!(step.kind, StepKind::Activate(_)) && step.authority == AuthorityKind::X509Root {
            self.count("switched above");
        }
        let is_without = matches!(order.map(|order| &order.leeway), Some(Leeway::Without(_)));
        match (step.by.uid, step.by.in_spite_of.is_empty(), is_without) {
            (None, false, _) => self.count("gone on at the deadline"),
            (Some(_), false, true) => self.count("gone on without some"),
            _ => {}
        }
        true
    }

    /// Whoever goes on without proof says without whose.
    fn excuse(&mut self) {
        let Some(Taken { step, key_id, by, .. }) = self.kept.latest.clone() else { return };
        let everybody = step == "revoke" || by.in_spite_of.iter().any(|what| what == "minimum time");
        let names = if everybody && !by.in_spite_of.is_empty() { vec!["*".to_owned()] } else { by.in_spite_of };
        self.excused.extend(names.into_iter().map(|name| (key_id, name)));
    }

    fn restart(&mut self, leader: usize) -> bool {
        self.note(format!("leader {leader} starts"));
        self.count("starts");
        if self.place == Place::File {
            let against = self.kept.against(self.recorded);
            assert!(matches!(against, Against::Recorded | Against::Unrecorded), "{against:?}: the keyring forked");
            self.recorded = self.kept.sequence;
        }
        self.excuse();
        let memory = self.kept.clone();
        let above = self.read_above();
        self.leaders[leader] = Leader { memory, since: self.wall(), heard: BTreeMap::new(), above };
        false
    }

    /// A leader beside another asks the store before it does anything.
    fn refresh(&mut self, leader: usize) {
        if self.place == Place::Store && self.leaders[leader].memory.sequence != self.kept.sequence {
            self.leaders[leader].memory = self.kept.clone();
            self.excuse();
        }
    }

    fn report(&mut self, name: &str, sequence: u64) {
        let now = self.wall();
        for leader in &mut self.leaders {
            leader.heard.insert(name.to_owned(), (sequence, now));
        }
    }

    /// What an agent does by itself: takes what has come, says so, renews, and is sent what is new.
    fn tick(&mut self, at: usize) {
        let leader = usize::try_from(self.chance.below(self.leaders.len().try_into().unwrap())).unwrap();
        self.refresh(leader);
        let mut agent = self.agents[at].clone();
        let memory = self.leaders[leader].memory.clone();
        if matches!(agent.mood, Mood::Silent | Mood::Dead) {
            return;
        }
        if let Some((_, copy)) = agent.coming.take_if(|(at, _)| *at <= self.now && agent.mood != Mood::Stuck) {
            agent.copy = copy;
            // Some say so only with their next renewal.
            if !self.chance.one_in(8) {
                self.report(&agent.name, agent.copy.sequence);
            }
        }
        if agent.renews_at <= self.now {
            self.report(&agent.name, agent.copy.sequence);
            agent.shows = shown(&memory, self.now);
            agent.renews_at = self.now + self.chance.between(TTL / 3, TTL / 2);
        }
        if agent.copy.sequence == memory.published_sequence {
            agent.fresh_at = self.now;
        } else if agent.coming.is_none() {
            let delay = if let Mood::Slow(delay) = agent.mood { delay } else { 0 };
            agent.coming = Some((self.now + delay, Copy::of(&memory)));
        }
        self.agents[at] = agent;
    }

    fn join(&mut self) {
        let memory = self.leaders[0].memory.clone();
        let name = format!("agent {}", self.chance.below(1 << 40));
        let mood = if self.chance.one_in(3) { Mood::Slow(self.chance.between(60, 4000)) } else { Mood::Quick };
        let (copy, shows) = (Copy::of(&memory), shown(&memory, self.now));
        self.report(&name, copy.sequence);
        let (fresh_at, renews_at) = (self.now, self.now + TTL / 2);
        self.agents.push(Agent { name, mood, copy, fresh_at, coming: None, shows, renews_at });
    }

    fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        for at in 0..self.agents.len() {
            self.tick(at);
        }
        let newest = Copy::of(&self.leaders[0].memory);
        for (asked_at, copy) in &mut self.pollers {
            if self.now - *asked_at >= HINT - 10 {
                (*asked_at, *copy) = (self.now, newest.clone());
            }
        }
        let now = self.now;
        self.agents.retain(|agent| agent.mood != Mood::Dead || agent.shows.values().any(|shown| shown.ends > now));
    }

    fn order(&mut self) {
        let kinds =
            [AuthorityKind::X509Root, AuthorityKind::Jwt, AuthorityKind::X509Root, AuthorityKind::X509Intermediate];
        let authority = kinds[usize::try_from(self.chance.below(4)).unwrap()];
        let leader = usize::try_from(self.chance.below(self.leaders.len().try_into().unwrap())).unwrap();
        let keys: Vec<KeyId> = self.leaders[leader].memory.of_kind(authority).map(Authority::key_id).collect();
        let key = keys[usize::try_from(self.chance.below(keys.len().try_into().unwrap())).unwrap()];
        let kind = match self.chance.below(12) {
            0..=2 => OrderKind::Activate(None),
            3 => OrderKind::Activate(Some(key)),
            4..=6 => OrderKind::Prepare,
            7..=8 => OrderKind::Rollback,
            9..=10 => OrderKind::Taint(key),
            _ => OrderKind::Revoke(key),
        };
        let leeway = match self.chance.below(12) {
            0 => Leeway::Force,
            1..=3 => Leeway::Without(self.some_holders()),
            _ => Leeway::None,
        };
        let order = Order { kind, authority, leeway, uid: 1000, say: None };
        self.note(format!("leader {leader} hears {order:?}"));
        self.visit(leader, Some(&order));
    }

    fn some_holders(&mut self) -> BTreeSet<String> {
        let agents = self.agents.iter().map(|agent| agent.name.clone());
        let mut names: Vec<_> = agents.chain(self.declared.iter().map(|declared| declared.name.clone())).collect();
        names.retain(|_| self.chance.one_in(2));
        names.into_iter().collect()
    }

    fn happen(&mut self) {
        match self.chance.below(100) {
            0..=5 => self.order(),
            6..=8 if self.agents.len() < 8 => self.join(),
            6..=11 if !self.agents.is_empty() => {
                let at = usize::try_from(self.chance.below(self.agents.len().try_into().unwrap())).unwrap();
                let mood = match self.chance.below(9) {
                    0..=4 => Mood::Quick,
                    8 => Mood::Stuck,
                    5 => Mood::Slow(self.chance.between(60, 4000)),
                    6 => Mood::Silent,
                    _ => Mood::Dead,
                };
                self.note(format!("{} is {mood:?}", self.agents[at].name));
                self.agents[at].mood = mood;
            }
            12 if self.clocks_jump && self.chance.one_in(2) => {
                self.skew = self.chance.between(-30 * HOUR, 30 * HOUR);
                self.note("the clock jumps");
                let now = self.wall();
                self.leaders.iter_mut().for_each(|leader| leader.since = now);
                self.count("jumps");
            }
            13 if self.chance.one_in(4) => {
                let leader = usize::try_from(self.chance.below(self.leaders.len().try_into().unwrap())).unwrap();
                self.restart(leader);
            }
            17 | 18 => self.change_above(),
            19 if self.moves && self.chance.one_in(20) => self.move_house(),
            14..=16 => {
                let copy = Copy::of(&self.leaders[0].memory);
                for declared in &mut self.declared {
                    (declared.copy, declared.confirmed) = (copy.clone(), Some(copy.sequence));
                }
            }
            _ => {
                let seconds = self.chance.between(5, 400);
                self.pass(seconds);
                for leader in 0..self.leaders.len() {
                    self.visit(leader, None);
                }
            }
        }
    }

    /// What came before, as far as anybody reads.
    fn tale(&self) -> String {
        let begin = self.log.len().saturating_sub(60);
        self.log[begin..].join("\n")
    }

    /// Every invariant; the first that does not hold.
    fn check(&mut self) -> Result<(), String> {
        for Leader { memory, .. } in &self.leaders {
            for kind in [AuthorityKind::X509Root, AuthorityKind::X509Intermediate, AuthorityKind::Jwt] {
                let active = memory.of_kind(kind).filter(|one| one.state == AuthorityState::Active).count();
                (active == 1).then_some(()).ok_or(format!("{active} active keys of kind {}", kind.as_str()))?;
            }
            let root = memory.active(AuthorityKind::X509Root).map(Authority::key_id);
            let under = memory.active(AuthorityKind::X509Intermediate).and_then(|one| one.issuer);
            (root == under).then_some(()).ok_or("the active intermediate is not under the active root")?;
            let keys: Vec<KeyId> = Copy::of(memory).keys.into_iter().collect();
            let at = self.used_at.entry(memory.published_sequence).or_insert_with(|| keys.clone());
            (*at == keys).then_some(()).ok_or("two bundles have one sequence")?;
        }
        let sequences: Vec<u64> = self.used_at.keys().copied().collect();
        let newest = self.leaders.iter().map(|leader| leader.memory.published_sequence).max();
        (sequences.last() <= newest.as_ref()).then_some(()).ok_or("the bundle's sequence went back")?;
        self.nobody_meets_what_it_cannot_verify()
    }

    fn nobody_meets_what_it_cannot_verify(&self) -> Result<(), String> {
        let agents = self.agents.iter().filter(|agent| agent.mood != Mood::Dead && self.now - agent.fresh_at <= HINT);
        let agents = agents.map(|agent| (agent.name.as_str(), &agent.copy));
        let declared = self.declared.iter().map(|declared| (declared.name.as_str(), &declared.copy));
        // Without a jump of the clock the minimum time is enough for those who only ask as often as they should.
        let pollers = self.pollers.iter().filter(|_| !self.clocks_jump).map(|(_, copy)| ("a poller", copy));
        let holders: Vec<_> = agents.chain(declared).chain(pollers).collect();
        let shown = self.agents.iter().flat_map(|agent| agent.shows.values()).filter(|shown| shown.ends > self.now);
        let is_excused = |key, name: &str| self.excused.contains(&(key, name.to_owned()));
        let pairs = shown.flat_map(|shown| holders.iter().map(|holder| (shown.hangs_on, holder)));
        for (key, (name, copy)) in pairs {
            let verifies = copy.keys.contains(&key) || is_excused(key, name) || is_excused(key, "*");
            verifies.then_some(()).ok_or_else(|| format!("{name}, at {}, meets an SVID under {key}", copy.sequence))?;
        }
        Ok(())
    }
}

/// What is handed out now, and the key of the bundle that it hangs on.
fn shown(memory: &Keyring, now: i64) -> BTreeMap<AuthorityKind, Shown> {
    let intermediate = memory.active(AuthorityKind::X509Intermediate).unwrap();
    let jwt = memory.active(AuthorityKind::Jwt).unwrap().key_id();
    let x509 = Shown { hangs_on: intermediate.issuer.unwrap(), signer: intermediate.key_id(), ends: now + TTL };
    let jwt = Shown { hangs_on: jwt, signer: jwt, ends: now + 300 };
    // Under an upstream that was away for too long nothing is signed any more.
    let x509 = (intermediate.not_after.unix_timestamp() > now).then_some((AuthorityKind::X509Root, x509));
    x509.into_iter().chain([(AuthorityKind::Jwt, jwt)]).collect()
}

/// A number from outside.
#[expect(clippy::disallowed_methods, reason = "what a test run is asked for is no setting of the product")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Shows: FED-2, FED-3, TDB-27.
#[test]
fn over_random_histories_nobody_who_is_up_to_date_meets_an_svid_that_it_cannot_verify() {
    let (first, steps) =
        (asked("LANYARD_ROTATION_SEED").unwrap_or(7), asked("LANYARD_ROTATION_STEPS").unwrap_or(STEPS));
    let (mut spare, mut done) = (Vec::new(), BTreeMap::<String, u64>::new());
    for seed in first..first + steps.div_ceil(HISTORY) {
        let mut world = World::new(seed, spare);
        for step in 0..HISTORY.min(steps) {
            world.happen();
            let again = || format!("LANYARD_ROTATION_SEED={seed} LANYARD_ROTATION_STEPS={}", step + 1);
            world.check().unwrap_or_else(|broken| panic!("{}\n{broken}; again: {}", world.tale(), again()));
        }
        spare = world.spare;
        for (what, count) in world.done {
            *done.entry(what).or_default() += count;
        }
    }
    let all =
        ["activate", "prepare", "remove", "revoke", "rollback", "succeed", "taint", "gone on at the deadline", "jumps"];
    let above = ["places away", "asked above in vain", "certified above", "moves", "switched above"];
    let rest =
        ["starts", "lost commits", "lost races", "refused as unsafe", "refused as in use", "gone on without some"];
    let never: Vec<_> = all.iter().chain(&rest).chain(&above).filter(|what| !done.contains_key(**what)).collect();
    assert!(steps < STEPS || never.is_empty(), "never happened: {never:?}");
}

/// Shows: X509-21.
#[test]
fn near_the_end_of_a_root_no_intermediate_is_made_that_would_not_live_longer() {
    let mut world = (7..99).map(|seed| World::new(seed, Vec::new())).find(|world| world.upstream.is_none()).unwrap();
    let (plan, start) = (KeyPlan { automatic: false, ..PLAN }, world.wall());
    let mut keyring = world.kept.clone();
    let root_ends = start + Duration::from_secs(9000);
    for authority in keyring.authorities.iter_mut().filter(|authority| authority.kind == AuthorityKind::X509Root) {
        authority.not_after = root_ends;
    }
    for (seconds, is_due) in [(3500, false), (3700, true), (6000, false)] {
        world.now = start.unix_timestamp() + seconds;
        let (known, now) = (Known::nobody(start), world.wall());
        let due = Rotation { keyring: &keyring, plan: &plan, known: &known, above: None, now }.due();
        assert_eq!(due.is_some(), is_due, "{due:?} after {seconds} s");
        let Some(step) = due else { continue };
        let made = world.made(&keyring, None, &step);
        keyring = keyring.after(&step, made, now);
        assert_eq!(keyring.active(AuthorityKind::X509Intermediate).unwrap().not_after, root_ends);
    }
}

/// Shows: X509-21.
#[test]
fn where_no_root_can_be_made_everything_else_changes_until_the_last_root_ends() {
    let mut world = (7..99).map(|seed| World::new(seed, Vec::new())).find(|world| world.upstream.is_none()).unwrap();
    let (start, root) = (world.now, world.kept.active(AuthorityKind::X509Root).unwrap().key_id());
    (world.new_roots, world.clocks_jump) = (NewRoots::Refused, false);
    while world.now < start + 19 * HOUR {
        world.pass(300);
        for leader in 0..world.leaders.len() {
            world.visit(leader, None);
        }
        world.check().unwrap_or_else(|broken| panic!("{}\n{broken}", world.tale()));
        let memory = &world.leaders[0].memory;
        assert_eq!(memory.active(AuthorityKind::X509Root).unwrap().key_id(), root);
        let intermediate = memory.active(AuthorityKind::X509Intermediate).unwrap();
        assert!(intermediate.not_after > world.wall(), "{}", world.tale());
    }
    assert!(world.leaders[0].memory.active(AuthorityKind::Jwt).unwrap().generation > 1, "{}", world.tale());
}
