//! A pod's agent that answers some users only, by the real program: the others are refused at every door, counted, and told
//! once a minute each.

use crate::callers::{ANOTHER, calling, is_root, refusal};
use crate::raw::Raw;
use crate::support::beside::{until, within};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Output;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The user of Istio's proxy, in whose place curl asks.
const ISTIO: u32 = 1337;

/// `PERMISSION_DENIED`, and `UNIMPLEMENTED` from behind the check.
const DENIED: &str = "7";
const DELTA: &str = "envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets";

/// The program, which waits for a login.
struct Agent {
    folder: TempDir,
    metrics: u16,
    _process: Child,
}

impl Agent {
    async fn of(uids: &[u32]) -> Self {
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let path = folder.path().display();
        let text = format!(
            "server = \"https://127.0.0.1:1\"\nmode = \"pod\"\nuids = {uids:?}\nstate_dir = \"{path}/state\"\n[listen]\n\
             workload = \"{path}/api.sock\"\nagent = \"{path}/agent.sock\"\nmetrics = \"127.0.0.1:{metrics}\"\n"
        );
        fs::write(folder.path().join("agent.toml"), text).unwrap();
        fs::write(folder.path().join("request"), [0; 5]).unwrap();
        let mut lanyard = Command::new(env!("CARGO_BIN_EXE_lanyard"));
        lanyard.args(["agent", "--config"]).arg(folder.path().join("agent.toml")).kill_on_drop(true);
        let log = File::create(folder.path().join("log")).unwrap();
        let process = lanyard.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let agent = Self { folder, metrics, _process: process };
        until(|| agent.path("agent.sock").exists() && agent.path("api.sock").exists()).await;
        until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, metrics)).is_ok()).await;
        agent
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The status of a call that our own process makes, over a connection that is its own.
    async fn our_call(&self) -> String {
        let mut raw = Raw::connect(&self.path("api.sock")).await;
        let stream = raw.call(&format!("/{DELTA}"), Some("localhost"), &[], &[]).await;
        within(raw.answer(stream)).await.field("grpc-status").unwrap().to_owned()
    }

    /// The status of the same call by a process of another user.
    async fn call_by(&self, uid: u32) -> String {
        refusal(uid, || calling(DELTA, &self.path("api.sock"), &self.path("request"))).await
    }

    async fn login(&self) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "9", "-d", "{}", "--unix-socket"]).arg(self.path("agent.sock"));
        within(curl.arg("http://agent/v1/login").output()).await.unwrap()
    }

    /// The calls that were turned away, as Prometheus reads them.
    async fn counted(&self) -> u64 {
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--max-time", "9", &format!("http://127.0.0.1:{}/metrics", self.metrics)]);
        let page = within(curl.output()).await.unwrap();
        let (page, error) = (String::from_utf8_lossy(&page.stdout), String::from_utf8_lossy(&page.stderr));
        assert!(page.ends_with("# EOF\n"), "{page}{error}");
        let name = "lanyard_agent_turned_away_total{code=\"caller_not_admitted\"} ";
        page.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.parse().unwrap())
    }

    /// The lines that tell of a user's processes.
    fn told_of(&self, uid: u32) -> usize {
        let log = fs::read_to_string(self.path("log")).unwrap();
        log.lines().filter(|line| line.contains("turned away") && line.contains(&format!("uid {uid}, pid "))).count()
    }
}

fn own_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_not_on_the_list_is_refused_at_every_door_and_told_of_once() {
    let agent = Agent::of(&[own_uid() + 1]).await;
    assert_eq!(agent.counted().await, 0);
    for _ in 0..25 {
        assert_eq!(agent.our_call().await, DENIED);
    }
    assert_eq!((agent.told_of(own_uid()), agent.counted().await), (1, 25));
    let said = String::from_utf8(agent.login().await.stdout).unwrap();
    assert!(said.contains("caller_not_admitted"), "{said}");
    assert_eq!((agent.told_of(own_uid()), agent.counted().await), (2, 26), "curl is another peer than we are");
    let listed = Agent::of(&[own_uid()]).await;
    assert_ne!(listed.our_call().await, DENIED);
    let said = String::from_utf8(listed.login().await.stdout).unwrap();
    assert!(said.contains("malformed"), "{said}");
    assert_eq!((listed.told_of(own_uid()), listed.counted().await), (0, 0));
}

/// Shows: MESH-C11.
#[tokio::test(flavor = "multi_thread")]
async fn istio_s_user_is_answered_where_it_is_listed_and_root_itself_is_not() {
    assert!(
        is_root(),
        "this test starts processes of other users: run it as root, on a machine of its own or in a container"
    );
    let agent = Agent::of(&[ISTIO]).await;
    assert_ne!(agent.call_by(ISTIO).await, DENIED);
    assert_eq!(agent.counted().await, 0);
    assert_eq!([agent.call_by(ANOTHER).await, agent.call_by(0).await], [DENIED; 2]);
    assert!(agent.told_of(ANOTHER) > 0 && agent.told_of(0) > 0);
    assert_eq!(agent.told_of(ISTIO), 0);
}
