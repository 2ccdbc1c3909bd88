//! What spiffe-helper expects: files from the Workload API, once or as long as it runs, and a signal to who reads them.
//!
//! Each story is told to a client of ours that keeps its rules, and to the real program where
//! `LANYARD_TEST_SPIFFE_HELPER` names it.

mod rules;

use super::issuer::ID;
use super::running::{Running, eventually, kept, within};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lanyard::agent::OnStop;
use rules::{Mode, Settings};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

const SERVICE: &str = "https://service.test";

/// The helper asks again seconds later, and later each time.
const PATIENCE: Duration = Duration::from_secs(40);

/// One that runs.
struct Helper {
    name: &'static str,
    folder: PathBuf,
    process: Process,
    reader: Option<Reader>,
}

enum Process {
    Ours(JoinHandle<Result<(), tonic::Status>>),
    Real(Child),
}

/// Somebody who wants to be signalled when the files have changed.
struct Reader {
    signals: PathBuf,
    _process: Child,
}

/// All there are, each with a folder of its own.
async fn helpers(agent: &Running, mode: Mode) -> Vec<Helper> {
    let ours = |settings| ("our helper", Process::Ours(tokio::spawn(rules::run(settings))));
    let mut helpers = vec![Helper::start(agent, mode, ours).await];
    match std::env::var("LANYARD_TEST_SPIFFE_HELPER") {
        Ok(program) => {
            let real = |settings: Settings| ("spiffe-helper", Process::Real(real(&program, &settings)));
            helpers.push(Helper::start(agent, mode, real).await);
        }
        // Past the test runner, which shows only what failing tests print.
        Err(_unset) => std::io::stderr()
            .write_all(b"NOT RUN with the real spiffe-helper: LANYARD_TEST_SPIFFE_HELPER names no program\n")
            .unwrap(),
    }
    helpers
}

fn real(program: &str, settings: &Settings) -> Child {
    let Settings { socket, folder, mode, pid_file } = settings;
    let daemon = *mode == Mode::Daemon;
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let (socket, cert_dir) = (quoted(socket), quoted(folder));
    let signal = pid_file.as_ref().map(|pid| format!("pid_file_name = {}\nrenew_signal = \"SIGUSR1\"\n", quoted(pid)));
    let text = format!(
        "agent_address = {socket}\ncert_dir = {cert_dir}\ndaemon_mode = {daemon}\nsvid_file_name = \"svid.pem\"\n\
         svid_key_file_name = \"svid_key.pem\"\nsvid_bundle_file_name = \"svid_bundle.pem\"\n\
         jwt_bundle_file_name = \"jwt_bundle.json\"\n\
         jwt_svids = [{{jwt_audience = \"{SERVICE}\", jwt_svid_file_name = \"jwt_svid.token\"}}]\n{}",
        signal.unwrap_or_default()
    );
    let config = folder.with_extension("conf");
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::create(folder.with_extension("log")).unwrap();
    Command::new(program).arg("-config").arg(config).stderr(log).kill_on_drop(true).spawn().unwrap()
}

impl Helper {
    async fn start(agent: &Running, mode: Mode, start: impl FnOnce(Settings) -> (&'static str, Process)) -> Self {
        let folder = tempfile::Builder::new().prefix("helper").tempdir_in(agent.folder.path()).unwrap().keep();
        let reader = if mode == Mode::Daemon { Some(Reader::start(&folder).await) } else { None };
        let settings = Settings {
            socket: agent.folder.path().join("api.sock"),
            folder: folder.clone(),
            mode,
            pid_file: reader.is_some().then(|| folder.join("pid")),
        };
        let (name, process) = start(settings);
        Self { name, folder, process, reader }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn has(&self, name: &str) -> bool {
        std::fs::metadata(self.file(name)).is_ok_and(|file| file.len() > 0)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    /// Waits until it has ended by itself, having done its work.
    async fn succeeds(&mut self) {
        let done = match &mut self.process {
            Process::Ours(task) => tokio::time::timeout(PATIENCE, task).await.map(|ended| ended.unwrap().is_ok()),
            Process::Real(child) => {
                tokio::time::timeout(PATIENCE, child.wait()).await.map(|code| code.unwrap().success())
            }
        };
        assert!(done.expect(self.name), "{}", self.name);
    }

    /// What the files say, judged by OpenSSL and by a SPIFFE library that is not ours.
    async fn has_written_all(&self) {
        for (name, mode) in [("svid.pem", 0o644), ("svid_key.pem", 0o600), ("svid_bundle.pem", 0o644)] {
            let found = std::fs::metadata(self.file(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}: {name}", self.name);
        }
        let svid = self.read("svid.pem");
        assert_eq!(svid.matches("BEGIN CERTIFICATE").count(), 2, "{}: leaf and intermediate", self.name);
        self.openssl(&["verify", "-CAfile", "svid_bundle.pem", "-untrusted", "svid.pem", "svid.pem"]).await;
        let of_key = self.openssl(&["pkey", "-in", "svid_key.pem", "-pubout"]).await;
        assert_eq!(of_key, self.openssl(&["x509", "-in", "svid.pem", "-noout", "-pubkey"]).await, "{}", self.name);

        let bundles: serde_json::Value = serde_json::from_str(&self.read("jwt_bundle.json")).unwrap();
        let keys = STANDARD.decode(bundles["ci.example.org"].as_str().unwrap()).unwrap();
        let svid = rules::held_against("ci.example.org", &keys, &self.renews("jwt_svid.token", "").await).unwrap();
        assert_eq!(svid.spiffe_id().to_string(), ID, "{}", self.name);
    }

    async fn openssl(&self, args: &[&str]) -> Vec<u8> {
        let said = Command::new("openssl").args(args).current_dir(&self.folder).output().await.unwrap();
        assert!(said.status.success(), "{}: {args:?}: {}", self.name, String::from_utf8_lossy(&said.stderr));
        said.stdout
    }

    /// Waits until a file is another than it was; gives it back.
    async fn renews(&self, name: &str, known: &str) -> String {
        let another = || self.has(name) && self.read(name) != known;
        let Ok(()) = tokio::time::timeout(PATIENCE, eventually(another)).await else {
            let log = std::fs::read_to_string(self.folder.with_extension("log")).unwrap_or_default();
            panic!("{}: {name} stays as it was\n{log}", self.name);
        };
        self.read(name)
    }

    async fn goes_beyond(&self, (svid, token, signals): &(String, String, usize)) {
        self.renews("svid.pem", svid).await;
        self.renews("jwt_svid.token", token).await;
        within(eventually(|| self.signals() > *signals)).await;
    }

    fn signals(&self) -> usize {
        self.reader.as_ref().map_or(0, |reader| std::fs::read_to_string(&reader.signals).unwrap().lines().count())
    }
}

impl Reader {
    /// Notes each signal; its process id stands in the file that the helper is told of once it is ready for one.
    async fn start(folder: &Path) -> Self {
        let signals = folder.join("signals");
        std::fs::write(&signals, "").unwrap();
        let process = Command::new("sh")
            .args(["-c", r#"trap 'echo signal >> "$1"' USR1; echo $$ > "$2"; while :; do sleep 0.05; done"#, "sh"])
            .arg(&signals)
            .arg(folder.join("pid"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        within(eventually(|| std::fs::read(folder.join("pid")).is_ok_and(|pid| pid.ends_with(b"\n")))).await;
        Self { signals, _process: process }
    }
}

/// Shows: WAPI-39, WAPI-40.
#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_runs_once_writes_all_its_files_and_ends_well() {
    let agent = Running::logged_in().await;
    for mut helper in helpers(&agent, Mode::Once).await {
        helper.succeeds().await;
        helper.has_written_all().await;
    }
}

/// Shows: RUN-3.
#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_runs_once_and_is_early_waits_for_the_identity() {
    let agent = Running::start().await;
    agent.issuer.away.store(true, Ordering::SeqCst);
    let handle = agent.handle.clone();
    let login = tokio::spawn(async move { handle.login(Zeroizing::new("good".to_owned())).await });
    let mut helpers = helpers(&agent, Mode::Once).await;
    // It would have failed at once, had it been told anything.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(helpers.iter().all(|helper| !helper.has("svid.pem")));
    agent.issuer.away.store(false, Ordering::SeqCst);
    for helper in &mut helpers {
        helper.succeeds().await;
        helper.has_written_all().await;
    }
    within(login).await.unwrap().unwrap();
}

/// Shows: EP-13.
#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_runs_once_asks_again_where_there_is_no_identity_yet() {
    let agent = Running::start().await;
    agent.login("stolen").await.unwrap_err();
    let mut helpers = helpers(&agent, Mode::Once).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    agent.login("good").await.unwrap();
    for helper in &mut helpers {
        helper.succeeds().await;
        helper.has_written_all().await;
    }
}

/// Shows: WAPI-39, WAPI-40.
#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_stays_renews_its_files_and_says_so_whatever_becomes_of_agent_and_session() {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(8, Ordering::SeqCst);
    agent.issuer.jwt_lifetime.store(8, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    let helpers = helpers(&agent, Mode::Daemon).await;
    for helper in &helpers {
        let (svid, token) = (helper.renews("svid.pem", "").await, helper.renews("jwt_svid.token", "").await);
        helper.renews("svid.pem", &svid).await;
        helper.renews("jwt_svid.token", &token).await;
        within(eventually(|| helper.signals() > 0)).await;
    }
    agent.trigger.pull();
    within(agent.ended).await.unwrap();
    let before = seen(&helpers);
    agent.issuer.lifetime.store(600, Ordering::SeqCst);
    let again = Running::start_in(agent.folder, agent.issuer, (agent.server, agent.trust), OnStop::KeepSession);
    for (helper, before) in helpers.iter().zip(&before) {
        helper.goes_beyond(before).await;
    }
    let before = seen(&helpers);
    within(eventually(|| again.issuer.tell.receiver_count() > 0)).await;
    again.issuer.end();
    within(eventually(|| !kept(again.folder.path()).contains("\"s1\""))).await;
    again.login("another").await.unwrap();
    for (helper, before) in helpers.iter().zip(&before) {
        helper.goes_beyond(before).await;
        helper.has_written_all().await;
    }
}

/// The SVID, the token and the number of signals so far of each.
fn seen(helpers: &[Helper]) -> Vec<(String, String, usize)> {
    helpers.iter().map(|one| (one.read("svid.pem"), one.read("jwt_svid.token"), one.signals())).collect()
}
