//! The pod of a job, played through without a cluster: its containers are processes in a network of their own with a folder
//! that they share, an Envoy stands in the place of the mesh's proxy, and the job logs in late. Nothing waits for what waits
//! for it.

use crate::callers::now;
use crate::consumer::AGAIN_AFTER;
use crate::installed::installed;
use crate::issuer::AUDIENCE;
use crate::page;
use crate::place::free_port;
use crate::server::{Server, lanyard, words};
use crate::sides::{
    DEPLOY, DEPLOY_ID, OF_LEDGER, OTHERS, PRODUCTION, Program, Side, before_ledger, beside_the_deploy, changed,
    eventually,
};
use crate::world::{Job, World};
use serde_json::json;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How old a connection to ledger may become.
const AGE: Duration = Duration::from_secs(2);
/// A request is tried again so often, and a busy machine takes its time.
const SLACK: Duration = Duration::from_secs(20);
const RUNNER_ID: &str = "spiffe://ci.example.org/-/lanyard/runners/ci/gitlab-runner";
const RUNNERS: &str = r#"
[[rule]]
name = "runners"
id = "/-/lanyard/runners/{project_path}"
ttl = "15m"
when = { issuer = "cluster", project_path = "ci/gitlab-runner" }
"#;

/// The cluster of the pod, beside GitLab.
fn cluster() -> String {
    format!(
        "names_of = \"corp\"\n\n[[issuer]]\nname = \"cluster\"\nkind = \"kubernetes\"\nurl = \"https://kubernetes.test\"\naudience = \"{AUDIENCE}\"\n\
         jwks_file = \"./jwks.json\"\n"
    )
}

/// The token that the kubelet puts into the pod.
fn projected(world: &World) -> String {
    let now = now().unix_timestamp();
    let claims = json!({
        "iss": "https://kubernetes.test", "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 3600, "jti": "token-1",
        "sub": "system:serviceaccount:ci:gitlab-runner",
        "kubernetes.io": {
            "namespace": "ci", "node": { "name": "one", "uid": "1b3e" }, "pod": { "name": "runner-x", "uid": "778a530c" },
            "serviceaccount": { "name": "gitlab-runner", "uid": "a087d5a0" }, "warnafter": now + 3000,
        },
    });
    world.place.issuer.mint(claims.as_object().unwrap())
}

/// The network and the folder that the containers of one pod share.
struct Pod {
    folder: PathBuf,
    /// Holds the network, as Kubernetes' own container does.
    pause: Child,
    bridges: Vec<Child>,
}

impl Pod {
    fn new(world: &World) -> Self {
        let folder = world.place.file("pod");
        for inside in ["shared", "agent", "envoy"] {
            // As the kubelet makes an emptyDir: anybody's.
            fs::create_dir_all(folder.join(inside)).unwrap();
            fs::set_permissions(folder.join(inside), Permissions::from_mode(0o777)).unwrap();
        }
        let alone =
            ["--map-root-user", "--net", "--mount", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"];
        let mut pause =
            Command::new("unshare").args(alone).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(pause.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n", "a namespace of its own, by unshare and ip");
        Self { folder, pause, bridges: Vec::new() }
    }

    /// A program in a container of this pod: its network and its user, and mounts of its own.
    fn container(&self, hidden: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--preserve-credentials",
            "--user",
            "--net",
            "--mount",
            "--target",
            &self.pause.id().to_string(),
        ]);
        command.args(["unshare", "--mount", "sh", "-c"]);
        let hide = |inside: &&str| format!("mount -t tmpfs none {} && ", self.folder.join(inside).display());
        let hide: String = hidden.iter().map(hide).collect();
        command.arg(format!("{hide}exec \"$@\"")).arg("sh");
        command
    }

    /// What listens outside at this port is reached inside at the same.
    fn reaches(&mut self, port: u16) {
        let socket = self.folder.join(format!("{port}.sock"));
        let [python, script] = [installed("LANYARD_TEST_PYTHON"), script("bridge.py")];
        let (inside, outside) = (format!("tcp:{port}"), format!("unix:{}", socket.display()));
        let mut far = Command::new(&python);
        let mut near = self.container(&[]);
        self.bridges.push(far.args([&script, &outside, &inside]).spawn().unwrap());
        self.bridges.push(near.args([&python, &script, &inside, &outside]).spawn().unwrap());
        eventually("the way out of the pod", || socket.exists());
    }

    fn shared(&self, name: &str) -> PathBuf {
        self.folder.join("shared").join(name)
    }

    /// The first container: it sees everything of its own, and drops its program for the others.
    fn agent(&self, world: &World, runner: Option<&str>) -> Server {
        let text = changed(
            &page::block("agent.toml"),
            "/run/lanyard/sockets",
            &self.folder.join("shared").display().to_string(),
        );
        let text = changed(&text, "/run/lanyard/state", &self.folder.join("agent/state").display().to_string());
        let text = changed(&text, "lanyard.example.org:8443", &format!("127.0.0.1:{}", world.place.port));
        let ca = world.place.data().join("door-ca.pem").display().to_string();
        let text = changed(&text, "/etc/lanyard/door-ca.pem", &ca);
        let program = format!("[listen]\nprogram = \"{}\"\n", self.shared("lanyard").display());
        let mut text = changed(&text, "[listen]\n", &program);
        if let Some(token) = runner {
            fs::write(self.folder.join("agent.token"), token).unwrap();
            text.push_str("\n[runner]\ntoken_file = \"agent.token\"\n");
        }
        let config = self.folder.join("agent.toml");
        fs::write(&config, text).unwrap();
        let mut agent = Server::run(self.container(&[]).arg(lanyard().get_program()).arg("agent"), &config);
        agent.wait_until(|| UnixStream::connect(self.shared("agent.sock")).is_ok() && self.shared("lanyard").exists());
        agent
    }

    /// The second: the proxy, which sees nothing of the agent but its sockets.
    fn proxy(&self, text: &str, port: u16) -> Server {
        let text = text
            .replace("/run/envoy", &self.folder.join("envoy").display().to_string())
            .replace("/run/lanyard/sockets", &self.folder.join("shared").display().to_string())
            .replace("port_value: 9001", &format!("port_value: {port}"));
        let config = self.folder.join("envoy.yaml");
        fs::write(&config, text).unwrap();
        let mut container = self.container(&["agent"]);
        // `--config FILE`, which comes behind it, is another program's flag.
        container.args(["sh", "-c", "exec \"$0\" --disable-hot-restart --concurrency 1 --log-level warning -c \"$2\""]);
        Server::run(container.arg(installed("LANYARD_TEST_ENVOY")), &config)
    }

    /// The last: the job, which sees neither the session key nor the runner's token.
    fn job(&self) -> Command {
        let mut job = self.container(&["agent", "envoy"]);
        job.env("LANYARD_AGENT_SOCKET", self.shared("agent.sock"));
        job.env("SPIFFE_ENDPOINT_SOCKET", format!("unix:{}", self.shared("api.sock").display()));
        job
    }

    /// As `pre_build_script` does it: by the program that the agent has put there.
    fn login(&self, token: &str) -> Output {
        let login =
            self.job().arg(self.shared("lanyard")).arg("login").env("LANYARD_ID_TOKEN", token).output().unwrap();
        assert!(login.status.success(), "{}", words(&login));
        login
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for child in self.bridges.iter_mut().chain([&mut self.pause]) {
            let _dead = child.kill().and_then(|()| child.wait());
        }
    }
}

fn script(name: &str) -> String {
    format!("{}/tests/py/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A connection of the job's, which stays.
struct OneConnection {
    child: Child,
    asks: ChildStdin,
    hears: BufReader<ChildStdout>,
}

impl OneConnection {
    fn open(pod: &Pod, port: u16) -> Self {
        let mut job = pod.job();
        job.arg(installed("LANYARD_TEST_PYTHON")).arg(script("one_connection.py")).arg(port.to_string());
        let mut child = job.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asks, hears) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asks, hears }
    }

    /// Status and body of one more request.
    fn ask(&mut self) -> String {
        writeln!(self.asks, "again").unwrap();
        let mut said = String::new();
        self.hears.read_line(&mut said).unwrap();
        assert!(!said.is_empty(), "the connection is gone");
        said
    }
}

impl Drop for OneConnection {
    fn drop(&mut self) {
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// A server, and ledger with its own Envoy, as on the page.
fn world(program: &Program) -> (World, Side, crate::sides::Proxy) {
    let world = World::configured(&(page::block("policy.toml") + RUNNERS + OTHERS), &cluster());
    let ledger = Side::start(&world, "ledger");
    let of_ledger = Job { number: 900, pipeline: "900" };
    ledger.login(&world.token_with(&of_ledger, &[&PRODUCTION[..], &OF_LEDGER].concat()));
    let before = ledger.proxy(&before_ledger(AGE), program);
    (world, ledger, before)
}

/// Whether an Envoy of the pod is ready for work, by its own word.
fn is_ready(pod: &Pod) -> bool {
    let admin = pod.folder.join("envoy/admin.sock");
    let curl = ["--silent", "--max-time", "5", "--fail", "http://envoy/ready", "--unix-socket"];
    Command::new("curl").args(curl).arg(admin).output().unwrap().status.success()
}

#[test]
fn a_connection_of_before_the_login_carries_the_job_s_id_as_soon_as_it_may_be_no_older() {
    let program = Program::start();
    let (world, _ledger, before) = world(&program);
    let mut pod = Pod::new(&world);
    pod.reaches(world.place.port);
    pod.reaches(before.port);
    // Kubernetes starts them in this order, and the job only when those before it are ready.
    let agent = pod.agent(&world, Some(&projected(&world)));
    let port = free_port();
    let mut proxy = pod.proxy(&beside_the_deploy(before.port), port);
    proxy.wait_until(|| is_ready(&pod));

    let mut connection = OneConnection::open(&pod, port);
    let first = connection.ask();
    assert!(first.starts_with("403 "), "a runner is nobody to ledger: {first}");
    let served = pod.job().arg(pod.shared("lanyard")).args(["svid", "x509"]).output().unwrap();
    assert!(words(&served).contains(RUNNER_ID), "{}", words(&served));
    let hidden = pod.job().args(["find"]).arg(pod.folder.join("agent")).args(["-type", "f"]).output().unwrap();
    assert!(
        hidden.status.success() && hidden.stdout.is_empty(),
        "the session key is the agent's alone: {}",
        words(&hidden)
    );

    pod.login(&world.token_with(&DEPLOY, &PRODUCTION));
    let logged_in = Instant::now();
    let called = loop {
        let said = connection.ask();
        if said.starts_with("200 ") {
            break said;
        }
        assert!(logged_in.elapsed() < AGE + SLACK, "{said}\n{}\n{}", agent.log(), proxy.log());
        thread::sleep(AGAIN_AFTER);
    };
    println!(
        "the job's ID {} ms after its login; connections are {} s old at most",
        logged_in.elapsed().as_millis(),
        AGE.as_secs()
    );
    assert!(called.contains(&format!("URI={DEPLOY_ID}")), "{called}");
    for _ in 0..20 {
        let said = connection.ask();
        assert!(said.contains(&format!("URI={DEPLOY_ID}")), "and never the runner's again: {said}");
    }
}

/// Without an identity of the runner's: what needs one waits, and the job, which brings it, does not.
#[test]
fn a_job_that_logs_in_late_waits_for_nobody_and_a_proxy_waits_for_it() {
    let program = Program::start();
    let (world, _ledger, before) = world(&program);
    let mut pod = Pod::new(&world);
    pod.reaches(world.place.port);
    pod.reaches(before.port);
    let _agent = pod.agent(&world, None);
    let port = free_port();
    let mut proxy = pod.proxy(&beside_the_deploy(before.port), port);
    proxy.wait_until(|| pod.folder.join("envoy/admin.sock").exists());
    pod.login(&world.token_with(&DEPLOY, &PRODUCTION));
    proxy.wait_until(|| is_ready(&pod));
    let mut connection = OneConnection::open(&pod, port);
    eventually("a call by the job's name", || connection.ask().contains(&format!("URI={DEPLOY_ID}")));
}
