//! What an exchange costs: one JSON object a line, each beside the floor F of raw cryptography measured in the same run.
//!
//! `cargo bench --bench road [-- NAME…]`. Prints and judges nothing: a busy machine must not turn a build red. Every
//! number is the median of seven pairs, the floor measured right before the thing. Costs are processor time, latencies
//! are the caller's wait. `LANYARD_BENCH_CALLS=100` asks for fewer calls than 5,000 each time, to see that it runs.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what cannot be measured ends the run"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that measures, for people")]
#![expect(clippy::disallowed_methods, reason = "it measures real time, of real processes")]

#[expect(dead_code, reason = "shared with the stories, which use more of it")]
#[path = "../support/issuer.rs"]
mod issuer;
#[expect(dead_code, reason = "the process tests use the rest")]
#[path = "../process/callers.rs"]
mod callers;
#[expect(dead_code, reason = "the process tests use the rest")]
#[path = "../process/place.rs"]
mod place;
#[expect(dead_code, reason = "the process tests use the rest")]
#[path = "../process/server.rs"]
mod server;

#[expect(dead_code, reason = "shared with the stories, which use more of it")]
#[path = "../support/harness.rs"]
mod harness;

#[expect(dead_code, reason = "the tests of stores use the rest")]
#[path = "../support/etcd.rs"]
mod etcd;

mod beside;
mod crowd;
mod exchange;
mod floor;
mod issuing_core;
mod needs;
mod other_roads;
mod simulation;

use floor::Floor;
use lanyard::crypto::install_providers;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Odd, so that the median is one of them.
const PAIRS: usize = 7;

/// The kernel counts processor time in hundredths of a second: so many calls make an error of a tick two per cent or less.
const CALLS: u32 = 5000;

/// What can be measured; only those up to the first that takes minutes unless they are named.
const NAMES: [&str; 12] = [
    "floor",
    "issuing_core",
    "exchange",
    "renew",
    "exchange_new_tls",
    "exchange_etcd",
    "busy",
    "crowd",
    "needs",
    "rules",
    "past",
    "simulation",
];
const QUICK: usize = 7;

fn main() {
    // Cargo hands its own `--bench` along; a name chooses, and a part of one all that have it.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |name: &&&str| match &wanted[..] {
        [] => NAMES[..QUICK].contains(name),
        wanted => wanted.iter().any(|wanted| {
            let is_one = NAMES.contains(&wanted.as_str());
            if is_one { wanted == **name } else { name.contains(wanted.as_str()) || wanted.contains(**name) }
        }),
    };
    install_providers();
    let floor = Floor::new();
    floor.measure();
    for name in NAMES.iter().filter(wants) {
        match *name {
            "floor" => {
                let pair = |_| Pair { floor: floor.measure(), cost: floor.measure_on_all_cores() };
                let pairs: Vec<Pair> = (0..PAIRS).map(pair).collect();
                print_median("floor", pairs.iter().map(|pair| Pair { cost: pair.floor, ..*pair }));
                print_median("floor_on_all_cores", pairs.into_iter());
            }
            "issuing_core" => {
                let core = issuing_core::IssuingCore::new();
                core.measure();
                let pairs = (0..PAIRS).map(|_| Pair { floor: floor.measure(), cost: core.measure() });
                print_median("issuing_core", pairs);
            }
            "exchange" => exchange::measure(&floor),
            "renew" => other_roads::renew(&floor),
            "exchange_new_tls" => other_roads::new_tls(&floor),
            "exchange_etcd" => other_roads::etcd(&floor),
            "busy" => other_roads::busy(),
            "crowd" => crowd::measure(),
            "needs" => needs::measure(),
            "rules" => beside::rules(),
            "past" => beside::past(),
            "simulation" => simulation::measure(),
            other => panic!("{other} has a name and no measurement"),
        }
    }
}

/// So many calls each time.
fn calls() -> u32 {
    std::env::var("LANYARD_BENCH_CALLS").map_or(CALLS, |text| text.parse().unwrap())
}

/// `RssAnon` of a process, in KiB.
fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Processor time of this thread per turn: on a machine shared with others the clock on the wall also counts their turns.
fn processor_time_of(turns: u32, work: impl FnOnce()) -> Duration {
    let before = thread_time();
    work();
    thread_time().saturating_sub(before) / turns
}

/// The first number of `schedstat` is nanoseconds on a processor (Linux, Documentation/scheduler/sched-stats.rst).
fn thread_time() -> Duration {
    time_in(Path::new("/proc/thread-self/schedstat"))
}

fn time_in(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// One measurement and the floor of its moment.
#[derive(Clone, Copy)]
struct Pair {
    floor: Duration,
    cost: Duration,
}

impl Pair {
    fn ratio(self) -> f64 {
        self.cost.as_secs_f64() / self.floor.as_secs_f64()
    }
}

/// Prints the pair in the middle, by its ratio: what disturbs the machine disturbs both of a pair.
fn print_median(name: &str, pairs: impl Iterator<Item = Pair>) -> Pair {
    let mut pairs: Vec<Pair> = pairs.collect();
    pairs.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let median = pairs[pairs.len() / 2];
    let micros = median.cost.as_secs_f64() * 1e6;
    print(name, micros, "us", Some(median.ratio()));
    median
}

/// Prints the ratio in the middle, and between which two the middle half of them lies.
fn print_ratios(name: &str, mut ratios: Vec<f64>) {
    ratios.sort_by(f64::total_cmp);
    let at = |quarter: usize| ratios[(ratios.len() - 1) * quarter / 4];
    print(name, at(2), "ratio", None);
    print(&format!("{name}_lower_quarter"), at(1), "ratio", None);
    print(&format!("{name}_upper_quarter"), at(3), "ratio", None);
}

/// One line.
fn print(name: &str, value: f64, unit: &str, floor_ratio: Option<f64>) {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let line = json!({
        "name": name, "value": rounded(value), "unit": unit, "floor_ratio": floor_ratio.map(rounded),
    });
    println!("{line}");
}
