//! Ten thousand hostile requests a second, and honest jobs beside them: nobody honest is turned away, memory stays, and the
//! journal is not filled by strangers.

use crate::callers::{csr, now, p256, session_channel};
use crate::hostile_load::{Tally, address, flood, kinds};
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
/// What the allocator may keep for itself between the halves.
const MEMORY_SLACK_KIB: u64 = 8 * 1024;
/// Refusals told in the log, a second: some hundred bytes each.
const LOG_BYTES_A_SECOND: u64 = 64 * 1024;

#[test]
fn honest_jobs_are_served_beside_a_flood_of_hostile_requests() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u32>().unwrap());
    let (seconds, rate) =
        (number("LANYARD_HOSTILE_SECONDS").unwrap_or(SECONDS), number("LANYARD_HOSTILE_RATE").unwrap_or(RATE));
    let place = Place::new();
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), format!("{config}namespaces = [\"acme\"]\n")).unwrap();
    let server = Server::start(&place);
    let honest = Honest::new(&place);

    let quiet_for = (seconds / 4).max(3);
    let empty = journal_bytes(&place);
    let quiet = honest.ask_for(quiet_for, honest_tokens(&place, quiet_for));
    settle();
    let each_bytes = (journal_bytes(&place) - empty) / u64::try_from(quiet.len()).unwrap();

    let tokens = honest_tokens(&place, seconds);
    let used: Vec<String> = (0..20).map(|_| place.issuer.token(now())).collect();
    honest.use_up(&used);
    settle();
    let before = Snapshot::of(&place, &server);
    let flood = Flood::start(&place, &used, rate, seconds);
    let watch = watch_memory(server.pid(), seconds);
    let beside = honest.ask_for(seconds, tokens);
    let tally = flood.join();
    let memory = watch.join().unwrap();
    settle();
    let after = Snapshot::of(&place, &server);

    report(&tally, (&quiet, &beside), (&before, &after), &memory, seconds);
    must_all_be_refused(&tally, &place, beside.len());
    let grown = after.journal - before.journal;
    let most = u64::try_from(beside.len()).unwrap() * each_bytes * 5 / 4 + JOURNAL_SLACK_BYTES;
    assert!(grown <= most, "the journal grew by {grown} bytes; the honest exchanges take some {most}");
    let logged = after.log - before.log;
    assert!(logged <= u64::from(seconds) * LOG_BYTES_A_SECOND, "the log grew by {logged} bytes");
    let (first, second) = memory.split_at(memory.len() / 2);
    let (first, second) = (first.iter().max().unwrap(), second.iter().max().unwrap());
    assert!(*second <= first * 11 / 10 + MEMORY_SLACK_KIB, "memory grew from {first} to {second} KiB");
    drop(server);
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
fn must_all_be_refused(tally: &Tally, place: &Place, honest: usize) {
    let wanted: Vec<_> =
        kinds(&place.issuer, &[place.issuer.token(now())]).iter().map(|kind| (kind.name, kind.code)).collect();
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

/// Looks at a process's memory, in KiB, while the flood goes on; the first seconds, in which it begins, left out.
fn watch_memory(pid: u32, seconds: u32) -> thread::JoinHandle<Vec<u64>> {
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(u64::from(seconds) / 8));
        let until = Instant::now() + Duration::from_secs(u64::from(seconds) * 3 / 4);
        let mut seen = Vec::new();
        while Instant::now() < until {
            seen.push(crate::memory::anonymous_kib(pid));
            thread::sleep(Duration::from_millis(200));
        }
        seen
    })
}

/// What the note says. Times decide nothing here: the machine may be shared.
fn report(
    tally: &Tally,
    (quiet, beside): (&[Duration], &[Duration]),
    (before, after): (&Snapshot, &Snapshot),
    memory: &[u64],
    seconds: u32,
) {
    let at = |took: &[Duration], percent: usize| took[took.len() * percent / 100];
    let millis = |took: Duration| took.as_secs_f64() * 1000.0;
    let rate = tally.answered / u64::from(seconds);
    println!("{rate} hostile requests a second for {seconds} s, {} odd connections", tally.odd);
    println!("connections that the server ended: {}", tally.reconnected);
    for ((name, code), count) in &tally.answers {
        println!("  {name}: {count} x {code}");
    }
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    let all = f64::from(u32::try_from(tally.answered).unwrap());
    println!("server: {:.0} % of one processor, {:.0} µs a request", cpu * 100.0 / f64::from(seconds), cpu * 1e6 / all);
    for (name, took) in [("quiet", quiet), ("beside", beside)] {
        let (half, most) = (millis(at(took, 50)), millis(at(took, 99)));
        println!("honest, {name}: {} exchanges, p50 {half:.2} ms, p99 {most:.2} ms", took.len());
    }
    println!("p99 beside / quiet: {:.2}", millis(at(beside, 99)) / millis(at(quiet, 99)));
    println!("journal +{} bytes, log +{} bytes", after.journal - before.journal, after.log - before.log);
    // What honest sessions take of the index grows in both.
    let (first, second) = memory.split_at(memory.len() / 2);
    println!("RssAnon at most {:?} KiB in the first half, {:?} in the second", first.iter().max(), second.iter().max());
}
