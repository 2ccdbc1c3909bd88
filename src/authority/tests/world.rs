//! The world of one history, and what happens in it.

use super::chance::Chance;
use super::invariants::Broken;
use super::leaders::{Leader, NewRoots, Place};
use super::parties::{Agent, Declared, Reader};
use super::publishers::Publisher;
use super::upstream::Upstream;
use super::{HOUR, PLAN};
use crate::authority::gate::Known;
use crate::authority::rotation::Rotation;
use crate::authority::{Above, KeyPlan, Keyring};
use crate::crypto::{KeyAlgorithm, KeyId, KeyPair};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

const START: i64 = 1_700_000_000;

/// The revocation lists.
#[derive(Default)]
pub(super) struct Lists {
    /// The authorities of the last set; none where none are made.
    pub(super) of: Option<BTreeSet<KeyId>>,
    pub(super) fail: bool,
}

pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) place: Place,
    pub(super) plan: KeyPlan,
    pub(super) clocks_jump: bool,
    /// On a clock that never jumps.
    pub(super) now: i64,
    skew: i64,
    pub(super) upstream: Option<Upstream>,
    /// Whether our own roots may give way to another's, and the other way round.
    moves: bool,
    pub(super) kept: Keyring,
    pub(super) recorded: u64,
    pub(super) leaders: Vec<Leader>,
    pub(super) agents: Vec<Agent>,
    pub(super) declared: Vec<Declared>,
    pub(super) publishers: Vec<Publisher>,
    pub(super) readers: Vec<Reader>,
    pub(super) lists: Lists,
    /// Since when each list is out, and each key published.
    pub(super) out_at: BTreeMap<KeyId, i64>,
    spare: Vec<Arc<KeyPair>>,
    used: usize,
    /// Which keys may be met without proof, by whom; `*` is everybody.
    pub(super) excused: BTreeSet<(KeyId, String)>,
    pub(super) used_at: BTreeMap<u64, Vec<KeyId>>,
    pub(super) new_roots: NewRoots,
    /// Whether one leader is in the other's way.
    pub(super) racing: bool,
    /// What was met on the way to the next check.
    pub(super) broken: Option<Broken>,
    log: Vec<String>,
    pub(super) done: BTreeMap<String, u64>,
}

impl World {
    pub(super) fn new(seed: u64, spare: Vec<Arc<KeyPair>>) -> Self {
        let mut chance = Chance(seed);
        let (place, clocks_jump) = ([Place::File, Place::Store][chance.of(2)], chance.one_in(2));
        let (is_under, moves, has_lists) = (chance.one_in(2), chance.one_in(2), !chance.one_in(3));
        let declared = (0..chance.below(3)).map(|n| Declared { name: format!("mesh {n}"), ..Declared::default() });
        let declared = declared.collect();
        let publishers: Vec<_> = (0..chance.of(3)).map(Publisher::new).collect();
        let plan = plan(&mut chance);
        let mut world = Self {
            chance,
            place,
            plan,
            clocks_jump,
            now: START,
            skew: 0,
            upstream: None,
            moves,
            kept: Keyring::empty("ci.example.org".to_owned().try_into().unwrap()),
            recorded: 0,
            leaders: Vec::new(),
            agents: Vec::new(),
            declared,
            readers: Reader::all(&plan, publishers.len(), START),
            publishers,
            lists: Lists { of: has_lists.then(BTreeSet::new), fail: false },
            out_at: BTreeMap::new(),
            spare,
            used: 0,
            excused: BTreeSet::new(),
            used_at: BTreeMap::new(),
            new_roots: NewRoots::Made,
            racing: false,
            broken: None,
            log: Vec::new(),
            done: BTreeMap::new(),
        };
        world.begin(is_under);
        world
    }

    fn begin(&mut self, is_under: bool) {
        self.upstream = is_under.then(|| self.new_upstream());
        let (plan, known, now) = (&self.plan.clone(), Known::nobody(self.wall()), self.wall());
        let above = self.upstream.clone().map(|upstream| Above {
            roots: vec![upstream.signs_under.clone()],
            offer: Some(self.certified(&upstream)),
        });
        while let Some(step) = (Rotation { keyring: &self.kept, plan, known: &known, above: above.as_ref(), now }).due()
        {
            let made = self.made(&self.kept.clone(), above.as_ref(), &step);
            self.kept = self.kept.after(&step, made, now);
        }
        (self.kept.latest, self.recorded) = (None, self.kept.sequence);
        for _ in 0..if self.place == Place::Store { 2 } else { 1 } {
            self.leaders.push(self.leader());
        }
        self.confirm_all();
        // Everybody begins with what is there.
        self.readers.iter_mut().for_each(|reader| reader.read_at -= reader.every);
        self.pass(0);
    }

    pub(super) fn wall(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.now + self.skew).unwrap()
    }

    pub(super) fn fresh_key(&mut self) -> Arc<KeyPair> {
        if self.used == self.spare.len() {
            self.spare.push(Arc::new(KeyPair::generate(KeyAlgorithm::EcP256).unwrap()));
        }
        self.used += 1;
        Arc::clone(&self.spare[self.used - 1])
    }

    /// What the next world needs not make anew.
    pub(super) fn into_spare(self) -> Vec<Arc<KeyPair>> {
        self.spare
    }

    pub(super) fn note(&mut self, what: impl std::fmt::Display) {
        self.log.push(format!("{:>7} s (clock {:+} s): {what}", self.now - START, self.skew));
    }

    pub(super) fn count(&mut self, what: &str) {
        *self.done.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn happen(&mut self) {
        match self.chance.below(100) {
            0..=5 => self.order(),
            6..=8 if self.agents.len() < 8 => self.join(),
            6..=11 if !self.agents.is_empty() => self.change_mood(),
            12 if self.clocks_jump && self.chance.one_in(2) => {
                self.skew = self.chance.between(-30 * HOUR, 30 * HOUR);
                self.note("the clock jumps");
                let now = self.wall();
                self.leaders.iter_mut().for_each(|leader| leader.since = now);
                self.count("jumps");
            }
            13 if self.chance.one_in(4) => {
                let leader = self.chance.of(self.leaders.len());
                self.restart(leader);
            }
            17 | 18 => self.change_above(),
            19 if self.moves && self.chance.one_in(20) => self.move_house(),
            20 if self.chance.one_in(20) => self.want_otherwise(),
            21 | 22 if !self.publishers.is_empty() => self.change_publisher(),
            14..=16 => self.confirm_all(),
            _ => {
                let seconds = self.chance.between(5, 400);
                self.pass(seconds);
                for leader in 0..self.leaders.len() {
                    self.visit(leader, None);
                }
            }
        }
    }

    /// The configuration says otherwise whether RS256 is wanted, and everybody starts again.
    fn want_otherwise(&mut self) {
        self.plan.rs256 = !self.plan.rs256;
        self.note(format!("RS256 is wanted: {}", self.plan.rs256));
        for leader in 0..self.leaders.len() {
            self.restart(leader);
        }
    }

    /// What came before, as far as anybody reads.
    pub(super) fn tale(&self) -> String {
        let begin = self.log.len().saturating_sub(60);
        self.log[begin..].join("\n")
    }
}

/// What is configured here: tokens for clouds, whose readers take their time, and keys that change by order only.
fn plan(chance: &mut Chance) -> KeyPlan {
    let (rs256, automatic) = (chance.one_in(2), !chance.one_in(8));
    let jwks_cache = Duration::from_secs([0, 3600, 7200][chance.of(3)]);
    KeyPlan { jwks_cache, rs256, automatic, ..PLAN }
}
