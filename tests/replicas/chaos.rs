//! Random faults under load, from a seed: whatever dies or is cut off, the promises hold, and answers come back soon.

use crate::fleet::{Fleet, MEMBERS, REPLICAS, ctl, wait_for_quorum};
use crate::issuer::FakeIssuer;
use crate::journal::intents;
use crate::lab::{Starved, link, runs_in_lab};
use crate::load::{Load, pick};
use crate::server::{audit_verify, lanyard, words};
use lanyard::crypto::Random;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// From a quorum to the first answer of each replica that lives and reaches it, the answer included (issue).
const RESUMES_WITHIN: Duration = Duration::from_secs(3);
/// For how long a fault lasts: mostly for less than an election takes, now and then longer than a lease lives.
const LASTS: [Duration; 8] = [
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_millis(700),
    Duration::from_secs(1),
    Duration::from_millis(1500),
    Duration::from_millis(2100),
    Duration::from_secs(3),
    Duration::from_secs(7),
];
/// Callers at the same time: enough for commits to go together.
const CALLERS: u64 = 12;
/// The one that runs by default; another is tried with `LANYARD_TEST_SEED`, for `LANYARD_TEST_SECONDS` instead of three minutes.
const SEED: u64 = 20_261_122;

/// What happens to somebody for a while.
#[derive(Debug)]
enum Fault {
    Blackhole {
        from: usize,
        to: usize,
    },
    Compact,
    FreezeMember(usize),
    KillMember(usize),
    KillReplica(usize),
    LinkDown(usize),
    MoveLeader,
    PrepareKeys,
    /// All members hold again what they held a while ago.
    Restore,
    Save,
    /// A replica starts anew with a clock that is off by so many seconds.
    WrongClock(usize, i64),
}

impl Fault {
    fn by(chance: &Random) -> Self {
        let node = pick(chance, MEMBERS + REPLICAS);
        match pick(chance, 21) / 2 {
            0 => Self::Blackhole { from: node, to: pick(chance, MEMBERS) },
            1 => Self::Compact,
            2 => Self::FreezeMember(node % MEMBERS),
            3 => Self::KillMember(node % MEMBERS),
            4 => Self::KillReplica(node % REPLICAS),
            5 => Self::LinkDown(node),
            6 => Self::MoveLeader,
            7 => Self::PrepareKeys,
            8 => Self::Save,
            // Less than what is taken, and so much that nothing may be written.
            9 => Self::WrongClock(node % REPLICAS, [-300, -9, -5, 5, 9][pick(chance, 5)]),
            // Half as often as the others.
            _ => Self::Restore,
        }
    }

    fn begin(&self, fleet: &mut Fleet) {
        match *self {
            Self::Blackhole { from, to } => fleet.lab.lose(from, to),
            Self::Compact => compact(),
            Self::FreezeMember(member) => fleet.freeze_member(member, true),
            Self::KillMember(member) => fleet.kill_member(member),
            Self::KillReplica(replica) => fleet.kill_replica(replica),
            Self::LinkDown(node) => link(node, false),
            Self::MoveLeader => move_leader(),
            Self::PrepareKeys => prepare_keys(fleet),
            Self::Restore => fleet.restore_snapshot(),
            Self::Save => {
                let _saved = fleet.save_snapshot();
            }
            Self::WrongClock(replica, offset) => {
                fleet.kill_replica(replica);
                fleet.start_replica_at(replica, offset);
            }
        }
    }

    fn end(&self, fleet: &mut Fleet) {
        match *self {
            Self::Blackhole { from, to } => fleet.lab.find(from, to),
            Self::FreezeMember(member) => fleet.freeze_member(member, false),
            Self::KillMember(member) => fleet.start_member(member),
            Self::KillReplica(replica) => fleet.start_replica(replica),
            Self::LinkDown(node) => link(node, true),
            Self::WrongClock(replica, _) => {
                fleet.kill_replica(replica);
                fleet.start_replica(replica);
            }
            Self::Compact | Self::MoveLeader | Self::PrepareKeys | Self::Restore | Self::Save => {}
        }
    }

    /// A process that was started again is not there at once.
    const fn restarted(&self) -> Option<usize> {
        match self {
            Self::KillReplica(replica) | Self::WrongClock(replica, _) => Some(*replica),
            Self::Blackhole { .. }
            | Self::Compact
            | Self::FreezeMember(_)
            | Self::KillMember(_)
            | Self::LinkDown(_)
            | Self::MoveLeader
            | Self::PrepareKeys
            | Self::Restore
            | Self::Save => None,
        }
    }
}

fn compact() {
    let status = (0..MEMBERS).find_map(|member| ctl(member, &["endpoint", "status", "--write-out=json"]));
    let status: Value = serde_json::from_str(&status.unwrap()).unwrap();
    let revision = status[0]["Status"]["header"]["revision"].as_u64().unwrap().to_string();
    let _done = (0..MEMBERS).find_map(|member| ctl(member, &["compact", &revision]));
}

fn move_leader() {
    let status = |member| ctl(member, &["endpoint", "status", "--write-out=json"]);
    let all: Vec<Value> = (0..MEMBERS).filter_map(status).map(|one| serde_json::from_str(&one).unwrap()).collect();
    let id = |one: &Value| one[0]["Status"]["header"]["member_id"].as_u64().unwrap();
    let leader = all.first().and_then(|one| one[0]["Status"]["leader"].as_u64());
    // One that was started again just now may not have answered.
    let Some(other) = all.iter().map(id).find(|one| Some(*one) != leader) else { return };
    // Only the leader obeys.
    let _moved = (0..MEMBERS).find_map(|member| ctl(member, &["move-leader", &format!("{other:x}")]));
}

/// At two replicas at the same moment: one may be told to ask again.
fn prepare_keys(fleet: &Fleet) {
    let prepare = |replica: usize| {
        let mut command = lanyard();
        command.args(["authority", "prepare", "--kind", "jwt", "--admin-socket"]);
        let quiet = (Stdio::null(), Stdio::null());
        command.arg(fleet.places[replica].data().join("admin.sock")).stdout(quiet.0).stderr(quiet.1).spawn().unwrap()
    };
    for mut one in [prepare(0), prepare(1)] {
        assert!(one.wait().unwrap().code().is_some());
    }
}

/// How long it took until each replica had given an identity to somebody who asks it again and again from now on.
async fn all_answer(load: &Load) -> Vec<Duration> {
    let asked = (0..REPLICAS).map(|replica| {
        let (load, healed) = (load.clone(), Instant::now());
        tokio::spawn(async move {
            while !load.one(replica).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            healed.elapsed()
        })
    });
    let asked: Vec<_> = asked.collect();
    let mut after = Vec::new();
    for one in asked {
        after.push(one.await.unwrap());
    }
    after
}

/// Faults for so long; how long answers took to come back.
async fn storm(fleet: &mut Fleet, load: &Load, (seed, lasts): (u64, Duration)) -> Vec<Duration> {
    let (chance, began, mut resumed, starved) = (Random::seeded(seed), Instant::now(), Vec::new(), Starved::watch());
    assert!(fleet.save_snapshot(), "no snapshot");
    while began.elapsed() < lasts {
        let fault = Fault::by(&chance);
        fault.begin(fleet);
        tokio::time::sleep(LASTS[pick(&chance, LASTS.len())]).await;
        fault.end(fleet);
        wait_for_quorum(Duration::from_secs(20));
        if let Some(replica) = fault.restarted() {
            fleet.wait_for_replica(replica);
        }
        let _before = starved.take();
        let after = all_answer(load).await;
        println!("{fault:?}: answers after {after:?}; this process was late by {:?} at most", starved.take());
        if let Some(replica) = after.iter().position(|after| *after > RESUMES_WITHIN) {
            panic!("replica {replica} answered {:?} after {fault:?}:\n{}", after[replica], fleet.last_words(replica));
        }
        resumed.extend(after);
    }
    resumed
}

/// What was told to jobs, against journals, keys and what all replicas say now.
async fn judge(fleet: &Fleet, load: &Load) {
    let (sessions, serials, broken, origins) = {
        let told = load.told();
        (told.sessions.clone(), told.serials.clone(), told.broken.clone(), told.origins.clone())
    };
    let all_of = |told: &String| {
        let session = told.split(' ').nth(1).unwrap();
        format!("{:?}\n{}", origins[session], fleet.all_of(session))
    };
    let of_broken: Vec<_> = broken.iter().map(all_of).collect();
    assert!(broken.is_empty(), "{broken:#?}\n{}", of_broken.join("\n\n"));
    assert!(sessions.len() > 50, "there was no load: {} sessions", sessions.len());
    for (number, (caller, session)) in sessions.iter().enumerate() {
        if let Err(code) = caller.renew(number % REPLICAS, session).await {
            panic!("session {session}, {number} of {}: {code}\n{}", sessions.len(), fleet.all_of(session));
        }
    }
    let recorded: Vec<_> = fleet.places.iter().map(intents).collect();
    let missing: Vec<_> = serials.iter().filter(|one| !recorded.iter().any(|all| all.contains(*one))).collect();
    assert!(missing.is_empty(), "{} of {} identities are in no journal", missing.len(), serials.len());
    for place in &fleet.places {
        let verified = audit_verify(place);
        assert!(verified.status.success(), "{}", words(&verified));
        let keyring: Value =
            serde_json::from_slice(&std::fs::read(place.data().join("keyring.json")).unwrap()).unwrap();
        let mut active = BTreeMap::new();
        for key in keyring["authorities"].as_array().unwrap().iter().filter(|key| key["state"] == "active") {
            *active.entry(key["kind"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        assert!(active.values().all(|count| *count == 1), "{active:?}");
    }
    println!("{} sessions, {} identities, all recorded", sessions.len(), serials.len());
}

async fn play(lasts: Duration) {
    let seed = std::env::var("LANYARD_TEST_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let issuer = Arc::new(FakeIssuer::new());
    let mut fleet = Fleet::start(&issuer);
    let load = Load::new(issuer, (0..REPLICAS).map(|replica| fleet.way(replica)).collect());
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(load.clone().run(seed + caller));
    }
    let mut resumed = storm(&mut fleet, &load, (seed, lasts)).await;
    load.stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    judge(&fleet, &load).await;
    resumed.sort();
    let (slowest, median) = (resumed.last().unwrap(), resumed[resumed.len() / 2]);
    println!(
        "seed {seed}: {} answers after a quorum, after {slowest:?} at the latest, {median:?} in the median",
        resumed.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_under_load_break_no_promise() {
    if runs_in_lab("chaos::random_faults_under_load_break_no_promise") {
        let seconds = std::env::var("LANYARD_TEST_SECONDS").map_or(180, |seconds| seconds.parse().unwrap());
        play(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half an hour: tests/run --all"]
async fn random_faults_for_half_an_hour_break_no_promise() {
    if runs_in_lab("chaos::random_faults_for_half_an_hour_break_no_promise") {
        play(Duration::from_secs(1800)).await;
    }
}
