//! First exchanges with the real server: sled, durable journal, policy and metrics on, kept TLS with session keys, gRPC.

use crate::callers::{csr, now, p256, session_channel};
use crate::floor::Floor;
use crate::memory_of;
use crate::place::Place;
use crate::server::Server;
use crate::{PAIRS, Pair, calls, print, print_median};
use lanyard::wire::lanyard::ExchangeRequest;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// A host's agents each keep one connection.
pub(crate) const CONNECTIONS: usize = 8;
pub(crate) const IN_FLIGHT: usize = 64;
const ALONE: u32 = 400;
/// `USER_HZ`, the unit of `/proc/PID/stat`, is 100 on every Linux that we build for.
const TICK: Duration = Duration::from_millis(10);

/// Tokens nobody has used yet, with the CSRs that go along.
pub(crate) type Unused = Vec<ExchangeRequest>;

/// Servers that share what they know, or one; with agents that are connected and warm.
pub(crate) struct Scene {
    pub(crate) runtime: Runtime,
    pub(crate) servers: Vec<(Place, Server)>,
    pub(crate) agents: Vec<IssuerClient<Channel>>,
}

impl Scene {
    /// A server of its own.
    pub(crate) fn new() -> Self {
        Self::at(Place::new())
    }

    /// A server at this place.
    pub(crate) fn at(place: Place) -> Self {
        let server = Server::start(&place);
        Self::of(vec![(place, server)])
    }

    /// Agents that are at these in turns; all believe the issuer of the first.
    pub(crate) fn of(servers: Vec<(Place, Server)>) -> Self {
        let runtime = Runtime::new().unwrap();
        let agents = {
            let _inside = runtime.enter();
            let places = servers.iter().map(|(place, _)| place).cycle();
            places.take(CONNECTIONS).map(|place| IssuerClient::new(session_channel(place))).collect()
        };
        let scene = Self { runtime, servers, agents };
        scene.fill(calls() / 5);
        scene
    }

    /// Where tokens come from.
    pub(crate) fn place(&self) -> &Place {
        &self.servers[0].0
    }

    /// Opens so many sessions.
    pub(crate) fn fill(&self, sessions: u32) {
        self.window(sessions);
    }

    /// A measurement beside the floor of its moment, and how many exchanges there were in a second.
    pub(crate) fn pair(&self, floor: &Floor) -> (Pair, f64) {
        let requests = unused(self.place(), calls());
        let floor = floor.measure_on_all_cores();
        let (cost, rate) = self.exchange(requests);
        (Pair { floor, cost }, rate)
    }

    /// What each of so many exchanges costs, and how many there were in a second.
    pub(crate) fn window(&self, exchanges: u32) -> (Duration, f64) {
        self.exchange(unused(self.place(), exchanges))
    }

    fn exchange(&self, requests: Unused) -> (Duration, f64) {
        let count = u32::try_from(requests.len()).unwrap();
        self.spent(count, exchange_all(&self.agents, requests))
    }

    /// What each of so many calls costs the servers, and how many there were in a second.
    pub(crate) fn spent(&self, count: u32, calls: impl Future<Output = ()>) -> (Duration, f64) {
        let all = || self.servers.iter().map(|(_, server)| processor_time(server.pid())).sum::<Duration>();
        let (before, start) = (all(), Instant::now());
        self.runtime.block_on(calls);
        let (after, took) = (all(), start.elapsed());
        (after.saturating_sub(before) / count, f64::from(count) / took.as_secs_f64())
    }

    /// How long one caller waits in the middle of so many calls.
    pub(crate) fn latency(&self, exchanges: u32) -> Duration {
        let requests = unused(self.place(), exchanges);
        self.runtime.block_on(median_latency(self.agents[0].clone(), requests))
    }

    /// What the servers keep in memory, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.servers.iter().map(|(_, server)| memory_of(server.pid())).sum()
    }
}

impl Drop for Scene {
    /// Ends as a server ends that is asked to: only then does one that was built to write down where it has been do so.
    fn drop(&mut self) {
        for (_, server) in &self.servers {
            server.ask_to_end();
        }
        for (_, server) in self.servers.drain(..) {
            drop(server.wait());
        }
    }
}

/// `exchange_durable`, `exchange_rate` and `exchange_latency_p50`.
pub(crate) fn measure(floor: &Floor) {
    let scene = Scene::new();
    let (mut durable, mut rates) = (Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        eprintln!("pair {pair} of {PAIRS}: {} tokens of new jobs", calls());
        let (pair, rate) = scene.pair(floor);
        durable.push(pair);
        rates.push(rate);
    }
    print_median("exchange_durable", durable.into_iter());
    rates.sort_by(f64::total_cmp);
    print("exchange_rate", rates[PAIRS / 2], "1/s", None);

    let mut alone = Vec::new();
    for _ in 0..PAIRS {
        let floor = floor.measure();
        alone.push(Pair { floor, cost: scene.latency(ALONE) });
    }
    print_median("exchange_latency_p50", alone.into_iter());
}

/// Signing a token costs ten times an exchange: done before, on every core.
pub(crate) fn unused(place: &Place, count: u32) -> Unused {
    let make =
        || ExchangeRequest { token: place.issuer.token(now()), csr: csr(&p256()).into(), profile: String::new() };
    on_every_core(count, make)
}

/// So many, made before anything is timed.
pub(crate) fn on_every_core<T: Send>(count: u32, make: impl Fn() -> T + Copy + Send + Sync) -> Vec<T> {
    let threads = u32::try_from(thread::available_parallelism().unwrap().get()).unwrap();
    thread::scope(|scope| {
        let share = count.div_ceil(threads);
        let makers: Vec<_> =
            (0..threads).map(|_| scope.spawn(move || (0..share).map(|_| make()).collect::<Vec<T>>())).collect();
        let mut all: Vec<T> = makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect();
        all.truncate(usize::try_from(count).unwrap());
        all
    })
}

/// As fast as it goes with so many in flight.
async fn exchange_all(agents: &[IssuerClient<Channel>], requests: Unused) {
    let requests = Arc::new(Mutex::new(requests));
    let mut callers = JoinSet::new();
    for agent in agents.iter().cycle().take(IN_FLIGHT) {
        let (mut agent, requests) = (agent.clone(), Arc::clone(&requests));
        callers.spawn(async move {
            while let Some(request) = next(&requests) {
                agent.exchange(request).await.unwrap();
            }
        });
    }
    callers.join_all().await;
}

/// What nobody has taken yet.
pub(crate) fn next<T>(requests: &Mutex<Vec<T>>) -> Option<T> {
    requests.lock().unwrap().pop()
}

/// One caller at a time.
async fn median_latency(mut agent: IssuerClient<Channel>, requests: Unused) -> Duration {
    let mut latencies = Vec::new();
    for request in requests {
        let start = Instant::now();
        agent.exchange(request).await.unwrap();
        latencies.push(start.elapsed());
    }
    latencies.sort();
    latencies[latencies.len() / 2]
}

/// User and system time of a process and all its threads (proc(5): fields 14 and 15 of `stat`).
pub(crate) fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is the program's name in parentheses, and may hold anything.
    let (_name, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = |field: usize| fields.split(' ').nth(field - 3).unwrap().parse::<u32>().unwrap();
    TICK * (ticks(14) + ticks(15))
}
