//! Kill -9 at random points under load: every identity handed out is on record, the journal stays whole, and no token
//! admits a second key, with the index that was there or with none.

use crate::callers::{Caller, Door, Outcome, now};
use crate::journal;
use crate::place::Place;
use crate::server::{Server, audit_verify, words};
use lanyard::crypto::Random;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// As many as finish in a minute; `LANYARD_CRASH_ROUNDS` says otherwise.
const ROUNDS: usize = 20;
/// A journal is verified from its first record in each round, so it must not grow for ever.
const ROUNDS_IN_A_PLACE: usize = 20;
const LOADERS: usize = 8;
const AGENTS: usize = 4;
/// How many tokens of the past are offered again in each round.
const SAMPLE: usize = 32;
/// Long enough for some hundred exchanges, short enough that start-up is under load too.
const LOAD_AT_MOST: Duration = Duration::from_millis(700);
/// Longer than a start takes, so that some kills come before it is done.
const START_AT_MOST: Duration = Duration::from_millis(150);

#[test]
fn no_kill_loses_an_identity_or_gives_a_token_a_second_key() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = number("LANYARD_CRASH_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let seed = number("LANYARD_CRASH_SEED").unwrap_or_else(|| u64::from_be_bytes(Random::system().bytes()));
    campaigns(rounds, seed, &Campaign { segment_bytes: "256KiB", starts_killed: 64, index_lost_every: 3 });
}

#[test]
fn no_kill_in_a_checkpoint_or_while_the_index_is_made_anew_does_either() {
    let seed = u64::from_be_bytes(Random::system().bytes());
    // Every exchange ends a segment, so that most kills meet a checkpoint or the turn to the next segment.
    campaigns(8, seed, &Campaign { segment_bytes: "2KiB", starts_killed: 255, index_lost_every: 1 });
}

/// What the rounds of a place are like.
struct Campaign {
    segment_bytes: &'static str,
    /// Of 256 starts so many are killed before they are done.
    starts_killed: u8,
    index_lost_every: usize,
}

fn campaigns(rounds: usize, seed: u64, like: &Campaign) {
    println!("{rounds} rounds; kill points from LANYARD_CRASH_SEED={seed}");
    let random = Random::seeded(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for first in (0..rounds).step_by(ROUNDS_IN_A_PLACE) {
        let rounds = ROUNDS_IN_A_PLACE.min(rounds - first);
        runtime.block_on(campaign(rounds, like, &random));
    }
}

/// Some rounds of load and death in one folder.
async fn campaign(rounds: usize, like: &Campaign, random: &Random) {
    // Small segments, so that checkpoints are written, and read, all the time.
    let place = Arc::new(Place::with(&format!("segment_bytes = \"{}\"", like.segment_bytes)));
    let mut server = Server::start(&place);
    let world = Arc::new(World {
        door: Door::of(&place),
        agents: (0..AGENTS).map(|_| Arc::new(Caller::agent(&place))).collect(),
        place: Arc::clone(&place),
        random: random.clone(),
        over: AtomicBool::new(false),
    });
    let (mut past, mut serials): (Vec<Offered>, _) = (Vec::new(), BTreeSet::new());
    for round in 1..=rounds {
        let fresh = load_until_killed(&world, server).await;
        serials.extend(fresh.iter().flat_map(|offered| offered.serials.iter().cloned()));
        let issued = serials.len();
        must_be_whole(&place, &serials);
        if round % like.index_lost_every == 0 {
            fs::remove_dir_all(place.data().join("index")).unwrap();
        }
        if random.bytes::<1>() < [like.starts_killed] {
            let starting = Server::spawn(&place.config());
            tokio::time::sleep(random.jitter(START_AT_MOST)).await;
            starting.kill();
        }
        server = Server::start(&place);
        let fresh_count = fresh.len();
        past.extend(fresh);
        offer_again(&world, &mut past, fresh_count, &mut serials).await;
        must_be_whole(&place, &serials);
        println!("round {round}: {fresh_count} tokens offered, {issued} identities on record");
    }
    assert!(!serials.is_empty(), "the load got no identity at all");
}

/// What the loaders share.
struct World {
    place: Arc<Place>,
    door: Door,
    agents: Vec<Arc<Caller>>,
    random: Random,
    over: AtomicBool,
}

/// One token, who offered it, and what came of it.
struct Offered {
    token: String,
    callers: [Arc<Caller>; 2],
    winner: Option<usize>,
    losers: BTreeSet<usize>,
    serials: Vec<String>,
}

impl Offered {
    /// A token offered by nobody yet.
    fn new(world: &World) -> Self {
        let callers = [world.somebody(), world.somebody()];
        let callers = match callers {
            [a, b] if Arc::ptr_eq(&a, &b) => [a, Arc::new(Caller::curl())],
            different => different,
        };
        Self {
            token: world.place.issuer.token(now()),
            callers,
            winner: None,
            losers: BTreeSet::new(),
            serials: Vec::new(),
        }
    }

    /// Notes an answer; it must fit all that were given before, also by servers long dead.
    fn note(&mut self, caller: usize, outcome: Outcome) {
        match outcome {
            Outcome::Issued(serial) => {
                assert!(!self.losers.contains(&caller), "a key was refused first and admitted later");
                assert!(self.winner.is_none_or(|winner| winner == caller), "a second key was admitted: {}", self.token);
                self.winner = Some(caller);
                self.serials.push(serial);
            }
            Outcome::Refused(code) => panic!("a genuine token was refused: {code}"),
            Outcome::Replayed => {
                assert!(self.winner != Some(caller), "the key that was admitted is refused now: {}", self.token);
                self.losers.insert(caller);
                assert!(self.losers.len() < 2, "both keys were refused: {}", self.token);
            }
            Outcome::Silence => {}
        }
    }
}

impl World {
    fn somebody(&self) -> Arc<Caller> {
        let [chance] = self.random.bytes();
        match self.agents.get(usize::from(chance) % (2 * AGENTS)) {
            Some(agent) => Arc::clone(agent),
            None => Arc::new(Caller::curl()),
        }
    }

    /// Offers new tokens until the server is dead, every other one by two callers at once.
    async fn load(self: Arc<Self>) -> Vec<Offered> {
        let mut all = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            let mut offered = Offered::new(&self);
            let outcomes = self.offer_new(&offered).await;
            for (caller, outcome) in outcomes.into_iter().enumerate() {
                offered.note(caller, outcome);
            }
            all.push(offered);
        }
        all
    }

    async fn offer_new(&self, offered: &Offered) -> [Outcome; 2] {
        let [first, second] = offered.callers.each_ref().map(|caller| caller.offer(&offered.token, &self.door));
        if self.random.bytes::<1>() < [128] {
            // The second caller was never asked.
            return [first.await, Outcome::Silence];
        }
        tokio::join!(first, second).into()
    }

    /// Offers a token to a server that runs, again if a connection of before is noticed to be dead only now.
    async fn offer(&self, offered: &Offered, caller: usize) -> Outcome {
        for _ in 0..100 {
            let answer = offered.callers[caller].offer(&offered.token, &self.door).await;
            if answer != Outcome::Silence {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("a running server does not answer")
    }
}

async fn load_until_killed(world: &Arc<World>, server: Server) -> Vec<Offered> {
    world.over.store(false, Ordering::Relaxed);
    let mut loaders = JoinSet::new();
    for _ in 0..LOADERS {
        loaders.spawn(Arc::clone(world).load());
    }
    tokio::time::sleep(world.random.jitter(LOAD_AT_MOST)).await;
    // Told before the blow, so that all who still wait for an answer stop after it.
    world.over.store(true, Ordering::Relaxed);
    server.kill();
    loaders.join_all().await.into_iter().flatten().collect()
}

/// What the journal says, dead or alive: whole, and holding every identity that anybody got.
fn must_be_whole(place: &Place, serials: &BTreeSet<String>) {
    let verified = audit_verify(place);
    assert!(verified.status.success(), "{}", words(&verified));
    let intents = journal::intents(place);
    let unrecorded: Vec<_> = serials.difference(&intents).collect();
    assert!(unrecorded.is_empty(), "handed out and not on record: {unrecorded:?}");
}

/// Offers to the new server what the old one left open, and a sample of all that was settled before.
async fn offer_again(world: &World, past: &mut [Offered], fresh: usize, serials: &mut BTreeSet<String>) {
    let mut again: BTreeSet<usize> = (past.len() - fresh..past.len()).filter(|at| past[*at].winner.is_none()).collect();
    for _ in 0..SAMPLE.min(past.len()) {
        again.insert(usize::from_be_bytes(world.random.bytes()) % past.len());
    }
    for at in again {
        // The one who should lose asks first.
        let order = if past[at].winner == Some(0) { [1, 0] } else { [0, 1] };
        for caller in order {
            let outcome = world.offer(&past[at], caller).await;
            past[at].note(caller, outcome);
        }
        assert!(past[at].winner.is_some() && past[at].losers.len() == 1, "one key is admitted, one refused");
        serials.extend(past[at].serials.iter().cloned());
    }
}
