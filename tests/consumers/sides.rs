//! The two sides of `docs/meshes/envoy.md`: an agent and an Envoy beside a deploy, and before ledger, which says who called.

use crate::consumer::{AGAIN_AFTER, Running};
use crate::envoy::command;
use crate::page;
use crate::place::free_port;
use crate::server::{Server, lanyard, words};
use crate::world::{Job, World};
use axum::Router;
use axum::http::HeaderMap;
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub(crate) const DEPLOY: Job = Job { number: 1, pipeline: "574" };
pub(crate) const LEDGER: Job = Job { number: 900, pipeline: "900" };
/// What makes a job a production deploy.
pub(crate) const PRODUCTION: [&str; 3] = ["environment=production", "environment_protected=true", "ref_protected=true"];
pub(crate) const OF_LEDGER: [&str; 2] = ["project_id=4712", "project_path=acme/ledger/api"];
pub(crate) const DEPLOY_ID: &str = "spiffe://ci.example.org/acme/payments/api/-/environments/production/pipelines/574";
pub(crate) const LEDGER_ID: &str = "spiffe://ci.example.org/acme/ledger/api/-/environments/production";

/// Everybody else whom the server names.
pub(crate) const OTHERS: &str = r#"
[[rule]]
name = "production deploys of others"
id = "/{project_path}/-/environments/production/pipelines/{pipeline_id}"
ttl = "15m"
when = { issuer = "corp", environment = "production", environment_protected = true, ref_protected = true }

[[rule]]
name = "whatever else runs"
id = "/{project_path}/-/pipelines/{pipeline_id}"
ttl = "15m"
when = { issuer = "corp" }
"#;

/// One rule for a whole group, which only an expression can tell from others; for rendering alone.
const OF_THE_GROUP: &str = r#"
[[rule]]
name = "production deploys of the group"
id = "/{project_path}/-/environments/production/pipelines/{pipeline_id}"
ttl = "15m"
when = { issuer = "corp", namespace_id = 812, environment = "production", environment_protected = true, ref_protected = true }
"#;

/// A busy machine needs a while; and Envoy comes back to an agent after half a minute at most.
const WITHIN: Duration = Duration::from_secs(90);

/// A text of the page with something else in a place of it.
pub(crate) fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the page says no {from:?} any more");
    text.replace(from, to)
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        thread::sleep(AGAIN_AFTER);
    }
}

/// Both sides, and what they need.
pub(crate) struct Mesh {
    pub(crate) world: World,
    pub(crate) deploy: Side,
    pub(crate) ledger: Side,
    /// The Envoy beside the deploy, and its way to the one before ledger.
    pub(crate) left: Proxy,
    pub(crate) right: Proxy,
    program: Program,
}

impl Mesh {
    /// With SVIDs of such a lifetime, and connections that are this old at most.
    pub(crate) fn start(ttl: Duration, age: Duration) -> Self {
        Self::with((ttl, age), "", "")
    }

    /// With more settings of the server's and of the agents'.
    pub(crate) fn with((ttl, age): (Duration, Duration), server: &str, agents: &str) -> Self {
        let policy = changed(&(page::block("policy.toml") + OTHERS), "15m", &format!("{}s", ttl.as_secs()));
        let (world, program) = (World::configured(&policy, server), Program::start());
        let [deploy, ledger] = ["deploy", "ledger"].map(|name| Side::with(&world, name, agents));
        deploy.login(&world.token_with(&DEPLOY, &PRODUCTION));
        ledger.login(&world.token_with(&LEDGER, &[&PRODUCTION[..], &OF_LEDGER].concat()));
        let right = ledger.proxy(&before_ledger(age), &program);
        let left = deploy.proxy(&beside_the_deploy(right.port), &program);
        Self { world, deploy, ledger, left, right, program }
    }

    /// One more Envoy, at a side's agent.
    pub(crate) fn another(&self, side: &Side, text: &str) -> Proxy {
        side.proxy(text, &self.program)
    }

    /// The Envoy before ledger, as `lanyard policy render envoy` prints it for the page's rules and one for a group.
    pub(crate) fn rendered(&self, arguments: &[&str]) -> String {
        let policy = self.world.place.file("rendered.toml");
        fs::write(&policy, page::block("policy.toml") + OF_THE_GROUP).unwrap();
        let mut command = lanyard();
        command.args(["policy", "render", "envoy", "--trust-domain", "ci.example.org", "--service", "ledger"]);
        let output = command.args(arguments).arg(policy).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The deploy calls ledger.
    pub(crate) fn call(&self) -> Answer {
        self.left.call()
    }
}

pub(crate) fn before_ledger(age: Duration) -> String {
    changed(
        &page::block("ledger.yaml"),
        "max_connection_duration: 60s",
        &format!("max_connection_duration: {}s", age.as_secs()),
    )
}

pub(crate) fn beside_the_deploy(ledger: u16) -> String {
    let text = changed(&page::block("job.yaml"), "address: ledger.example.org", "address: 127.0.0.1");
    changed(&text, "8443", &ledger.to_string())
}

/// An agent with a folder of its own.
pub(crate) struct Side {
    folder: PathBuf,
    agent: Option<Server>,
}

impl Side {
    pub(crate) fn start(world: &World, name: &str) -> Self {
        Self::with(world, name, "")
    }

    /// With more settings.
    pub(crate) fn with(world: &World, name: &str, settings: &str) -> Self {
        Self::listening(world, name, ("", settings))
    }

    /// With more places to listen at, and more settings.
    pub(crate) fn listening(world: &World, name: &str, (places, settings): (&str, &str)) -> Self {
        let folder = world.place.file(name);
        fs::create_dir(&folder).unwrap();
        let text = changed(&page::block("agent.toml"), "/run/lanyard", &folder.display().to_string());
        let text = changed(&text, "lanyard.example.org:8443", &format!("127.0.0.1:{}", world.place.port));
        let ca = world.place.data().join("door-ca.pem");
        let text = changed(&text, "/etc/lanyard/door-ca.pem", &ca.display().to_string());
        let places = places.replace("FOLDER", &folder.display().to_string());
        let text = changed(&text, "[listen]\n", &format!("[listen]\n{places}"));
        fs::write(folder.join("agent.toml"), text + "\n" + settings).unwrap();
        let mut side = Self { folder, agent: None };
        side.start_agent();
        side
    }

    pub(crate) fn start_agent(&mut self) {
        let mut agent = Server::spawn_agent(&self.folder.join("agent.toml"));
        agent.wait_until(|| UnixStream::connect(self.folder.join("sockets/agent.sock")).is_ok());
        self.agent = Some(agent);
    }

    /// SIGKILL.
    pub(crate) fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What its agent has said since it was started.
    pub(crate) fn log(&self) -> String {
        self.agent.as_ref().unwrap().log()
    }

    /// As the page's job does it.
    pub(crate) fn login(&self, token: &str) {
        let (mut command, socket) = (lanyard(), self.folder.join("sockets/agent.sock"));
        let output = command.arg("login").env("LANYARD_ID_TOKEN", token).env("LANYARD_AGENT_SOCKET", socket).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", words(&output));
    }

    /// And as it ends.
    pub(crate) fn logout(&self) {
        let (mut command, socket) = (lanyard(), self.folder.join("sockets/agent.sock"));
        let output = command.arg("logout").env("LANYARD_AGENT_SOCKET", socket).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
    }

    /// Asks the Workload API, and leaves what comes in a folder.
    pub(crate) fn svid(&self, folder: &str) -> (PathBuf, Output) {
        let (folder, socket) = (self.folder.join(folder), self.folder.join("sockets/api.sock"));
        let mut command = lanyard();
        command.args(["svid", "x509", "--wait", "5", "--write"]).arg(&folder);
        let output = command.env("SPIFFE_ENDPOINT_SOCKET", format!("unix:{}", socket.display())).output().unwrap();
        (folder, output)
    }

    /// An Envoy on a configuration of the page.
    pub(crate) fn proxy(&self, text: &str, program: &Program) -> Proxy {
        let port = free_port();
        let folder = self.folder.join(format!("envoy-{port}"));
        fs::create_dir(&folder).unwrap();
        let own = [
            ("/run/envoy", folder.display().to_string()),
            ("/run/lanyard/sockets", self.folder.join("sockets").display().to_string()),
            ("port_value: 8443", format!("port_value: {port}")),
            ("port_value: 9001", format!("port_value: {port}")),
            ("port_value: 8080", format!("port_value: {}", program.port)),
        ];
        let text = own.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        let whole = folder.join("envoy.yaml");
        fs::write(&whole, text).unwrap();
        let running = Running::spawn("Envoy", command(&whole), Signal::TERM, &folder, port);
        Proxy { folder, port, running }
    }
}

/// An Envoy that listens.
pub(crate) struct Proxy {
    folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) running: Running,
}

impl Proxy {
    /// Plain HTTP.
    pub(crate) fn call(&self) -> Answer {
        ask(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap(), "/entries")
    }

    /// What it counts under a name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let admin = UnixStream::connect(self.folder.join("admin.sock")).unwrap();
        let Answer { body, .. } = ask(admin, &format!("/stats?filter=^{name}$"));
        let count = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.trim().parse().ok());
        count.unwrap_or_else(|| panic!("Envoy does not count {name}: {body}"))
    }
}

/// What stands at a path of a plain port.
pub(crate) fn fetched(port: u16, path: &str) -> String {
    let Answer { status, body } = ask(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(), path);
    assert_eq!(status, 200, "{body}");
    body
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

fn ask(mut stream: impl Read + Write, path: &str) -> Answer {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: ledger\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, body: body.to_owned() }
}

/// Ledger itself: it answers with what its Envoy tells of the caller.
pub(crate) struct Program {
    pub(crate) port: u16,
    _runtime: Runtime,
}

impl Program {
    pub(crate) fn start() -> Self {
        let (port, runtime) = (free_port(), Runtime::new().unwrap());
        let caller = |headers: HeaderMap| async move {
            headers.get("x-forwarded-client-cert").map(|caller| caller.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))).unwrap();
        let serving = axum::serve(listener, Router::new().fallback(caller));
        runtime.spawn(async { serving.await.unwrap() });
        Self { port, _runtime: runtime }
    }
}
