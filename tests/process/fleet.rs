//! Every agent of a fleet is on another key soon after a taint: each a real one, with a session key, a connection and a stream
//! of its own, in processes of their own (this very program, called anew), so that the server's numbers are its alone.
//!
//! `LANYARD_FLEET_AGENTS=10000` asks for more. One costs its process a key, a handshake, an exchange and a renewal.

use crate::callers::now;
use crate::memory::anonymous_kib;
use crate::place::Place;
use crate::server::{Server, lanyard, words};
use lanyard::agent::{Agent, AgentSettings, Callers, MODE_EVERYBODY, OnStop, SecretNames, TokenSource};
use lanyard::clock::SystemClock;
use lanyard::crypto::{Random, install_providers};
use lanyard::svid::inspect_authority;
use lanyard::telemetry::Shutdown;
use lanyard::tls::ServerTrust;
use lanyard::wire::raise_open_files;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use spiffe::WorkloadApiClient;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

const AGENTS: usize = 2000;
/// Each has a connection, a socket and a session file open, and a process may open some thousands.
const AGENTS_OF_A_PROCESS: usize = 2500;
/// What the server asks for.
const SPREAD_SECONDS: f64 = 20.0;
/// The promise.
const ALL_WITHIN: time::Duration = time::Duration::seconds(30);
/// Nothing here should take so long.
const LIMIT: Duration = Duration::from_secs(120);
/// Asks of one process at a time.
const AT_ONCE: usize = 32;
/// Says what a process of agents is to do.
const ORDER: &str = "LANYARD_FLEET_ORDER";
/// Before what it says, among what the test runner says.
const SAID: &str = "fleet: ";

#[test]
fn every_agent_of_a_fleet_is_on_another_key_half_a_minute_after_a_taint() {
    if let Ok(order) = std::env::var(ORDER) {
        return agents(&serde_json::from_str(&order).unwrap());
    }
    let count = agents_wanted(AGENTS);
    let place = place_for(count);
    let server = Server::start(&place);
    let (empty, began) = (Cost::of(&server), Instant::now());
    let mut fleet = Fleet::join(&place, count);
    let joined = Cost::of(&server);
    tell("joined", count, began.elapsed(), (&empty, &joined));

    let former = authority(&place, &["list"])["keys"][0]["key_id"].as_str().unwrap().to_owned();
    let began = Instant::now();
    authority(&place, &["prepare"]);
    all_have_the_bundle(&place, count);
    tell("have the new bundle and said so", count, began.elapsed(), (&joined, &Cost::of(&server)));
    let signer = authority(&place, &["activate", "--force", "--reason", "a drill"])["intermediate"].clone();

    let (before, began) = (Cost::of(&server), Instant::now());
    let seen = taint(&place, &former);
    let after = Cost::of(&server);
    tell("are on another key", count, began.elapsed(), (&before, &after));
    let fastest = spread_over(&seen, count);
    println!(
        "at most {fastest} SVIDs in a second; {} KiB an agent",
        (after.kib - empty.kib) / u64::try_from(count).unwrap()
    );
    assert_eq!(fleet.signers(), BTreeMap::from([(signer.as_str().unwrap().to_owned(), count)]));
    let took = seen.last().unwrap().0 - seen.first().unwrap().0;
    assert!(took <= ALL_WITHIN, "{took}");
    authority(&place, &["revoke", &former]);
}

/// The server dies while all agents listen, and starts again: all come back to it, and no workload is without an identity.
#[test]
fn a_fleet_comes_back_to_a_server_that_died_and_no_agent_loses_its_identity() {
    let count = agents_wanted(AGENTS / 10);
    let place = place_for(count);
    let server = Server::start(&place);
    let mut fleet = Fleet::join(&place, count);
    all_have_the_bundle(&place, count);
    let before = fleet.signers();
    assert_eq!(before.values().sum::<usize>(), count);
    server.kill();
    assert_eq!(fleet.signers(), before, "while there is no server");
    let began = Instant::now();
    let server = Server::start(&place);
    let up = began.elapsed();
    // The server that starts knows of no holder what it has: each says so when it listens again.
    all_have_the_bundle(&place, count);
    let cost = Cost::of(&server);
    println!(
        "{count} agents listen again {:.1?} after the start, {:.1?} after it was ready; the server's CPU {:.2?}",
        began.elapsed(),
        began.elapsed().saturating_sub(up),
        cost.cpu
    );
    assert_eq!(fleet.signers(), before, "the sessions went on, and nobody asked for another one");
}

fn agents_wanted(unless_said: usize) -> usize {
    std::env::var("LANYARD_FLEET_AGENTS").map_or(unless_said, |text| text.parse().unwrap())
}

/// One address may open half of all connections, so a large fleet comes from two.
fn place_for(count: usize) -> Place {
    let place = Place::new();
    if count > AGENTS_OF_A_PROCESS {
        let (port, config) = (place.port, fs::read_to_string(place.config()).unwrap());
        let both = format!(r#"["127.0.0.1:{port}", "[::1]:{port}"]"#);
        fs::write(place.config(), config.replace(&format!(r#""127.0.0.1:{port}""#), &both)).unwrap();
    }
    place
}

/// What the server has used so far.
struct Cost {
    cpu: Duration,
    kib: u64,
}

impl Cost {
    fn of(server: &Server) -> Self {
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        // proc(5): user and system time are the 14th and 15th field, in hundredths of a second; the 2nd may hold blanks.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Self { cpu: Duration::from_millis(ticks * 10), kib: anonymous_kib(server.pid()) }
    }
}

fn tell(what: &str, count: usize, took: Duration, (before, after): (&Cost, &Cost)) {
    let (cpu, mib) = (after.cpu.saturating_sub(before.cpu), after.kib / 1024);
    let each = cpu / u32::try_from(count).unwrap();
    println!("{count} agents {what}: {took:.1?}; the server's CPU {cpu:.2?} ({each:.0?} each), RssAnon {mib} MiB");
}

/// A command about our keys.
pub(crate) fn authority(place: &Place, arguments: &[&str]) -> Value {
    let output = command(place, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = lanyard();
    command.arg("authority").args(arguments).arg("--json").env("LANYARD_ADMIN_SOCKET", place.data().join("admin.sock"));
    command
}

fn all_have_the_bundle(place: &Place, count: usize) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let plan = authority(place, &["plan"]);
        let has_it = |holder: &&Value| holder["holds"] == plan["sequence"];
        let have_it = plan["holders"].as_array().unwrap().iter().filter(has_it).count();
        if have_it == count {
            return;
        }
        assert!(Instant::now() < deadline, "{have_it} of {count} have the new bundle");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Taints a root, and stays as an operator does: when how many SVIDs were still on it.
fn taint(place: &Place, key: &str) -> Vec<(OffsetDateTime, usize)> {
    let mut command = command(place, &["taint", key]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let told: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let Some(remaining) = told["remaining"].as_u64() else { continue };
        let at = OffsetDateTime::parse(told["at"].as_str().unwrap(), &Rfc3339).unwrap();
        seen.push((at, usize::try_from(remaining).unwrap()));
    }
    assert!(child.wait().unwrap().success());
    seen
}

/// That agents moved at moments of their own: no look saw more of them move than twice what the time since the one before
/// is worth. The most in a second.
fn spread_over(seen: &[(OffsetDateTime, usize)], count: usize) -> usize {
    let steps = seen.windows(2).map(|two| {
        let (seconds, moved) = ((two[1].0 - two[0].0).as_seconds_f64(), two[0].1 - two[1].1);
        let worth = f64::from(u32::try_from(count).unwrap()) * seconds / SPREAD_SECONDS;
        let moved_then = f64::from(u32::try_from(moved).unwrap());
        assert!(moved_then <= worth * 2.0 + 50.0, "{moved} of {count} in {seconds} s: {seen:?}");
        moved_then / seconds
    });
    // A rate is no more than the count, and whole enough.
    format!("{:.0}", steps.fold(0.0, f64::max)).parse().unwrap()
}

/// The processes of agents; each ends when its standard input does.
struct Fleet(Vec<Agents>);

struct Agents {
    child: Child,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Fleet {
    /// Ready when all have an SVID.
    fn join(place: &Place, count: usize) -> Self {
        let tokens: Vec<_> = (0..count).map(|_| place.issuer.token(now())).collect();
        let mut fleet: Vec<_> = tokens
            .chunks(AGENTS_OF_A_PROCESS)
            .enumerate()
            .map(|(at, tokens)| Agents::start(place, at, tokens))
            .collect();
        for agents in &mut fleet {
            assert_eq!(agents.says(), "up");
        }
        Self(fleet)
    }

    /// Which intermediates their SVIDs show, by how many.
    fn signers(&mut self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for agents in &mut self.0 {
            writeln!(agents.tell, "signers?").unwrap();
            let told: BTreeMap<String, usize> = serde_json::from_str(&agents.says()).unwrap();
            for (signer, count) in told {
                *all.entry(signer).or_default() += count;
            }
        }
        all
    }
}

impl Agents {
    fn start(place: &Place, at: usize, tokens: &[String]) -> Self {
        let folder = place.file(format!("agents-{at}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tokens"), tokens.join("\n")).unwrap();
        let host = ["127.0.0.1", "[::1]"][at % 2];
        let order = json!({
            "folder": folder, "server": format!("https://{host}:{}", place.port), "ca": place.data().join("door-ca.pem"),
        });
        let name = "fleet::every_agent_of_a_fleet_is_on_another_key_half_a_minute_after_a_taint";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--nocapture"]).env(ORDER, order.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, tell, said: BufReader::new(said).lines() }
    }

    fn says(&mut self) -> String {
        loop {
            let line = self.said.next().unwrap_or_else(|| panic!("the agents' process is gone")).unwrap();
            if let Some((_runner, said)) = line.split_once(SAID) {
                return said.to_owned();
            }
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The other process: agents with a token each, until nobody asks any more.
fn agents(order: &Value) {
    install_providers();
    raise_open_files();
    let folder = PathBuf::from(order["folder"].as_str().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sockets = Arc::new(runtime.block_on(up(order, &folder)));
    println!("{SAID}up");
    for _question in std::io::stdin().lines() {
        println!("{SAID}{}", json!(runtime.block_on(signers(&sockets))));
    }
}

async fn up(order: &Value, folder: &Path) -> Vec<PathBuf> {
    let ca = fs::read(order["ca"].as_str().unwrap()).unwrap();
    let trust = ServerTrust::from_pem(&ca, "the door CA").unwrap();
    let (mut coming, places) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for (at, token) in fs::read_to_string(folder.join("tokens")).unwrap().lines().enumerate() {
        let settings = AgentSettings {
            server: order["server"].as_str().unwrap().parse().unwrap(),
            trust: trust.clone(),
            workload_socket: folder.join(format!("{at}.sock")),
            sds_socket: None,
            secrets: SecretNames::default(),
            agent_socket: None,
            metrics: None,
            program: None,
            socket_mode: MODE_EVERYBODY,
            callers: Callers::Any,
            state_dir: folder.join(format!("{at}.state")),
            token: TokenSource::Login,
            runner: None,
            files: None,
            on_stop: OnStop::KeepSession,
        };
        let (token, places) = (Zeroizing::new(token.to_owned()), Arc::clone(&places));
        coming.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            let socket = settings.workload_socket.clone();
            let agent = Agent::build(settings, Arc::new(SystemClock), &Random::system()).unwrap();
            let (handle, (stop, shutdown)) = (agent.handle().unwrap(), Shutdown::pair());
            tokio::spawn(async move {
                let _as_long_as_it_runs = stop;
                agent.run(shutdown).await.unwrap();
            });
            handle.login(token).await.unwrap();
            socket
        });
    }
    coming.join_all().await
}

/// What a workload of each is served.
async fn signers(sockets: &Arc<Vec<PathBuf>>) -> BTreeMap<String, usize> {
    let (mut asked, places) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for at in 0..sockets.len() {
        let (sockets, places) = (Arc::clone(sockets), Arc::clone(&places));
        asked.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            let client = WorkloadApiClient::connect_to(format!("unix://{}", sockets[at].display())).await.unwrap();
            let svid = client.fetch_x509_svid().await.unwrap();
            let signer = CertificateDer::from(svid.cert_chain()[1].as_bytes());
            inspect_authority(&signer).unwrap().key_id.to_string()
        });
    }
    let mut all = BTreeMap::new();
    for signer in asked.join_all().await {
        *all.entry(signer).or_default() += 1;
    }
    all
}
