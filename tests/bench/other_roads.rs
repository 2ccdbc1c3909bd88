//! What is not a first exchange over a kept connection to a server alone: renewals, connections that are new, replicas that share
//! an etcd; and how long callers wait while a server has seven tenths of what it can do to do.

use crate::callers::{csr, p256, session_channel};
use crate::etcd::Etcd;
use crate::exchange::{IN_FLIGHT, Scene, next, on_every_core, processor_time, unused};
use crate::floor::Floor;
use crate::place::Place;
use crate::server::Server;
use crate::{PAIRS, Pair, calls, print, print_median};
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{ExchangeRequest, RenewRequest};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

/// Sessions that are renewed in turns.
const SESSIONS: u32 = 400;
/// Of what a server can do.
const BUSY: f64 = 0.7;

/// An agent that has not connected yet, and what it will ask.
type Newcomer = (IssuerClient<Channel>, ExchangeRequest);

/// `renew`: what a renewal costs.
pub(crate) fn renew(floor: &Floor) {
    let scene = Scene::new();
    let opened: Vec<Vec<String>> = scene
        .agents
        .iter()
        .map(|agent| {
            let requests = unused(scene.place(), SESSIONS.div_ceil(u32::try_from(scene.agents.len()).unwrap()));
            let mut agent = agent.clone();
            scene.runtime.block_on(async {
                let mut sessions = Vec::new();
                for request in requests {
                    sessions.push(agent.exchange(request).await.unwrap().into_inner().session);
                }
                sessions
            })
        })
        .collect();
    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        eprintln!("pair {pair} of {PAIRS}: {} renewals", calls());
        let csrs = Arc::new(Mutex::new(on_every_core(calls(), || csr(&p256()))));
        let floor = floor.measure_on_all_cores();
        let all = async {
            let mut callers = JoinSet::new();
            for (turn, (agent, sessions)) in scene.agents.iter().zip(&opened).cycle().take(IN_FLIGHT).enumerate() {
                let sessions = sessions.iter().skip(turn % sessions.len()).cloned().collect();
                callers.spawn(renew_in_turns(agent.clone(), sessions, Arc::clone(&csrs)));
            }
            callers.join_all().await;
        };
        pairs.push(Pair { floor, cost: scene.spent(calls(), all).0 });
    }
    print_median("renew", pairs.into_iter());
}

async fn renew_in_turns(mut agent: IssuerClient<Channel>, sessions: Vec<String>, csrs: Arc<Mutex<Vec<Vec<u8>>>>) {
    for session in sessions.iter().cycle() {
        let Some(csr) = next(&csrs) else { return };
        let (session, profile) = (session.clone(), String::new());
        let request = RenewRequest { session, csr: csr.into(), profile, bundle_sequence: 0 };
        agent.renew(request).await.unwrap();
    }
}

/// `exchange_new_tls`: with a connection and a session key for each.
pub(crate) fn new_tls(floor: &Floor) {
    let scene = Scene::new();
    // Each leaves a port in TIME_WAIT, of which there are 28,000.
    let count = calls().min(2000);
    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        eprintln!("pair {pair} of {PAIRS}: {count} tokens of new jobs, each over a connection of its own");
        let requests = unused(scene.place(), count);
        let inside = scene.runtime.enter();
        let agents = requests.into_iter().map(|request| (IssuerClient::new(session_channel(scene.place())), request));
        let agents: Vec<_> = agents.collect();
        drop(inside);
        let agents = Arc::new(Mutex::new(agents));
        let floor = floor.measure_on_all_cores();
        let all = async {
            let mut callers = JoinSet::new();
            for _ in 0..IN_FLIGHT {
                callers.spawn(exchange_each(Arc::clone(&agents)));
            }
            callers.join_all().await;
        };
        pairs.push(Pair { floor, cost: scene.spent(count, all).0 });
    }
    print_median("exchange_new_tls", pairs.into_iter());
}

async fn exchange_each(agents: Arc<Mutex<Vec<Newcomer>>>) {
    while let Some((mut agent, request)) = next(&agents) {
        agent.exchange(request).await.unwrap();
    }
}

/// `exchange_etcd`, `exchange_etcd_2` and `exchange_etcd_3`: by so many replicas on the same cores, and beside each what the one
/// member of etcd costs. All replicas have all agents' calls, in turns.
pub(crate) fn etcd(floor: &Floor) {
    for count in 1..=3 {
        let name = if count == 1 { "exchange_etcd".to_owned() } else { format!("exchange_etcd_{count}") };
        let (etcd, shared) = (Etcd::start(), TempDir::new().unwrap());
        let (scene, member_pid) = (Scene::of(replicas(count, &etcd, &shared)), pid_of_etcd());
        let (mut pairs, mut member, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 1..=PAIRS {
            eprintln!("pair {pair} of {PAIRS}: {} tokens of new jobs for {count} replicas", calls());
            let before = processor_time(member_pid);
            let (pair, rate) = scene.pair(floor);
            let etcds = processor_time(member_pid).saturating_sub(before) / calls();
            member.push(Pair { floor: pair.floor, cost: etcds });
            pairs.push(pair);
            rates.push(rate);
        }
        print_median(&name, pairs.into_iter());
        print_median(&format!("{name}_member"), member.into_iter());
        rates.sort_by(f64::total_cmp);
        print(&format!("{name}_rate"), rates[PAIRS / 2], "1/s", None);
    }
}

/// The only child of ours of that name.
fn pid_of_etcd() -> u32 {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let ours = format!(" {} ", std::process::id());
    let is_it = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(etcd) ")
            && stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.get(1..).is_some_and(|rest| rest.starts_with(&ours)))
    };
    pids.into_iter().find(is_it).unwrap()
}

/// One after the other: each finds what the first has made.
fn replicas(count: usize, etcd: &Etcd, shared: &TempDir) -> Vec<(Place, Server)> {
    let (port, sealing_key) = (etcd.port, shared.path().join("sealing.key"));
    let mut all: Vec<(Place, Server)> = Vec::new();
    for number in 1..=count {
        let place = Place::with(&format!(
            "checkpoints = {{ replica = \"ca-{number}\" }}\nkeys = {{ sealing_key_file = \"{}\" }}\n\
             [store.etcd]\nendpoints = [\"http://127.0.0.1:{port}\"]\n",
            sealing_key.display()
        ));
        if let Some((first, _)) = all.first() {
            fs::write(place.file("jwks.json"), first.issuer.jwks()).unwrap();
        }
        let server = Server::start(&place);
        all.push((place, server));
    }
    all
}

/// `busy_rate`, and how long callers wait then: `busy_latency_p50`, `busy_latency_p99` and the ratio of the two. Calls are due at
/// their times, whatever the answers do, and a latency counts from when its call was due.
pub(crate) fn busy() {
    let scene = Scene::new();
    let mut rates: Vec<f64> = (0..PAIRS).map(|_| scene.window(calls()).1).collect();
    rates.sort_by(f64::total_cmp);
    let rate = rates[PAIRS / 2] * BUSY;
    print("busy_rate", rate, "1/s", None);
    let mut answers = Vec::new();
    for window in 1..=PAIRS {
        eprintln!("window {window} of {PAIRS}: {} tokens of new jobs, {rate:.0} a second", calls());
        answers.extend(scene.runtime.block_on(at_their_times(&scene, rate)));
    }
    let all = u32::try_from(answers.len()).unwrap();
    let mut latencies: Vec<Duration> = answers.into_iter().flatten().collect();
    let refused = all - u32::try_from(latencies.len()).unwrap();
    print("busy_refused", f64::from(refused) / f64::from(all), "share", None);
    latencies.sort();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64();
    print("busy_latency_p50", at(50) * 1e6, "us", None);
    print("busy_latency_p99", at(99) * 1e6, "us", None);
    print("busy_latency_p99_by_p50", at(99) / at(50), "ratio", None);
}

/// How long each waited from when it was due; none who was told to come back, since too many were waiting.
async fn at_their_times(scene: &Scene, rate: f64) -> Vec<Option<Duration>> {
    let (requests, mut under_way) = (unused(scene.place(), calls()), JoinSet::new());
    let (began, pause) = (Instant::now(), Duration::from_secs_f64(1.0 / rate));
    for (number, (request, agent)) in (0_u32..).zip(requests.into_iter().zip(scene.agents.iter().cycle())) {
        let (due, mut agent) = (began + pause * number, agent.clone());
        tokio::time::sleep_until(due.into()).await;
        under_way.spawn(async move {
            match agent.exchange(request).await {
                Ok(_answer) => Some(due.elapsed()),
                Err(status) if status.code() == Code::ResourceExhausted => None,
                Err(status) => panic!("{status}"),
            }
        });
    }
    under_way.join_all().await
}
