//! What an exchange costs beside ten thousand rules of others, and beside millions of issues of the past; takes minutes.
//!
//! As with a crowd of sessions, two servers are measured in turns, one with and one without.

use crate::exchange::Scene;
use crate::place::Place;
use crate::server::Server;
use crate::{calls, print, print_ratios};
use lanyard::clock::SystemClock;
use lanyard::config::{MapEnvironment, load_server};
use lanyard::crypto::Random;
use lanyard::discovery::HttpsFetch;
use lanyard::server::{World, build};
use lanyard::store::{Commit, LocalStore, Room, Store as _};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Of projects of others; each has ten.
const RULES: [u32; 2] = [10, 10_000];
/// Issues that are over, of 3.4 KB each; `LANYARD_PAST_ISSUES` says otherwise.
const PAST: u32 = 1_000_000;
/// An odd number, so that the median is one of them.
const WINDOWS: usize = 21;
const ALONE: u32 = 200;
/// Entries that wait for the disk at once.
const WAITING: u32 = 256;

/// `rules_10000_by_10`, with what is told of all that is measured in turns.
pub(crate) fn rules() {
    let [few, many] = RULES.map(|count| {
        let place = Place::new();
        let own = fs::read_to_string(place.file("policy.toml")).unwrap();
        fs::write(place.file("policy.toml"), others(count) + &own).unwrap();
        Scene::at(place)
    });
    in_turns("rules_10000_by_10", [&many, &few]);
}

/// Rules that stand before ours and concern others.
fn others(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        let (project, at) = (1_000_000 + number / 10, number % 10);
        write!(
            text,
            "[[rule]]\nname = \"p{project} e{at}\"\nid = \"/{{project_path}}/-/environments/e{at}/pipelines/{{pipeline_id}}\"\n\
             when = {{ issuer = \"corp\", project_id = {project}, project_path = \"other/p{project}\", environment = \"e{at}\", environment_protected = true }}\n"
        )
        .unwrap();
    }
    text
}

/// `past_by_none`, the same of a server whose journal tells of so many issues; and how long it takes to start.
pub(crate) fn past() {
    let count = std::env::var("LANYARD_PAST_ISSUES").map_or(PAST, |text| text.parse().unwrap());
    let place = happened(count);
    let began = Instant::now();
    let server = Server::start(&place);
    print("past_start", began.elapsed().as_secs_f64(), "s", None);
    in_turns("past_by_none", [&Scene::of(vec![(place, server)]), &Scene::new()]);
}

/// A place whose journal tells so often what it tells of one exchange: what a server keeps of sessions that are over.
fn happened(count: u32) -> Place {
    let mut scene = Scene::new();
    let pid = scene.servers[0].1.pid();
    let (place, server) = scene.servers.remove(0);
    server.ask_to_end();
    drop(server.wait());
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "the server has ended");
    let entries = entries_of_one(&place);
    let began = Instant::now();
    Runtime::new().unwrap().block_on(remember(&place, entries, count));
    eprintln!("{count} issues written in {:?}", began.elapsed());
    place
}

/// What was to be signed, and that it was.
fn entries_of_one(place: &Place) -> [Box<RawValue>; 2] {
    let journal = place.segments().iter().map(|segment| fs::read_to_string(segment).unwrap()).collect::<String>();
    ["intent", "issued"].map(|kind| {
        // A digest and a blank stand before each text.
        let lines = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line.get(65..)?).ok());
        let entry = lines.map(|mut line| line["entry"].take()).find(|entry| entry["kind"] == kind);
        serde_json::value::to_raw_value(&entry.unwrap_or_else(|| panic!("the journal tells of no {kind}"))).unwrap()
    })
}

async fn remember(place: &Place, entries: [Box<RawValue>; 2], count: u32) {
    let settings = load_server(&place.config(), &MapEnvironment::default()).unwrap();
    let fetch = Arc::new(HttpsFetch::new(None).unwrap());
    let world = World { clock: Arc::new(SystemClock), random: Random::system(), fetch };
    let store = Arc::<LocalStore>::clone(&build(&settings, world).await.unwrap().store);
    let (written, mut callers) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
    for _ in 0..WAITING {
        callers.spawn(write((Arc::clone(&store), entries.clone()), Arc::clone(&written), count));
    }
    callers.join_all().await;
    store.close();
}

/// One of those who write, until as many are written.
async fn write((store, entries): (Arc<LocalStore>, [Box<RawValue>; 2]), written: Arc<AtomicU32>, count: u32) {
    while written.fetch_add(1, Ordering::Relaxed) < count {
        for entry in entries.clone() {
            let (conditions, writes) = (Vec::new(), Vec::new());
            let commit = Commit { room: Room::Common, conditions, writes, entry, without_quorum: None };
            store.commit(commit).await.unwrap();
        }
    }
}

/// Cost, rate, latency and memory of the first by those of the second; who is last in one window is first in the next.
fn in_turns(name: &str, scenes: [&Scene; 2]) {
    let (mut costs, mut rates, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    for window in 0..WINDOWS {
        eprintln!("window {} of {WINDOWS}", window + 1);
        let measure = |scene: &Scene| (scene.window(calls()), scene.latency(ALONE.min(calls())));
        let [first, second] = scenes;
        let (((cost, rate), latency), ((other_cost, other_rate), other_latency)) = if window % 2 == 0 {
            let measured = measure(first);
            (measured, measure(second))
        } else {
            let other = measure(second);
            (measure(first), other)
        };
        costs.push(cost.as_secs_f64() / other_cost.as_secs_f64());
        rates.push(rate / other_rate);
        latencies.push(latency.as_secs_f64() / other_latency.as_secs_f64());
    }
    print_ratios(&format!("{name}_cost"), costs);
    print_ratios(&format!("{name}_rate"), rates);
    print_ratios(&format!("{name}_latency"), latencies);
    let [first, second] = scenes.map(|scene| f64::from(u32::try_from(scene.memory()).unwrap()));
    print(&format!("{name}_memory"), first / second, "ratio", None);
    print(&format!("{name}_memory_more"), (first - second) / 1024.0, "MiB", None);
}
