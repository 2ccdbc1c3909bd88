//! What an exchange takes, counted in instructions by valgrind and not timed: a machine that is busy counts the same.
//!
//! Only the program's own are counted, with its allocator's: which instructions cryptography takes depends on the processor.

use crate::callers::{csr, now, p256, session_channel};
use crate::place::Place;
use crate::server::{Server, lanyard};
use lanyard::wire::lanyard::ExchangeRequest;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use tokio::task::JoinSet;
use tonic::transport::Channel;

const CONNECTIONS: usize = 4;
/// On each connection at once.
const CALLERS: usize = 8;
/// Of each caller; enough for what is done once in a while to show as a share.
const EXCHANGES: u32 = 12;
/// 305,000 when this was written; a tenth is to spare, since how many exchanges share a batch differs from run to run.
const INSTRUCTIONS_MAX: u64 = 335_000;

#[tokio::test]
#[ignore = "by hand, in release: the callgrind of Debian 12 falls over a server's signals in some runs"]
async fn an_exchange_takes_no_more_instructions_than_it_is_known_to() {
    let place = Place::new();
    let counts = place.file("counts");
    let mut server = Server::run(&mut under_valgrind(&counts), &place.config());
    server.wait_until_ready(&place);
    let agents: Vec<_> = (0..CONNECTIONS).map(|_| IssuerClient::new(session_channel(&place))).collect();
    exchange(&place, &agents, 2).await;
    callgrind("--zero", &server);
    exchange(&place, &agents, EXCHANGES).await;
    callgrind("--dump", &server);
    let exchanges = u64::from(EXCHANGES) * u64::try_from(CONNECTIONS * CALLERS).unwrap();
    let own = own_instructions(&fs::read_to_string(counts.with_extension("1")).unwrap()) / exchanges;
    println!("an exchange takes {own} instructions beside cryptography");
    assert!(own <= INSTRUCTIONS_MAX, "an exchange takes {own} instructions beside cryptography");
}

/// The server, counted from the start; fair turns, so that no thread waits for the others to rest.
fn under_valgrind(counts: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--fair-sched=yes", "--quiet"]);
    valgrind.arg(format!("--callgrind-out-file={}", counts.display()));
    valgrind.arg(lanyard().get_program()).arg("server");
    valgrind
}

fn callgrind(order: &str, server: &Server) {
    let done = Command::new("callgrind_control").args([order, &server.pid().to_string()]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Each caller so many, one after the other.
async fn exchange(place: &Place, agents: &[IssuerClient<Channel>], each: u32) {
    let mut callers = JoinSet::new();
    for agent in agents.iter().cycle().take(CONNECTIONS * CALLERS) {
        let ask =
            || ExchangeRequest { token: place.issuer.token(now()), csr: csr(&p256()).into(), profile: String::new() };
        let (mut agent, requests) = (agent.clone(), (0..each).map(|_| ask()).collect::<Vec<_>>());
        callers.spawn(async move {
            for request in requests {
                agent.exchange(request).await.unwrap();
            }
        });
    }
    callers.join_all().await;
}

/// What functions took themselves, of those that are Rust's (their names have a path) or the allocator's.
///
/// Callgrind's format: `fn=(ID) NAME`, the name at its first place only; then lines that end with a count, of which the one
/// after `calls=` is the callee's.
fn own_instructions(profile: &str) -> u64 {
    let (mut names, mut counts) = (BTreeMap::new(), BTreeMap::<&str, u64>::new());
    let (mut function, mut is_callees) = ("", false);
    for line in profile.lines() {
        if let Some(named) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (id, name) = named.split_once(' ').unwrap_or((named, ""));
            if !name.is_empty() {
                names.insert(id, name);
            }
            if line.starts_with("fn=") {
                function = id;
            }
        } else if line.starts_with("calls=") {
            is_callees = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let count: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            *counts.entry(function).or_default() += if std::mem::take(&mut is_callees) { 0 } else { count };
        }
    }
    let is_own =
        |name: &str| ["mi_", "_mi_", "__mi_", "__rust"].iter().any(|own| name.starts_with(own)) || name.contains("::");
    counts.into_iter().filter(|(id, _)| names.get(id).is_some_and(|name| is_own(name))).map(|(_, count)| count).sum()
}
