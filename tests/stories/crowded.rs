//! Many live sessions: what finding, ending and restarting cost with them.
//!
//! A thousand are enough to see that it works. `LANYARD_LIVE_SESSIONS=100000 cargo test --release --test stories crowded
//! -- --nocapture` measures what a full server costs; times are printed and decide nothing, memory has a bound. What an
//! exchange costs beside them, `cargo bench --bench road crowd` measures with the real server.

use crate::support::harness::{Agent, Harness, POLICY, csr};
use lanyard::clock::{Clock, SystemClock};
use lanyard::issuance::{Bearer, Csr, Request, RequestId, Wanted};
use lanyard::session::{Revocation, Selector};
use lanyard::telemetry::Door;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// What a server may keep in memory with a hundred thousand live sessions.
const MEMORY_MAX_KB: u64 = 250 * 1024;

const PROJECTS: usize = 100;
/// Requests that are under way at once.
const AT_ONCE: usize = 64;
/// Tokens minted ahead.
const MINTED: usize = 100;

fn sessions() -> usize {
    std::env::var("LANYARD_LIVE_SESSIONS").map_or(1000, |text| text.parse().unwrap())
}

fn token(harness: &Harness, job: usize) -> String {
    let project = 1 + job % PROJECTS;
    let mut claims = harness.issuer.claims(harness.now());
    for (name, value) in [
        ("project_id", project.to_string()),
        ("job_project_id", project.to_string()),
        ("project_path", format!("acme/p{project}")),
        ("job_project_path", format!("acme/p{project}")),
        ("sub", format!("project_path:acme/p{project}:ref_type:branch:ref:main")),
        ("pipeline_id", (100_000 + job / 4).to_string()),
    ] {
        claims.insert(name.to_owned(), value.into());
    }
    harness.issuer.mint(&claims)
}

/// Opens a session with each token, many at once.
async fn exchange_all(harness: &Arc<Harness>, agent: &Arc<Agent>, tokens: Vec<String>) {
    let (mut under_way, csr) = (JoinSet::new(), bytes::Bytes::from(csr()));
    for token in tokens {
        if under_way.len() == AT_ONCE {
            under_way.join_next().await.unwrap().unwrap();
        }
        let (harness, agent, csr) = (Arc::clone(harness), Arc::clone(agent), csr.clone());
        under_way.spawn(async move {
            let request = Request {
                id: RequestId::random(&lanyard::crypto::Random::system()),
                door: Door::Grpc,
                bearer: Bearer::Token(token),
                wanted: Wanted::X509 { csr: Csr::Der(csr), profile: None },
                connection: Some(agent.public()),
            };
            harness.issuance().issue(request).await.unwrap();
        });
    }
    while under_way.join_next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_lives_side_by_side_and_a_project_of_it_ends_at_once() {
    let (count, agent) = (sessions(), Arc::new(Agent::new()));
    // The server itself, at the end, has the machine's time.
    let now = SystemClock.now().replace_nanosecond(0).unwrap();
    let harness = Arc::new(Harness::beginning(now, (POLICY, "sled", "")).await);
    for first in (0..count).step_by(MINTED) {
        exchange_all(&harness, &agent, (first..first + MINTED).map(|job| token(&harness, job)).collect()).await;
    }

    let live = |harness: &Harness| harness.issuance().sessions.select(None, harness.now()).sessions.len();
    assert_eq!(live(&harness), count);
    let selector: Selector = serde_json::from_value(json!({ "project": 7 })).unwrap();
    let wish = Revocation { selector: &selector, uid: 0, reason: "a drill" };
    let began = Instant::now();
    let struck = harness.issuance().revoke(&wish).await.unwrap();
    println!("{} sessions of one project ended in {:?}", struck.sessions.len(), began.elapsed());
    let left = count - count / PROJECTS;
    assert_eq!((struck.sessions.len(), live(&harness)), (count - left, left));

    let harness = Arc::into_inner(harness).unwrap();
    let began = Instant::now();
    let harness = harness.restarted(None).await;
    println!("closed and built again in {:?}", began.elapsed());
    assert_eq!(live(&harness), left);
    let Harness { folder, parts, .. } = harness;
    parts.store.close();
    drop(parts);
    let (ready, memory, told) = serve(folder.path()).await;
    println!("the server answers operators {ready:?} after its start, and keeps {memory} kB");
    assert!(memory < MEMORY_MAX_KB, "{memory} kB");
    assert_eq!(told["identities"], left);
}

/// The server itself on this data: after how long it answers, what it keeps in memory, and what it knows.
async fn serve(folder: &Path) -> (Duration, u64, Value) {
    let (file, socket) = (folder.join("server.toml"), folder.join("admin.sock"));
    let listen =
        format!("\n[listen]\nissuer = [\"127.0.0.1:0\"]\nhealth = \"off\"\nadmin_socket = \"{}\"\n", socket.display());
    fs::write(&file, fs::read_to_string(&file).unwrap() + &listen).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    server.args(["server", "--config"]).arg(&file).stderr(Stdio::null());
    let began = Instant::now();
    let mut server = Running(server.spawn().unwrap());
    while UnixStream::connect(&socket).await.is_err() {
        assert!(server.0.try_wait().unwrap().is_none(), "it ended");
        assert!(began.elapsed() < Duration::from_secs(60), "it does not answer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ready = began.elapsed();
    let status = fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let memory = memory.trim().trim_end_matches(" kB").parse().unwrap();
    let mut asked = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"));
    asked.args(["session", "list", "--limit", "0", "--json", "--admin-socket"]).arg(&socket);
    (ready, memory, serde_json::from_slice(&asked.output().await.unwrap().stdout).unwrap())
}

/// Ended with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
