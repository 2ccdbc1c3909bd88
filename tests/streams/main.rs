//! What an agent's stream costs the server, beside a bare one: the same gRPC call over the same TLS, and nothing behind it; with
//! how long a change takes from the first stream to the last. Servers and agents are processes of their own (this very program,
//! called anew), so that each server's numbers are its alone.
//!
//! `LANYARD_AGENT_STREAMS=10000` asks for more than some hundreds. Memory is held against its bound, times are told.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what cannot go on here ends the test, and says so"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a process outside needs real time, real tasks and the real environment"
)]

#[path = "../support/alone.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod alone;
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

mod agents;
mod bare;

use alone::anonymous_kib;
use callers::now;
use place::Place;
use serde_json::{Value, json};
use server::{Server, lanyard, words};
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// As the server has it: what is compared is not the allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAMS: usize = 400;
/// Of what a bare stream keeps.
const MEMORY_MOST: f64 = 1.2;
/// Says what a process is to do.
const ORDER: &str = "LANYARD_STREAMS_ORDER";
/// Before what it says, among what the test runner says.
const SAID: &str = "streams: ";

#[test]
fn an_agents_stream_keeps_little_more_than_a_bare_one() {
    if let Ok(order) = std::env::var(ORDER) {
        let order: Value = serde_json::from_str(&order).unwrap();
        return if order["tokens"].is_null() { bare::serve(&order) } else { agents::listen(&order) };
    }
    let count = std::env::var("LANYARD_AGENT_STREAMS").map_or(STREAMS, |text| text.parse().unwrap());
    let place = Place::new();
    let tokens: Vec<_> = (0..count).map(|_| place.issuer.token(now())).collect();
    fs::write(place.file("tokens"), tokens.join("\n")).unwrap();

    let server = Server::start(&place);
    let ours = Measured::of((place.port, &place.data().join("door-ca.pem")), server.pid(), &place, || {
        let mut prepare = lanyard();
        prepare.args(["authority", "prepare", "--admin-socket"]).arg(place.data().join("admin.sock"));
        let output = prepare.output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
    });
    ours.tell("ours", count);
    drop(server);

    let mut bare = Told::start(&json!({ "ca": place.file("bare-ca.pem") }));
    let port = bare.says().parse().unwrap();
    let pid = bare.child.id();
    let of_bare = Measured::of((port, &place.file("bare-ca.pem")), pid, &place, || bare.tell("push"));
    of_bare.tell("bare", count);

    let (memory, time) = (ours.kib / of_bare.kib, ours.micros / of_bare.micros);
    println!("ours by bare: memory {memory:.2}, a change from the first to the last {time:.2}");
    assert!(memory <= MEMORY_MOST, "{:.1} KiB a stream, {memory:.2} times a bare one's {:.1}", ours.kib, of_bare.kib);
}

/// What each stream keeps, and how long a change takes from the first to the last.
struct Measured {
    kib: f64,
    micros: f64,
}

impl Measured {
    /// Sessions are opened before anything is measured: a stream's memory is not its session's.
    fn of((port, ca): (u16, &Path), pid: u32, place: &Place, change: impl FnOnce()) -> Self {
        let kib = || f64::from(u32::try_from(anonymous_kib(&pid.to_string())).unwrap());
        let order = json!({ "port": port, "ca": ca, "tokens": place.file("tokens") });
        let mut agents = Told::start(&order);
        let count: f64 = agents.says().parse().unwrap();
        let before = kib();
        agents.tell("watch");
        assert_eq!(agents.says(), "up");
        let each = (kib() - before) / count;
        change();
        Self { kib: each, micros: agents.says().parse().unwrap() }
    }

    fn tell(&self, whose: &str, count: usize) {
        let Self { kib, micros } = self;
        println!("{whose}: {count} streams, {kib:.1} KiB each; a change from the first to the last in {micros:.0} µs");
    }
}

/// Another process of this program.
struct Told {
    child: Child,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Told {
    fn start(order: &Value) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["an_agents_stream_keeps_little_more_than_a_bare_one", "--exact", "--nocapture"]);
        command.env(ORDER, order.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (tell, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, tell, said: BufReader::new(said).lines() }
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.tell, "{what}").unwrap();
    }

    fn says(&mut self) -> String {
        loop {
            let line = self.said.next().unwrap_or_else(|| panic!("a process is gone")).unwrap();
            if let Some((_runner, said)) = line.split_once(SAID) {
                return said.to_owned();
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}
