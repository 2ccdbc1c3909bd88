//! First exchanges with the real server: sled, durable journal, policy and metrics on, kept TLS with session keys, gRPC.

use crate::callers::{csr, now, p256, session_channel};
use crate::floor::Floor;
use crate::place::Place;
use crate::server::Server;
use crate::{PAIRS, Pair, print, print_median};
use lanyard::wire::lanyard::ExchangeRequest;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use std::fs;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// A host's agents each keep one connection.
const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 64;
/// The kernel counts processor time in hundredths of a second: so many make an error of a tick two per cent or less.
const EXCHANGES: u32 = 5000;
const WARM_UP: u32 = 1000;
const ALONE: u32 = 400;
/// `USER_HZ`, the unit of `/proc/PID/stat`, is 100 on every Linux that we build for.
const TICK: Duration = Duration::from_millis(10);

/// Tokens nobody has used yet, with the CSRs that go along.
type Unused = Vec<ExchangeRequest>;

/// A server of its own, with agents that are connected and warm.
pub(crate) struct Scene {
    runtime: Runtime,
    place: Place,
    server: Server,
    agents: Vec<IssuerClient<Channel>>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let place = Place::new();
        let server = Server::start(&place);
        let agents = {
            let _inside = runtime.enter();
            (0..CONNECTIONS).map(|_| IssuerClient::new(session_channel(&place))).collect()
        };
        let scene = Self { runtime, place, server, agents };
        scene.fill(WARM_UP);
        scene
    }

    /// Opens so many sessions.
    pub(crate) fn fill(&self, sessions: u32) {
        self.window(sessions);
    }

    /// A measurement beside the floor of its moment, and how many exchanges there were in a second.
    fn pair(&self, floor: &Floor) -> (Pair, f64) {
        let requests = unused(&self.place, EXCHANGES);
        let floor = floor.measure();
        let (cost, rate) = self.exchange(requests);
        (Pair { floor, cost }, rate)
    }

    /// What each of so many exchanges costs.
    pub(crate) fn window(&self, exchanges: u32) -> (Duration, f64) {
        self.exchange(unused(&self.place, exchanges))
    }

    fn exchange(&self, requests: Unused) -> (Duration, f64) {
        let count = u32::try_from(requests.len()).unwrap();
        let (before, start) = (processor_time(self.server.pid()), Instant::now());
        self.runtime.block_on(exchange_all(&self.agents, requests));
        let (after, took) = (processor_time(self.server.pid()), start.elapsed());
        (after.saturating_sub(before) / count, f64::from(count) / took.as_secs_f64())
    }
}

/// `exchange_durable`, `exchange_rate` and `exchange_latency_p50`.
pub(crate) fn measure(floor: &Floor) {
    let scene = Scene::new();
    let (mut durable, mut rates) = (Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        eprintln!("pair {pair} of {PAIRS}: {EXCHANGES} tokens of new jobs");
        let (pair, rate) = scene.pair(floor);
        durable.push(pair);
        rates.push(rate);
    }
    print_median("exchange_durable", durable.into_iter());
    rates.sort_by(f64::total_cmp);
    print("exchange_rate", rates[PAIRS / 2], "1/s", None);

    let mut alone = Vec::new();
    for _ in 0..PAIRS {
        let requests = unused(&scene.place, ALONE);
        let floor = floor.measure();
        alone.push(Pair { floor, cost: scene.runtime.block_on(median_latency(scene.agents[0].clone(), requests)) });
    }
    print_median("exchange_latency_p50", alone.into_iter());
}

/// Signing a token costs ten times an exchange: done before, on every core.
fn unused(place: &Place, count: u32) -> Unused {
    let make =
        || ExchangeRequest { token: place.issuer.token(now()), csr: csr(&p256()).into(), profile: String::new() };
    let threads = u32::try_from(thread::available_parallelism().unwrap().get()).unwrap();
    thread::scope(|scope| {
        let share = count.div_ceil(threads);
        let makers: Vec<_> =
            (0..threads).map(|_| scope.spawn(move || (0..share).map(|_| make()).collect::<Unused>())).collect();
        let mut all: Unused = makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect();
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

fn next(requests: &Mutex<Unused>) -> Option<ExchangeRequest> {
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
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is the program's name in parentheses, and may hold anything.
    let (_name, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = |field: usize| fields.split(' ').nth(field - 3).unwrap().parse::<u32>().unwrap();
    TICK * (ticks(14) + ticks(15))
}
