//! Ten thousand hostile requests a second, and honest jobs beside them: nobody honest is turned away, the strangers take
//! no memory that stays, and do not fill the journal.
//!
//! Honest sessions are kept, and take memory for as long as they live. So the same jobs are served twice, by a fresh
//! server each: alone, and beside the flood. What differs is the strangers'.

use crate::callers::{csr, now, p256, session_channel};
use crate::hostile_load::{Tally, address, flood, kinds};
use crate::issuer::FakeIssuer;
use crate::place::Place;
use crate::server::Server;
use crate::wire::Port;
use lanyard::wire::lanyard::ExchangeRequest;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// `LANYARD_HOSTILE_SECONDS=60` is what is promised; the plain run is shorter.
const SECONDS: u32 = 8;
/// A little more than the 10,000 that are promised, since a sender that falls behind forgets its debt;
/// `LANYARD_HOSTILE_RATE` says otherwise.
const RATE: u32 = 10_500;
/// Honest exchanges a second: a pipeline every twentieth.
const HONEST_RATE: u32 = 50;
/// Agents that ask so.
const AGENTS: usize = 4;
/// How many times the journal may grow by what an honest exchange takes, for each of them; the rest is slack.
const JOURNAL_SLACK_BYTES: u64 = 64 * 1024;
/// By how much more a server may grow from the first half to the second beside a flood than without: nothing but what the
/// allocator does differently.
const STRANGERS_GROWTH_KIB: u64 = 2 * 1024;
/// By how much more a server may hold at all: buffers of the flood's connections, and what is remembered of refusals.
const STRANGERS_MOST_KIB: u64 = 16 * 1024;
/// Refusals told in the log, a second: some hundred bytes each.
const LOG_BYTES_A_SECOND: u64 = 64 * 1024;

#[test]
fn honest_jobs_are_served_beside_a_flood_of_hostile_requests() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u32>().unwrap());
    let (seconds, rate) =
        (number("LANYARD_HOSTILE_SECONDS").unwrap_or(SECONDS), number("LANYARD_HOSTILE_RATE").unwrap_or(RATE));
    let quiet = Run::of(seconds, |_place, _used| None);
    let beside = Run::of(seconds, |place, used| Some(Flood::start(place, used, rate, seconds)));

    let tally = report(&quiet, &beside, seconds);
    must_all_be_refused(tally, beside.took.len());
    let most = quiet.journal * 5 / 4 + JOURNAL_SLACK_BYTES;
    assert!(beside.journal <= most, "the journal grew by {} bytes; the honest take some {most}", beside.journal);
    assert!(beside.log <= u64::from(seconds) * LOG_BYTES_A_SECOND, "the log grew by {} bytes", beside.log);
    let (alone, together) = (quiet.memory.growth(), beside.memory.growth());
    assert!(together <= alone + STRANGERS_GROWTH_KIB, "memory grew by {together} KiB, {alone} without strangers");
    let (alone, together) = (quiet.memory.most(), beside.memory.most());
    assert!(together <= alone + STRANGERS_MOST_KIB, "{together} KiB are held, {alone} without strangers");
}

/// What was seen of one server and its honest jobs.
struct Run {
    /// How long each exchange took, shortest first.
    took: Vec<Duration>,
    /// By how many bytes it grew.
    journal: u64,
    log: u64,
    cpu: Duration,
    memory: Memory,
    /// What became of the strangers, if there were any.
    tally: Option<Tally>,
}

impl Run {
    /// A fresh server, the same honest jobs each time, and perhaps a flood.
    fn of(seconds: u32, flood: impl FnOnce(&Place, &[String]) -> Option<Flood>) -> Self {
        let place = Place::new();
        let config = fs::read_to_string(place.config()).unwrap();
        fs::write(place.config(), format!("{config}namespaces = [\"acme\"]\n")).unwrap();
        let server = Server::start(&place);
        let honest = Honest::new(&place);
        let tokens = honest_tokens(&place, seconds);
        let used: Vec<String> = (0..20).map(|_| place.issuer.token(now())).collect();
        honest.use_up(&used);
        settle();
        let before = Snapshot::of(&place, &server);
        let flood = flood(&place, &used);
        let watch = Memory::watch(server.pid(), seconds);
        let took = honest.ask_for(seconds, tokens);
        let (tally, memory) = (flood.map(Flood::join), watch.join().unwrap());
        settle();
        let after = Snapshot::of(&place, &server);
        let (journal, log) = (after.journal - before.journal, after.log - before.log);
        Self { took, journal, log, cpu: after.cpu.saturating_sub(before.cpu), memory, tally }
    }

    /// The time within which so many of a hundred exchanges were done, in milliseconds.
    fn within(&self, percent: usize) -> f64 {
        self.took[self.took.len() * percent / 100].as_secs_f64() * 1000.0
    }
}

/// What a server held, in KiB, at the end of each half of a run; the first seconds, in which it begins, left out.
struct Memory([u64; 2]);

impl Memory {
    fn watch(pid: u32, seconds: u32) -> thread::JoinHandle<Self> {
        thread::spawn(move || {
            let seconds = Duration::from_secs(seconds.into());
            thread::sleep(seconds / 8);
            // Some seconds' most: one look could fall between two requests.
            let half = seconds * 3 / 8;
            Self([(); 2].map(|()| most_within(pid, half)))
        })
    }

    fn growth(&self) -> u64 {
        self.0[1].saturating_sub(self.0[0])
    }

    fn most(&self) -> u64 {
        self.0[0].max(self.0[1])
    }
}

/// The most memory that a process is seen to hold.
fn most_within(pid: u32, time: Duration) -> u64 {
    let (until, mut most) = (Instant::now() + time, 0);
    while Instant::now() < until {
        most = most.max(crate::memory::anonymous_kib(pid));
        thread::sleep(Duration::from_millis(200));
    }
    most
}

/// Agents with a kept connection each.
struct Honest {
    runtime: Runtime,
    agents: Vec<IssuerClient<Channel>>,
    csr: Vec<u8>,
}

impl Honest {
    fn new(place: &Place) -> Self {
        // A runtime of its own, so that the flood's work is no part of what an agent waits for.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let agents =
            runtime.block_on(async { (0..AGENTS).map(|_| IssuerClient::new(session_channel(place))).collect() });
        Self { runtime, agents, csr: csr(&p256()) }
    }

    /// Exchanges the tokens, evenly over the seconds, whether the former have an answer or not. Every one must be
    /// admitted; how long each took, shortest first.
    fn ask_for(&self, seconds: u32, tokens: Vec<String>) -> Vec<Duration> {
        let (mut asked, pause) = (JoinSet::new(), Duration::from_secs(1) / HONEST_RATE);
        let mut took = self.runtime.block_on(async {
            let began = Instant::now();
            for (number, token) in (0..).zip(tokens) {
                let due = began + pause * number;
                tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
                let agent = self.agents[usize::try_from(number).unwrap() % AGENTS].clone();
                asked.spawn(exchange(agent, token, self.csr.clone()));
            }
            asked.join_all().await
        });
        assert!(took.len() >= usize::try_from(seconds * HONEST_RATE).unwrap());
        took.sort_unstable();
        took
    }

    /// Admits these tokens, so that they are another key's for everybody else.
    fn use_up(&self, tokens: &[String]) {
        for token in tokens {
            self.runtime.block_on(exchange(self.agents[0].clone(), token.clone(), self.csr.clone()));
        }
    }
}

async fn exchange(mut agent: IssuerClient<Channel>, token: String, csr: Vec<u8>) -> Duration {
    let began = Instant::now();
    let answer = agent.exchange(ExchangeRequest { token, csr: csr.into(), profile: String::new() }).await;
    let took = began.elapsed();
    assert!(answer.is_ok(), "an honest job was turned away: {answer:?}");
    took
}

/// Minted beforehand: a signature by RSA costs more than the server's whole work.
fn honest_tokens(place: &Place, seconds: u32) -> Vec<String> {
    (0..seconds * HONEST_RATE).map(|_| place.issuer.token(now())).collect()
}

/// The flood, on a thread of its own.
struct Flood(thread::JoinHandle<Tally>);

impl Flood {
    fn start(place: &Place, used: &[String], rate: u32, seconds: u32) -> Self {
        let kinds = Arc::new(kinds(&place.issuer, used));
        let (port, address) = (Arc::new(Port::of(place, "http/1.1")), address(place.port));
        let until = Instant::now() + Duration::from_secs(seconds.into());
        Self(thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(flood(port, address, kinds, (rate, until)))
        }))
    }

    fn join(self) -> Tally {
        self.0.join().unwrap()
    }
}

/// Each kind gets its own code, nobody gets an identity, and the server did not break down over any.
fn must_all_be_refused(tally: &Tally, honest: usize) {
    let issuer = FakeIssuer::new();
    let wanted: Vec<_> = kinds(&issuer, &[issuer.token(now())]).iter().map(|kind| (kind.name, kind.code)).collect();
    let odd: Vec<_> = tally
        .answers
        .iter()
        .filter(|((name, code), _)| !wanted.contains(&(name, code)) && code != "too_many_requests")
        .collect();
    assert!(odd.is_empty(), "answers that nobody expected: {odd:?}");
    let seen = |name| tally.answers.keys().any(|(seen, _)| *seen == name);
    let unseen: Vec<_> = wanted.iter().filter(|(name, _)| !seen(*name)).collect();
    assert!(unseen.is_empty(), "of these none was sent: {unseen:?}");
    assert!(tally.answered > u64::try_from(honest).unwrap(), "that was no flood: {tally:?}");
}

/// What grows.
struct Snapshot {
    journal: u64,
    log: u64,
    cpu: Duration,
}

impl Snapshot {
    fn of(place: &Place, server: &Server) -> Self {
        let log = u64::try_from(server.log().len()).unwrap();
        Self { journal: journal_bytes(place), log, cpu: cpu_time(server.pid()) }
    }
}

/// Notes wait for company for half a second.
fn settle() {
    thread::sleep(Duration::from_secs(1));
}

fn journal_bytes(place: &Place) -> u64 {
    place.segments().iter().map(|segment| fs::metadata(segment).unwrap().len()).sum()
}

/// What a process has used of the processors: `utime` and `stime` of `proc_pid_stat(5)`, in hundredths.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// What the note says. Times decide nothing here: the machine may be shared.
fn report<'a>(quiet: &Run, beside: &'a Run, seconds: u32) -> &'a Tally {
    let tally = beside.tally.as_ref().unwrap();
    let rate = tally.answered / u64::from(seconds);
    println!("{rate} hostile requests a second for {seconds} s, {} odd connections", tally.odd);
    println!("connections that the server ended: {}", tally.reconnected);
    for ((name, code), count) in &tally.answers {
        println!("  {name}: {count} x {code}");
    }
    let (cpu, all) = (beside.cpu.as_secs_f64(), f64::from(u32::try_from(tally.answered).unwrap()));
    println!("server: {:.0} % of one processor, {:.0} µs a request", cpu * 100.0 / f64::from(seconds), cpu * 1e6 / all);
    for (name, run) in [("quiet", quiet), ("beside", beside)] {
        let (half, most) = (run.within(50), run.within(99));
        println!("honest, {name}: {} exchanges, p50 {half:.2} ms, p99 {most:.2} ms", run.took.len());
        println!("  journal +{} bytes, log +{} bytes", run.journal, run.log);
        let [first, second] = run.memory.0;
        println!("  RssAnon at most {first} KiB in the first half, {second} in the second");
    }
    println!("p99 beside / quiet: {:.2}", beside.within(99) / quiet.within(99));
    tally
}
