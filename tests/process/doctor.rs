//! `lanyard doctor` at broken places: it names the real cause first, and says what to do.

use crate::dev_env::variables;
use crate::gitlab::Gitlab;
use crate::place::{Place, free_port};
use crate::server::{Server, lanyard, words};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A job's place where all is well, to be broken.
struct Job {
    variables: BTreeMap<String, String>,
    flags: Vec<String>,
    folder: TempDir,
}

impl Job {
    fn new(gitlab: &Gitlab) -> Self {
        let mut variables = variables(gitlab);
        variables.remove("LANYARD_CONFIG");
        variables.insert("LANYARD_ID_TOKEN".to_owned(), gitlab.token_for("https://lanyard.test", &[]));
        Self { variables, flags: Vec::new(), folder: TempDir::new().unwrap() }
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    fn unset(&mut self, names: &[&str]) {
        self.variables.retain(|name, _| !names.contains(&name.as_str()));
    }

    /// Without an agent: the server and the token are what matters.
    fn without_agent(&mut self) {
        self.unset(&["SPIFFE_ENDPOINT_SOCKET", "LANYARD_AGENT_SOCKET"]);
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn doctor(&self, more: &[&str]) -> Output {
        self.looked(lanyard().arg("doctor").args(&self.flags).args(more))
    }

    /// In a pod that has the folder in which Istio's proxies look for an agent, with these files in it.
    fn doctor_in_pod(&self, files: &str) -> Output {
        let folder = "/run/secrets/workload-spiffe-uds";
        let script = format!(
            "mount -t tmpfs pod /run && mkdir -p {folder} && cd {folder} && touch . {files} && exec \"$0\" doctor --json"
        );
        let mut pod = Command::new("unshare");
        self.looked(pod.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(lanyard().get_program()))
    }

    fn looked(&self, command: &mut Command) -> Output {
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(&self.variables).output().unwrap()
    }

    /// What is to be mended first, with what to do.
    fn first(&self) -> (String, String) {
        first_of(&self.doctor(&["--json"]))
    }
}

fn first_of(output: &Output) -> (String, String) {
    assert_eq!(output.status.code(), Some(1), "{}", words(output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let wrong = told["findings"].as_array().unwrap().iter().find(|finding| finding["verdict"] == "wrong").unwrap();
    let text = |name: &str| wrong[name].as_str().unwrap().to_owned();
    (text("check"), format!("{}\n{}", text("found"), text("remedy")))
}

/// How a place is broken, what is to be mended first, and words that must be said.
type Case = (&'static str, fn(&mut Job, &Gitlab), &'static str, &'static [&'static str]);

const BROKEN: [Case; 21] = [
    (
        "nothing is named",
        |job, _| job.variables.clear(),
        "server address",
        &["no server is named", "LANYARD_SERVER=https://"],
    ),
    ("no URL", |job, _| job.set("LANYARD_SERVER", "lanyard.example:8443"), "server address", &["https://host"]),
    (
        "no such name",
        |job, _| job.set("LANYARD_SERVER", "https://lanyard.invalid"),
        "server name",
        &["lanyard.invalid", "DNS"],
    ),
    (
        "nobody listens",
        |job, _| job.set("LANYARD_SERVER", format!("https://127.0.0.1:{}", free_port())),
        "server port",
        &["cannot connect", "firewalls"],
    ),
    (
        "no CA is named",
        |job, _| job.unset(&["LANYARD_SERVER_CA"]),
        "server TLS",
        &["door CA of its own", "server_ca_sha256"],
    ),
    (
        "no such CA file",
        |job, _| job.set("LANYARD_SERVER_CA", "/nowhere/ca.pem"),
        "server address",
        &["/nowhere/ca.pem", "no such file"],
    ),
    (
        "another CA",
        |job, gitlab| job.set("LANYARD_SERVER_CA", gitlab.file("gitlab-ca.pem").display().to_string()),
        "server TLS",
        &["not the server's"],
    ),
    (
        "another digest",
        |job, _| {
            job.unset(&["LANYARD_SERVER_CA"]);
            job.flags = vec!["--server-ca-sha256".to_owned(), "0".repeat(64)];
        },
        "server TLS",
        &["none of the server's", "not the server's"],
    ),
    (
        "GitLab in its place",
        |job, gitlab| {
            job.set("LANYARD_SERVER", gitlab.url());
            job.set("LANYARD_SERVER_CA", gitlab.file("gitlab-ca.pem").display().to_string());
        },
        "server answer",
        &["no trust bundle", "issuer port"],
    ),
    (
        "no token",
        |job, _| {
            job.without_agent();
            job.unset(&["LANYARD_ID_TOKEN"]);
        },
        "token",
        &["LANYARD_ID_TOKEN holds no token", "id_tokens:"],
    ),
    (
        "under another name",
        |job, _| {
            job.without_agent();
            let token = job.variables.remove("LANYARD_ID_TOKEN").unwrap();
            job.set("VAULT_ID_TOKEN", token);
        },
        "token",
        &["VAULT_ID_TOKEN"],
    ),
    ("no id_token", |job, _| job.set("LANYARD_ID_TOKEN", "eyJ.e30.c2ln"), "token", &["id_tokens: in .gitlab-ci.yml"]),
    (
        "an old token",
        |job, gitlab| {
            job.set(
                "LANYARD_ID_TOKEN",
                gitlab.token_for("https://lanyard.test", &["exp=1700000000", "iat=1690000000"]),
            );
        },
        "token",
        &["was over at 2023", "retry the job"],
    ),
    (
        "for somebody else",
        |job, gitlab| job.set("LANYARD_ID_TOKEN", gitlab.token_for("https://vault.test", &[])),
        "policy",
        &["token_audience_wrong", "aud: \"https://lanyard.test\""],
    ),
    (
        "no address of a socket",
        |job, _| job.set("SPIFFE_ENDPOINT_SOCKET", "/run/api.sock"),
        "workload socket",
        &["unix:///absolute/path"],
    ),
    (
        "no folder of an agent",
        |job, _| job.set("SPIFFE_ENDPOINT_SOCKET", "unix:///nowhere/api.sock"),
        "workload socket",
        &["mount the agent's folder"],
    ),
    (
        "no agent in its folder",
        |job, _| job.set("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}/api.sock", job.folder.path().display())),
        "workload socket",
        &["is one running"],
    ),
    (
        "an agent that has gone",
        |job, _| {
            let path = job.folder.path().join("api.sock");
            drop(UnixListener::bind(&path).unwrap());
            job.set("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", path.display()));
        },
        "workload socket",
        &["has gone"],
    ),
    (
        "another socket",
        |job, _| {
            let own = job.variables["LANYARD_AGENT_SOCKET"].clone();
            job.set("SPIFFE_ENDPOINT_SOCKET", format!("unix://{own}"));
        },
        "SVID",
        &["does not speak the Workload API"],
    ),
    (
        "a file for a socket",
        |job, _| {
            let path = job.file("agent.sock", "");
            job.set("LANYARD_AGENT_SOCKET", path);
        },
        "agent socket",
        &["no socket"],
    ),
    (
        "a configuration with a slip",
        |job, _| {
            let path = job.file("server.toml", "trust_domain = \"ci.example.org\"\n");
            job.set("LANYARD_CONFIG", path);
        },
        "configuration",
        &["data_dir"],
    ),
];

#[test]
fn a_place_where_all_is_well_is_told_so_with_what_its_token_gets() {
    let gitlab = Gitlab::start();
    let job = Job::new(&gitlab);
    let output = job.doctor(&[]);
    assert!(output.status.success(), "{}", words(&output));
    let told = words(&output);
    for words in ["this token gets spiffe://dev.lanyard.test/", "for 8", "agent.sock answers", "Nothing is wrong here"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn every_broken_place_is_diagnosed_by_its_cause_first() {
    let gitlab = Gitlab::start();
    for (name, break_it, check, said) in BROKEN {
        let mut job = Job::new(&gitlab);
        break_it(&mut job, &gitlab);
        let (first, told) = job.first();
        assert_eq!(first, check, "{name}: {told}");
        for words in said {
            assert!(told.contains(words), "{name}, {words}: {told}");
        }
    }
}

/// The server's own view: what it cannot reach, and what is not running.
#[test]
fn a_server_s_place_is_diagnosed_by_its_configuration() {
    let gitlab = Gitlab::start();
    let config = fs::read_to_string(gitlab.file("server.toml")).unwrap();
    let mut job = Job::new(&gitlab);
    job.variables.clear();
    let mut look = |text: &str| {
        let path: PathBuf = gitlab.file("other.toml");
        fs::write(&path, text).unwrap();
        job.set("LANYARD_CONFIG", path.display().to_string());
        job.first()
    };
    let (first, told) = look(&config.replace(&gitlab.url(), "https://127.0.0.1:1"));
    assert_eq!(first, "issuer keys", "{told}");
    let (first, told) = look(&config.replace("admin.sock", "nobody.sock"));
    assert_eq!((first.as_str(), told.contains("start it")), ("server", true), "{told}");

    // An operator's variables name the server, and no job's token.
    job.set("LANYARD_CONFIG", gitlab.file("server.toml").display().to_string());
    let places = variables(&gitlab);
    for name in ["LANYARD_SERVER", "LANYARD_SERVER_CA"] {
        job.set(name, places[name].clone());
    }
    let output = job.doctor(&[]);
    let told = words(&output);
    assert!(output.status.success() && !told.contains("token") && told.contains("readiness"), "{told}");
    job.set("LANYARD_ID_TOKEN", "none");
    assert_eq!(job.first().0, "token");
}

/// What only another server, another GitLab or another clock can break.
#[test]
fn rules_clocks_and_strangers_are_diagnosed_as_what_they_are() {
    let (gitlab, other) = (Gitlab::start(), Gitlab::start());
    let mut job = Job::new(&gitlab);
    job.without_agent();
    job.set("LANYARD_ID_TOKEN", other.token_for("https://lanyard.test", &[]));
    let (first, told) = job.first();
    assert!(first == "policy" && told.contains("issuer_unknown") && told.contains("another GitLab"), "{first}: {told}");

    // No rule is for this project.
    let policy = fs::read_to_string(gitlab.file("policy.toml")).unwrap();
    fs::write(gitlab.file("policy.toml"), policy.replace("issuer = \"dev\"", "issuer = \"dev\"\nproject_id = 1\n"))
        .unwrap();
    let reloaded = lanyard().args(["policy", "reload", "--admin-socket"]).arg(gitlab.file("admin.sock")).output();
    assert!(reloaded.unwrap().status.success());
    job.set("LANYARD_ID_TOKEN", gitlab.token_for("https://lanyard.test", &[]));
    let (first, told) = job.first();
    assert!(
        first == "policy" && told.contains("no_rule_matches") && told.contains("lanyard explain"),
        "{first}: {told}"
    );

    let place = Place::new();
    let mut late = lanyard();
    late.arg("server").env("LD_PRELOAD", an_hour_late(job.folder.path()));
    let mut server = Server::run(&mut late, &place.config());
    server.wait_until_ready(&place);
    job.set("LANYARD_SERVER", format!("https://127.0.0.1:{}", place.port));
    job.set("LANYARD_SERVER_CA", place.data().join("door-ca.pem").display().to_string());
    let (first, told) = job.first();
    assert!(first == "clock" && told.contains("s ahead of the server") && told.contains("NTP"), "{first}: {told}");
}

/// A library that sets a process's clock back.
fn an_hour_late(folder: &Path) -> PathBuf {
    let library = folder.join("late_clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/process/late_clock.c");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).output();
    let made = made.unwrap_or_else(|error| panic!("cc, which links every program of ours: {error}"));
    assert!(made.status.success(), "{}", words(&made));
    library
}

/// GitLab has gone before the server could read its keys.
#[test]
fn a_server_that_cannot_reach_gitlab_is_named_in_the_job() {
    let mut gitlab = Gitlab::start();
    let place = Place::new();
    let text = fs::read_to_string(place.config()).unwrap();
    let (ours, _) = text.split_once("[[issuer]]").unwrap();
    let ca = fs::read(gitlab.file("gitlab-ca.pem")).unwrap();
    fs::write(place.file("gitlab-ca.pem"), ca).unwrap();
    let issuer = format!(
        "[[issuer]]\nname = \"corp\"\nurl = \"{}\"\naudience = \"https://lanyard.test\"\nca_file = \"gitlab-ca.pem\"\n",
        gitlab.url()
    );
    fs::write(place.config(), format!("{ours}{issuer}")).unwrap();
    let mut job = Job::new(&gitlab);
    job.without_agent();
    gitlab.end();
    let mut server = Server::spawn(&place.config());
    let (port, door_ca) = (place.port, place.data().join("door-ca.pem"));
    server.wait_until(|| door_ca.exists() && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    job.set("LANYARD_SERVER", format!("https://127.0.0.1:{port}"));
    job.set("LANYARD_SERVER_CA", door_ca.display().to_string());
    let (first, told) = job.first();
    assert!(first == "policy" && told.contains("issuer_unavailable"), "{first}: {told}");
    assert!(told.contains("lanyard doctor --config server.toml"), "{told}");
}

#[test]
fn a_runner_s_host_is_diagnosed_by_its_agent_s_configuration() {
    let gitlab = Gitlab::start();
    let places = variables(&gitlab);
    let mut job = Job::new(&gitlab);
    job.variables.clear();
    let folder = job.folder.path().display().to_string();
    let good = format!(
        "server = \"{}\"\nserver_ca_file = \"{}\"\nmode = \"pod\"\nstate_dir = \"{folder}/state\"\n[listen]\nworkload = \
         \"{folder}/api.sock\"\nagent = \"{folder}/agent.sock\"\n[token]\nsource = \"login\"\n",
        places["LANYARD_SERVER"], places["LANYARD_SERVER_CA"]
    );
    let config = job.file("agent.toml", &good);
    job.set("LANYARD_CONFIG", &config);
    let look = |text: String| {
        fs::write(&config, text).unwrap();
        job.first()
    };
    let (first, told) = look(good.replace("mode = \"pod\"", "mode = \"host\""));
    assert!(
        first == "configuration" && told.contains("as an agent's") && told.contains("host.jobs"),
        "{first}: {told}"
    );
    let (first, told) =
        look(good.replace(&places["LANYARD_SERVER_CA"], &gitlab.file("gitlab-ca.pem").display().to_string()));
    assert!(first == "server TLS" && told.contains("not the server's"), "{first}: {told}");
    let (first, told) = look(good.replace(&places["LANYARD_SERVER"], &format!("https://127.0.0.1:{}", free_port())));
    assert!(first == "server port" && told.contains("firewalls"), "{first}: {told}");
    let (first, told) = look(good);
    assert!(first == "workload socket" && told.contains("is one running"), "{first}: {told}");

    // Where nobody has logged in, nothing is wrong with the host; it is with the job.
    let mut agent = Server::spawn_agent(Path::new(&config));
    let socket = job.folder.path().join("agent.sock");
    agent.wait_until(|| socket.exists());
    let output = job.doctor(&[]);
    assert!(
        output.status.success() && words(&output).contains("a job gets its own when it logs in"),
        "{}",
        words(&output)
    );
    job.variables.clear();
    job.set("SPIFFE_ENDPOINT_SOCKET", format!("unix://{folder}/api.sock"));
    let (first, told) = job.first();
    assert!(first == "SVID" && told.contains("lanyard login"), "{first}: {told}");
    agent.kill();
    let (first, told) = job.first();
    assert!(first == "workload socket" && told.contains("the agent that made it has gone"), "{first}: {told}");
}

#[test]
fn a_pod_whose_mesh_finds_no_agent_or_falls_back_in_silence_is_told_so() {
    let gitlab = Gitlab::start();
    let job = Job::new(&gitlab);
    let (first, told) = first_of(&job.doctor_in_pod(""));
    assert!(first == "mesh socket" && told.contains("[listen] sds"), "{first}: {told}");
    let output = job.doctor_in_pod("socket");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
    let warning = told["findings"].as_array().unwrap().iter().find(|finding| finding["verdict"] == "warning").unwrap();
    assert!(warning["remedy"].as_str().unwrap().contains("WORKLOAD_IDENTITY_SOCKET_FILE=lanyard.sock"), "{warning}");
    let fine = job.doctor_in_pod("lanyard.sock");
    assert!(fine.status.success(), "{}", words(&fine));
}
