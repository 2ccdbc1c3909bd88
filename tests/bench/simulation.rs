//! What more machines would do than there are: a simulation, by service times that were measured in the same run, and nothing of it
//! measured. Calls come at random times (Poisson) at replicas in turns; each takes its processor time on the first free core
//! of its replica, then waits for a commit that all who came meanwhile share. Networks, etcd and callers cost nothing here.

use crate::exchange::Scene;
use crate::{calls, print};
use serde_json::json;
use std::time::Duration;

/// Of each replica.
const CORES: usize = 2;
const REPLICAS: [usize; 3] = [1, 3, 10];
const PER_SECOND: [u32; 6] = [10, 100, 1000, 3000, 10_000, 30_000];
/// So many calls of each case.
const CALLS: u32 = 200_000;
const ALONE: u32 = 400;
/// Beyond that share of all cores, waits grow without an end.
const SATURATED: f64 = 0.95;

/// `simulated`: a line for each case.
pub(crate) fn measure() {
    let scene = Scene::new();
    let (cost, latency) = (scene.window(calls()).0, scene.latency(ALONE));
    let commit = latency.saturating_sub(cost);
    print("simulated_by_cost", cost.as_secs_f64() * 1e6, "us", None);
    print("simulated_by_commit", commit.as_secs_f64() * 1e6, "us", None);
    for replicas in REPLICAS {
        for per_second in PER_SECOND {
            told(replicas, per_second, (cost, commit));
        }
    }
}

fn told(replicas: usize, per_second: u32, times: (Duration, Duration)) {
    let cores = f64::from(u32::try_from(replicas * CORES).unwrap());
    let busy = f64::from(per_second) * times.0.as_secs_f64() / cores;
    let named = json!({ "name": "simulated", "replicas": replicas, "cores": CORES, "per_second": per_second });
    let mut line = named.as_object().unwrap().clone();
    line.insert("busy".to_owned(), json!((busy * 1000.0).round() / 1000.0));
    if busy < SATURATED {
        let waits = waits(replicas, per_second, times);
        let at = |percent: usize| (waits[(waits.len() - 1) * percent / 100] * 1e6).round();
        line.extend([("p50_us".to_owned(), json!(at(50))), ("p99_us".to_owned(), json!(at(99)))]);
    }
    println!("{}", json!(line));
}

/// How long each call takes, in seconds, the shortest first.
fn waits(replicas: usize, per_second: u32, (cost, commit): (Duration, Duration)) -> Vec<f64> {
    let mut all: Vec<_> =
        (0..replicas).map(|_| Replica { cores: [0.0; CORES], commit_ends: 0.0, waiting: false }).collect();
    let (mut chance, mut now) = (Chance(0x9E37_79B9_7F4A_7C15), 0.0);
    let mut waits: Vec<f64> = (0..CALLS)
        .map(|_| {
            now -= chance.next().ln() / f64::from(per_second);
            let which = (chance.next() * f64::from(u32::try_from(replicas).unwrap())).floor();
            let replica = all.iter_mut().zip(0_u32..).find(|(_, number)| f64::from(*number) >= which).unwrap().0;
            replica.serve(now, (cost.as_secs_f64(), commit.as_secs_f64())) - now
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    waits
}

struct Replica {
    /// When each is free.
    cores: [f64; CORES],
    /// When the commit under way ends; before the first, in the past.
    commit_ends: f64,
    /// Whether somebody waits for the one after it.
    waiting: bool,
}

impl Replica {
    /// When a call that comes now is answered.
    fn serve(&mut self, now: f64, (cost, commit): (f64, f64)) -> f64 {
        let free = self.cores.iter_mut().min_by(|one, other| one.total_cmp(other)).unwrap();
        let worked = free.max(now) + cost;
        *free = worked;
        if self.waiting && worked >= self.commit_ends {
            (self.commit_ends, self.waiting) = (self.commit_ends + commit, false);
        }
        if worked >= self.commit_ends {
            self.commit_ends = worked + commit;
            return self.commit_ends;
        }
        self.waiting = true;
        self.commit_ends + commit
    }
}

/// The same numbers each time (xorshift64*), above 0 and up to 1.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap();
        (f64::from(bits) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }
}
