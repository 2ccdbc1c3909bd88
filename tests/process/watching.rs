//! What operators watch: alerts that fire and are silent when they should, a dashboard whose every query has data, all by a
//! real Prometheus at a real server.

use crate::callers::{csr, now, p256, session_channel};
use crate::fleet::authority;
use crate::own_server::OwnServer;
use crate::place::{Place, free_port};
use crate::python;
use crate::server::{Server, lanyard, words};
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{AcknowledgeRequest, ExchangeRequest};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/lanyard/files");
/// A scrape a second, and rates over a few of them.
const DATA_WITHIN: Duration = Duration::from_secs(120);

/// Ended by its own process id.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn watch(targets: [u16; 2], folder: &Path) -> Self {
        let config = folder.join("prometheus.yml");
        let targets = targets.map(|port| format!("'127.0.0.1:{port}'")).join(", ");
        let scrape = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: lanyard, static_configs: [{{targets: [{targets}]}}]}}]\n"
        );
        fs::write(&config, scrape).unwrap();
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus, which tests/run installs: {error}"));
        Self { child, port }
    }

    /// What a query gives, one entry a series.
    fn ask(&self, query: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let asked =
            Command::new("curl").args(["--silent", "--data-urlencode"]).arg(format!("query={query}")).arg(url).output();
        let answer: Value = serde_json::from_slice(&asked.unwrap().stdout).unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// When each target that answers was read last, in seconds.
    fn readings(&self) -> Vec<f64> {
        let seconds = |series: &Value| series["value"][1].as_str()?.parse().ok();
        self.ask("timestamp(up == 1)").iter().filter_map(seconds).collect()
    }

    /// Waits until all targets are read anew: how soon that is depends on the machine.
    fn reads_on(&self, targets: usize, deadline: Instant) {
        let before = self.readings().into_iter().fold(0.0, f64::max);
        while self.readings().iter().filter(|at| **at > before).count() < targets {
            assert!(Instant::now() < deadline, "not read: {:?}, {before}", self.readings());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn has(&self, query: &str) -> bool {
        self.ask(query).iter().any(|series| series["value"][1] != "NaN")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[test]
fn each_alert_fires_when_it_should_and_is_silent_otherwise() {
    let folder = TempDir::new().unwrap();
    fs::copy(format!("{FILES}/alerts.yaml"), folder.path().join("alerts.yaml")).unwrap();
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/alerts.test.yaml");
    fs::copy(table, folder.path().join("alerts.test.yaml")).unwrap();
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        let judged = Command::new("promtool").args(arguments).current_dir(folder.path()).output();
        let judged = judged.expect("promtool: tests/run installs prometheus");
        assert!(judged.status.success(), "{}", words(&judged));
    }
    let (alerts, tests) =
        (fs::read_to_string(format!("{FILES}/alerts.yaml")).unwrap(), fs::read_to_string(table).unwrap());
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.matches(alert).count() >= 2, "{alert} is not shown both ways");
    }
}

/// A job's `lanyard exec` of this, at a place of its own.
fn exec(server: &OwnServer, (token, at): (&str, &str), rest: &[&str]) -> Command {
    let place = server.file(at);
    fs::create_dir_all(&place).unwrap();
    let mut exec = lanyard();
    exec.arg("exec").args(rest).env_clear().env("LANYARD_SERVER", server.url());
    exec.env("LANYARD_SERVER_CA", server.file("data/door-ca.pem")).env("TMPDIR", &place);
    exec.env("LANYARD_ID_TOKEN", token).env("PATH", "/usr/bin:/bin");
    exec
}

/// Something of everything that is counted: an identity for which GitLab was asked, its end, a thief, one that stays, a token
/// for others.
fn live(server: &OwnServer) {
    let succeeds = |token: &str, at: &str, flags: &[&str]| {
        exec(server, (token, at), &[flags, &["--", "true"]].concat()).output().unwrap().status.success()
    };
    let token = server.token_for("https://lanyard.test");
    assert!(succeeds(&token, "job", &[]));
    assert!(!succeeds(&token, "thief", &[]));
    assert!(succeeds(&token, "job", &["--end"]));
    assert!(succeeds(&server.token_for("https://lanyard.test"), "stays", &[]));
    assert!(!succeeds(&server.token_for("https://vault.test"), "other", &[]));
}

/// A job that listens for as long as this lives: those above may be over before they are heard again.
struct Listening(Child);

impl Listening {
    fn at(server: &OwnServer) -> Self {
        let token = server.token_for("https://lanyard.test");
        Self(exec(server, (&token, "listens"), &["--", "sleep", "600"]).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let told = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ended = told.and_then(|_| self.0.wait());
    }
}

/// The agent of a host beside this server, whose numbers are at this port.
fn agent_of(server: &OwnServer, port: u16) -> Server {
    let place = server.file("agent");
    fs::create_dir(&place).unwrap();
    let (url, ca, at) = (server.url(), server.file("data/door-ca.pem"), place.display());
    let text = format!(
        "server = \"{url}\"\nserver_ca_file = \"{}\"\nmode = \"pod\"\nstate_dir = \"{at}/state\"\n[token]\nsource = \"login\"\n[listen]\n\
         workload = \"{at}/api.sock\"\nagent = \"{at}/agent.sock\"\nsds = \"{at}/lanyard.sock\"\nmetrics = \"127.0.0.1:{port}\"\n",
        ca.display()
    );
    let config = place.join("agent.toml");
    fs::write(&config, text).unwrap();
    let mut agent = Server::spawn_agent(&config);
    agent.wait_until(|| place.join("agent.sock").exists());
    agent
}

/// A change of the root, and a change of the rules that fails.
fn change(server: &OwnServer) {
    let admin = |arguments: &[&str]| {
        let done = lanyard().args(arguments).arg("--admin-socket").arg(server.file("admin.sock")).output().unwrap();
        assert!(done.status.success(), "{}", words(&done));
    };
    admin(&["authority", "prepare"]);
    admin(&["authority", "activate", "--force", "--reason", "a drill"]);
    let partner = server.file("data/door-ca.pem").display().to_string();
    admin(&["bundle", "set", "partner.example", "--pem", &partner]);
    let rules = fs::read_to_string(server.file("policy.toml")).unwrap();
    fs::write(server.file("policy.toml"), "[[rule]]\n").unwrap();
    let reload = lanyard().args(["policy", "reload", "--admin-socket"]).arg(server.file("admin.sock")).output();
    assert!(!reload.unwrap().status.success());
    fs::write(server.file("policy.toml"), rules).unwrap();
}

/// What the dashboard asks, and what each alert looks at, without the limit beyond which it fires.
fn queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(format!("{FILES}/dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut queries: Vec<String> =
        targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "1m")).collect();
    let alerts = fs::read(format!("{FILES}/alerts.yaml")).unwrap();
    let alerts: Value = serde_json::from_slice(&python::run("yaml_to_json.py", &alerts)).unwrap();
    let limit = Regex::new(r" (==|>|<) [0-9.]+").unwrap();
    let rules = alerts[0]["groups"][0]["rules"].as_array().unwrap();
    queries.extend(rules.iter().map(|rule| limit.replace_all(rule["expr"].as_str().unwrap(), "").into_owned()));
    assert!(queries.len() > 50 && !rules.is_empty(), "{queries:?}");
    queries
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_has_data_under_load_denials_a_rotation_and_an_outage() {
    /// So often there is load before GitLab is gone.
    const ROUNDS: usize = 4;
    let mut server = OwnServer::with("");
    let (folder, agent_port) = (TempDir::new().unwrap(), free_port());
    let (_agent, _job) = (agent_of(&server, agent_port), Listening::at(&server));
    let prometheus = Prometheus::watch([server.health_port, agent_port], folder.path());
    let mut wanted = queries();
    let deadline = Instant::now() + DATA_WITHIN;
    let mut round = 0;
    while !wanted.is_empty() {
        assert!(Instant::now() < deadline, "no data: {wanted:#?}");
        prometheus.reads_on(2, deadline); // a count that never grew before its eyes has no rate
        match round {
            0..ROUNDS => live(&server),
            ROUNDS => {
                change(&server);
                server.lose_gitlab();
            }
            _ => {
                let answer = server.ask(&server.token_for("https://lanyard.test"), "x: y");
                assert_eq!(answer["code"], "fact_unavailable");
            }
        }
        round += 1;
        wanted.retain(|query| !prometheus.has(query));
    }
}

/// Labels are codes, and names that an operator has written.
#[test]
fn no_caller_makes_a_series_whatever_it_sends() {
    let server = OwnServer::with("");
    let round = |number: u32| {
        let project = format!("project_path=acme-{number}/api");
        let (user, branch) = (format!("user_login=ada-{number}"), format!("ref=branch-{number}"));
        let good = server.token_with("https://lanyard.test", &[&project, &user, &branch]);
        server.ask(&good, "x: y");
        server.ask(&good, "x: y"); // with another key
        server.ask(&server.token_with(&format!("https://audience-{number}.test"), &[]), "x: y");
        server.ask(&server.token_with("https://lanyard.test", &[&format!("iss=https://issuer-{number}.test")]), "x: y");
        server.ask(&format!("garbage-{number}"), "x: y");
        let told = told(server.health_port, "metrics");
        assert!(!told.contains(&format!("-{number}")), "{told}");
        let series = told.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        series.map(|(series, _)| series.to_owned()).collect::<BTreeSet<_>>()
    };
    let first = round(7101);
    for code in ["issued", "token_replayed", "token_audience_wrong", "issuer_unknown"] {
        assert!(first.iter().any(|series| series.contains(&format!("code=\"{code}\""))), "{code}: {first:#?}");
    }
    assert_eq!(round(7102), first);
    assert_eq!(round(7103), first);
}

#[test]
fn a_refusal_has_one_request_id_in_the_answer_the_log_and_the_journal() {
    let server = OwnServer::with("");
    let token = server.token_for("https://lanyard.test");
    assert!(server.ask(&token, "x: y")["spiffe_id"].is_string());
    let refused = server.ask(&token, "x: y");
    assert_eq!(refused["code"], "token_replayed");
    let id = refused["request_id"].as_str().unwrap();
    let line = server.log().lines().find(|line| line.contains("token_replayed")).unwrap_or_default().to_owned();
    assert!(line.contains(id), "{id}: {}", server.log());
    // A refusal is written beside the road: nobody waits for it.
    let deadline = Instant::now() + DATA_WITHIN;
    let config = server.file("server.toml");
    let journal =
        || lanyard().args(["audit", "show", "--refused", "--json", "--config"]).arg(&config).output().unwrap();
    while !words(&journal()).contains(id) {
        assert!(Instant::now() < deadline, "{id}: {}", words(&journal()));
        thread::sleep(Duration::from_millis(100));
    }
}

/// What the plain port tells.
fn page(place: &Place, name: &str) -> String {
    told(place.health_port, name)
}

fn told(health_port: u16, name: &str) -> String {
    let url = format!("http://127.0.0.1:{health_port}/{name}");
    let page = Command::new("curl").args(["--silent", "--noproxy", "*", &url]).output().unwrap();
    String::from_utf8(page.stdout).unwrap()
}

/// The value of a series.
pub(crate) fn scraped(place: &Place, series: &str) -> Option<f64> {
    page(place, "metrics").lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

pub(crate) fn until(place: &Place, series: &str, so: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + DATA_WITHIN;
    while !scraped(place, series).is_some_and(&so) {
        assert!(Instant::now() < deadline, "{series} is {:?}", scraped(place, series));
        thread::sleep(Duration::from_millis(200));
    }
}

/// A server whose agent says that it is there, and nothing of its bundle.
struct Unsaid {
    place: Place,
    _server: Server,
    agent: IssuerClient<Channel>,
    session: String,
    runtime: Runtime,
}

impl Unsaid {
    fn with(ttl: &str) -> Self {
        let place = Place::with(&format!("[svid]\nttl = \"{ttl}\"\n[keys]\nrefresh_hint = \"1s\"\n"));
        let policy = fs::read_to_string(place.file("policy.toml")).unwrap().replace("15m", ttl);
        fs::write(place.file("policy.toml"), policy).unwrap();
        let (server, runtime) = (Server::start(&place), Runtime::new().unwrap());
        let (agent, session) = runtime.block_on(async {
            let mut agent = IssuerClient::new(session_channel(&place));
            let (token, csr) = (place.issuer.token(now()), csr(&p256()).into());
            let answer = agent.exchange(ExchangeRequest { token, csr, profile: String::new() }).await.unwrap();
            (agent, answer.into_inner().session)
        });
        let unsaid = Self { place, _server: server, agent, session, runtime };
        unsaid.is_heard();
        unsaid
    }

    fn is_heard(&self) {
        let request = AcknowledgeRequest { session: self.session.clone(), bundle_sequence: 0 };
        let _answer = self.runtime.block_on(self.agent.clone().acknowledge(request)).unwrap();
    }
}

#[test]
fn who_has_which_bundle_since_when_and_who_is_stuck_is_told_to_prometheus() {
    let unsaid = Unsaid::with("8s");
    authority(&unsaid.place, &["prepare"]);
    until(&unsaid.place, "lanyard_holders{sequence=\"0\"}", |holders| holders > 0.5);
    // Longer than what it shows lives, and than the hint.
    until(&unsaid.place, "lanyard_slowest_holder_seconds", |behind| behind > 9.0);
    unsaid.is_heard();
    until(&unsaid.place, "lanyard_stuck_holders", |stuck| stuck > 0.5);
}

#[test]
fn what_is_still_on_tainted_keys_is_told_to_prometheus() {
    let unsaid = Unsaid::with("10m");
    let listed = authority(&unsaid.place, &["list"]);
    let former = listed["keys"][0]["key_id"].as_str().unwrap();
    authority(&unsaid.place, &["prepare"]);
    authority(&unsaid.place, &["activate", "--force", "--reason", "a drill"]);
    until(&unsaid.place, "lanyard_svids_on_tainted_keys", |svids| svids < 0.5);
    authority(&unsaid.place, &["taint", "--no-wait", former]);
    until(&unsaid.place, "lanyard_svids_on_tainted_keys", |svids| svids > 0.5);
    authority(&unsaid.place, &["revoke", former, "--force", "--reason", "a drill"]);
    until(&unsaid.place, "lanyard_svids_on_tainted_keys", |svids| svids < 0.5);
}

#[test]
fn a_place_that_cannot_be_written_is_counted_and_said_by_ready_and_the_plan_until_it_can() {
    const WORRY: &str = ", but the trust bundle cannot be written everywhere: lanyard authority plan";
    const FAILING: &str = "lanyard_publishers_failing";
    let files = ["here.json", "out/bundle.json"];
    let place = Place::with(&files.map(|file| format!("[[publish]]\nfile = \"{file}\"\nform = \"spiffe\"\n")).concat());
    let _server = Server::start(&place);
    until(&place, FAILING, |count| (0.5..1.5).contains(&count));
    assert!(page(&place, "ready").contains(WORRY), "{}", page(&place, "ready"));
    let plan = lanyard().args(["authority", "plan", "--admin-socket"]).arg(place.data().join("admin.sock")).output();
    let plan = words(&plan.unwrap());
    let told: Vec<_> = plan.lines().filter(|line| line.contains("cannot write: ")).collect();
    assert!(told.len() == 1 && told.iter().all(|line| line.contains("out/bundle.json")), "{plan}");
    fs::create_dir(place.file("out")).unwrap();
    until(&place, FAILING, |count| count < 0.5);
    assert!(!page(&place, "ready").contains("but the trust bundle"));
}
