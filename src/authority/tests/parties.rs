//! Those outside: agents that report, declared holders, readers who say nothing, each with a copy of our bundle.

use super::world::World;
use super::{HINT, JWT_TTL, PUBLISHED, TTL};
use crate::authority::draft::end_of_life;
use crate::authority::{Authority, AuthorityKind, AuthorityState, KeyPlan, Keyring};
use crate::crypto::KeyId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use time::OffsetDateTime;

/// A copy of our bundle.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Copy {
    pub(super) sequence: u64,
    pub(super) keys: BTreeSet<KeyId>,
}

impl Copy {
    pub(super) fn of(keyring: &Keyring) -> Self {
        let keys = PUBLISHED.into_iter().flat_map(|kind| keyring.published(kind)).map(Authority::key_id).collect();
        Self { sequence: keyring.published_sequence, keys }
    }

    pub(super) fn at(sequence: u64, keys: &[KeyId]) -> Self {
        Self { sequence, keys: keys.iter().copied().collect() }
    }
}

impl Keyring {
    /// The keys under which something may be valid.
    pub(super) fn have_signed(&self) -> impl Iterator<Item = KeyId> {
        let signed = self.authorities.iter().filter(|one| one.state != AuthorityState::Prepared);
        signed.map(Authority::key_id)
    }
}

/// What somebody shows to others, and which published key it hangs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) hangs_on: KeyId,
    pub(super) signer: KeyId,
    /// What it says of its end.
    pub(super) not_after: OffsetDateTime,
    /// When that is, on a clock that never jumped.
    pub(super) ends: i64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mood {
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
pub(super) struct Agent {
    pub(super) name: String,
    pub(super) mood: Mood,
    pub(super) copy: Copy,
    /// The last time at which its copy was known to be the newest.
    pub(super) fresh_at: i64,
    /// On its way.
    pub(super) coming: Option<(i64, Copy)>,
    pub(super) shows: BTreeMap<AuthorityKind, Shown>,
    pub(super) renews_at: i64,
}

/// Somebody's pasted copy, confirmed by an operator.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) copy: Copy,
    pub(super) confirmed: Option<u64>,
}

/// What somebody reads of us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reads {
    Bundle,
    /// The keys of tokens only, as rarely as the plan counts on.
    KeySet,
}

/// Reads bundle and revocation lists from time to time, without saying so.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) reads: Reads,
    /// The place where a publisher writes; none for one who asks us.
    pub(super) of: Option<usize>,
    pub(super) every: i64,
    pub(super) read_at: i64,
    pub(super) copy: Copy,
    /// The authorities whose lists it has; none where there are no lists.
    pub(super) lists: Option<BTreeSet<KeyId>>,
    /// Whether what it has was not written by us, and we have not noticed yet.
    pub(super) is_misled: bool,
    /// What it may lack until it looks again, since it was misled.
    pub(super) pardons: BTreeSet<KeyId>,
}

impl Reader {
    /// Those who look as often as they are asked to, those who take as long as the slowest mesh, rarer ones, and readers of
    /// key sets; the same where each publisher writes.
    pub(super) fn all(plan: &KeyPlan, publishers: usize, now: i64) -> Vec<Self> {
        let [slowest, keys] = [plan.propagation, slowest(plan, Reads::KeySet)].map(seconds);
        let every = [HINT - 10, HINT - 10, slowest - 10, 4 * slowest].map(|every| (Reads::Bundle, every));
        let every = every.into_iter().chain([(Reads::KeySet, keys - 10)]);
        let places = [None].into_iter().chain((0..publishers).map(Some));
        let of = |of| every.clone().map(move |(reads, every)| Self::new(reads, of, every, now));
        places.flat_map(of).collect()
    }

    fn new(reads: Reads, of: Option<usize>, every: i64, now: i64) -> Self {
        let (copy, pardons) = (Copy::default(), BTreeSet::new());
        Self { reads, of, every, read_at: now, copy, lists: None, is_misled: false, pardons }
    }

    /// Whether it was promised that it meets nothing that it cannot verify: always where it is no slower than the slowest
    /// for whom keys wait, else as long as it has what was there a refresh hint ago.
    pub(super) fn is_served(&self, plan: &KeyPlan, now: i64) -> bool {
        let is_new = self.of.is_none() && now - self.read_at <= HINT;
        !self.is_misled && (self.every <= seconds(slowest(plan, self.reads)) || is_new)
    }
}

/// How long the slowest for whom keys wait takes to look again.
fn slowest(plan: &KeyPlan, reads: Reads) -> Duration {
    match reads {
        Reads::Bundle => plan.propagation,
        Reads::KeySet => plan.propagation.max(plan.jwks_cache),
    }
}

pub(super) fn seconds(span: Duration) -> i64 {
    span.as_secs().try_into().unwrap()
}

impl World {
    /// What is handed out now, and the key of the bundle that it hangs on.
    fn handed_out(&self, memory: &Keyring) -> BTreeMap<AuthorityKind, Shown> {
        let now = self.wall();
        let under = |kind, ttl: i64| {
            let signer = memory.active(kind)?;
            let session_ends_at = now + Duration::from_secs(1 << 30);
            let ttl = Duration::from_secs(ttl.unsigned_abs());
            // Under an upstream that was away for too long nothing is signed any more.
            let (not_after, _) = end_of_life(now, ttl, session_ends_at, signer.not_after).ok()?;
            let (signer, hangs_on) = (signer.key_id(), signer.issuer.unwrap_or(signer.key_id()));
            Some(Shown { hangs_on, signer, not_after, ends: self.now + (not_after - now).whole_seconds() })
        };
        let x509 = under(AuthorityKind::X509Intermediate, TTL).map(|x509| (AuthorityKind::X509Root, x509));
        let jwts = [AuthorityKind::Jwt, AuthorityKind::JwtRs256];
        let jwts = jwts.into_iter().filter_map(|kind| Some((kind, under(kind, JWT_TTL)?)));
        x509.into_iter().chain(jwts).collect()
    }

    fn report(&mut self, name: &str, sequence: u64) {
        let now = self.wall();
        for leader in &mut self.leaders {
            leader.heard.insert(name.to_owned(), (sequence, now));
        }
    }

    /// What an agent does by itself: takes what has come, says so, renews, and is sent what is new.
    fn tick(&mut self, at: usize) {
        let leader = self.chance.of(self.leaders.len());
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
            agent.shows = self.handed_out(&memory);
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

    pub(super) fn join(&mut self) {
        let memory = self.leaders[0].memory.clone();
        let name = format!("agent {}", self.chance.below(1 << 40));
        let mood = if self.chance.one_in(3) { Mood::Slow(self.chance.between(60, 4000)) } else { Mood::Quick };
        let (copy, shows) = (Copy::of(&memory), self.handed_out(&memory));
        self.report(&name, copy.sequence);
        let (fresh_at, renews_at) = (self.now, self.now + TTL / 2);
        self.agents.push(Agent { name, mood, copy, fresh_at, coming: None, shows, renews_at });
    }

    pub(super) fn change_mood(&mut self) {
        let at = self.chance.of(self.agents.len());
        let mood = match self.chance.below(9) {
            0..=4 => Mood::Quick,
            8 => Mood::Stuck,
            5 => Mood::Slow(self.chance.between(60, 4000)),
            6 => Mood::Silent,
            _ => Mood::Dead,
        };
        self.note(format!("{} is {mood:?}", self.agents[at].name));
        self.count(match mood {
            Mood::Quick => "quick agents",
            Mood::Stuck => "stuck agents",
            Mood::Slow(_) => "slow agents",
            Mood::Silent => "silent agents",
            Mood::Dead => "dead agents",
        });
        self.agents[at].mood = mood;
    }

    pub(super) fn confirm_all(&mut self) {
        let copy = Copy::of(&self.leaders[0].memory);
        for declared in &mut self.declared {
            (declared.copy, declared.confirmed) = (copy.clone(), Some(copy.sequence));
        }
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        for at in 0..self.agents.len() {
            self.tick(at);
        }
        self.make_lists();
        (0..self.leaders.len()).for_each(|leader| self.refresh(leader));
        (0..self.publishers.len()).for_each(|publisher| self.publish(publisher));
        let now = self.now;
        for at in 0..self.readers.len() {
            if now - self.readers[at].read_at >= self.readers[at].every {
                self.read(at);
            }
        }
        self.agents.retain(|agent| agent.mood != Mood::Dead || agent.shows.values().any(|shown| shown.ends > now));
    }

    /// A reader looks: at us, or at what stands where a publisher writes.
    pub(super) fn read(&mut self, at: usize) {
        let (newest, lists) = (Copy::of(&self.leaders[0].memory), self.lists.of.clone());
        let reader = &mut self.readers[at];
        let published = reader.of.map(|publisher| &self.publishers[publisher]);
        (reader.copy, reader.lists) = published.map_or((newest, lists), |it| (it.shows.clone(), None));
        (reader.read_at, reader.is_misled) = (self.now, published.is_some_and(|it| !it.is_ours));
        reader.pardons.clear();
        let (reads, every) = (reader.reads, reader.every);
        match reads {
            Reads::KeySet => self.count("reads of key sets"),
            Reads::Bundle if every > HINT => self.count("rare reads"),
            Reads::Bundle => {}
        }
    }

    /// One more set of revocation lists, unless its makers fail; then the last one stands.
    fn make_lists(&mut self) {
        let Some(last) = self.lists.of.clone() else { return };
        // There is one before anybody reads.
        if !last.is_empty() && self.chance.one_in(40) {
            self.lists.fail = !self.lists.fail;
            self.note(format!("revocation lists fail: {}", self.lists.fail));
        }
        if self.lists.fail {
            return self.count("sets that failed");
        }
        let now = self.wall();
        let kinds = [AuthorityKind::X509Root, AuthorityKind::X509Intermediate];
        let of = |keyring: &Keyring| {
            kinds.into_iter().flat_map(|kind| keyring.of_kind(kind)).map(Authority::key_id).collect()
        };
        let set: BTreeSet<KeyId> = of(&self.leaders[0].memory);
        for leader in &mut self.leaders {
            let since = |key: &KeyId| (*key, leader.listed.get(key).copied().unwrap_or(now));
            leader.listed = set.iter().map(since).collect();
        }
        let memory = &self.leaders[0].memory;
        let intermediates = memory.of_kind(AuthorityKind::X509Intermediate).map(Authority::key_id);
        for new in intermediates.filter(|key| !last.contains(key)) {
            self.out_at.insert(new, self.now);
        }
        self.lists.of = Some(set);
    }
}
