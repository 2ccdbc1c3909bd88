//! Mode `host` by the real program: one agent process for the jobs of two projects, from their logins to their ends, with a
//! restart between. Needs root and cgroups.

use crate::cgroups::{Relay, end_all, first_id, is_refused, put};
use crate::host::{A, B, Host, id, pid_given_anew};
use crate::support::beside::{asked, until, within};
use lanyard::wire::workload::X509svidRequest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// A job by its cgroup, and the token that it logged in with.
struct Job {
    cgroup: PathBuf,
    token: String,
    _inhabitant: Relay,
}

/// The agent's process; its configuration and log are in the site's folder.
struct Daemon(Child);

impl Daemon {
    async fn start(host: &Host) -> Self {
        let (config, log) = (host.site.path("agent.toml"), host.site.path("agent.log"));
        fs::write(&config, config_of(host)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
        command.args(["agent", "--config"]).arg(&config).stderr(File::create(&log).unwrap()).kill_on_drop(true);
        let mut daemon = Self(command.spawn().unwrap());
        within(async {
            while UnixStream::connect(host.socket()).await.is_err() {
                let ended = daemon.0.try_wait().unwrap();
                assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap());
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        daemon
    }

    /// SIGTERM, and its end.
    async fn stop(mut self) {
        let pid = Pid::from_raw(self.0.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(within(self.0.wait()).await.unwrap().success());
    }
}

fn config_of(host: &Host) -> String {
    let (folder, jobs) = (host.site.folder.path().display(), host.cgroups.jobs());
    let (server, hierarchy) = (&host.site.url, host.cgroups.hierarchy);
    format!(
        r#"
server = "{server}"
server_ca_file = "data/door-ca.pem"
state_dir = "state"
mode = "host"

[listen]
workload = "{folder}/workload/api.sock"
agent = "{folder}/workload/agent.sock"
program = "{folder}/workload/lanyard"

[host]
jobs = ["{jobs}"]
hierarchy = "{hierarchy}"

[host.accept]
host_pid = "processes of the test"
privileged = "processes of the test"
"#
    )
}

/// What the program that the agent has put beside its sockets says in a cgroup.
async fn program(host: &Host, cgroup: &Path, token: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"", "sh"]).arg(cgroup);
    command.arg(host.site.path("workload/lanyard")).args(arguments).env("LANYARD_ID_TOKEN", token);
    command.env("LANYARD_AGENT_SOCKET", host.door());
    command.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", host.socket().display()));
    within(command.output()).await.unwrap()
}

/// A job of that project: a process that stays, and a login by another.
async fn job(host: &Host, name: &str, project: &str) -> Job {
    let (cgroup, token) = (host.cgroups.cgroup(name), host.token(project));
    let inhabitant = Relay::start(&cgroup, &host.socket());
    let login = program(host, &cgroup, &token, &["login"]).await;
    assert!(login.status.success(), "{}", String::from_utf8_lossy(&login.stderr));
    Job { cgroup, token, _inhabitant: inhabitant }
}

/// Each job's processes are served its own identity.
async fn each_has_its_own(host: &Host, jobs: [(&Job, &str); 2]) {
    for (job, project) in jobs {
        let asked = program(host, &job.cgroup, "", &["svid", "x509", "--json"]).await;
        let said = String::from_utf8(asked.stdout).unwrap();
        let other = if project == A { B } else { A };
        assert!(said.contains(&id(project)) && !said.contains(&id(other)), "{project}: {said}");
    }
}

/// The ends on record, with why and the job's project.
fn ends(host: &Host) -> Vec<(String, String)> {
    let files = fs::read_dir(host.site.path("data/journal")).unwrap().map(|entry| entry.unwrap().path());
    let text: String = files.map(|file| fs::read_to_string(file).unwrap_or_default()).collect();
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.get(65..)?).ok());
    let ends = entries.map(|record| record["entry"].clone()).filter(|entry| entry["kind"] == "session_ended");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ends.map(|entry| (word(&entry["why"]), word(&entry["job"]["project_path"]))).collect()
}

fn sessions(host: &Host) -> Value {
    serde_json::from_str::<Value>(&host.session_file()).unwrap()["sessions"].clone()
}

async fn one_process_two_jobs(hierarchy: &'static str) {
    let host = Host::open(hierarchy).await;
    let agent = Daemon::start(&host).await;
    let a = job(&host, "job-a", A).await;
    let b = job(&host, "job-b", B).await;
    each_has_its_own(&host, [(&a, A), (&b, B)]).await;

    let mut moved = Relay::start(&a.cgroup, &host.socket());
    let mut workload = moved.workload();
    let mut stream = workload.fetch_x509svid(asked(X509svidRequest {})).await.unwrap().into_inner();
    assert_eq!(first_id(&mut stream).await.unwrap(), id(A));
    put(moved.pid(), &b.cgroup);
    let anew = within(workload.fetch_x509svid(asked(X509svidRequest {}))).await;
    assert!(is_refused(&anew), "moved to another job: {anew:?}");

    let inner = host.cgroups.cgroup("job-a/inner");
    let mut orphan = Relay::orphan(&inner, &host.socket());
    let mut workload = orphan.workload();
    let mut stream = workload.fetch_x509svid(asked(X509svidRequest {})).await.unwrap().into_inner();
    assert_eq!(first_id(&mut stream).await.unwrap(), id(A));
    let _another = pid_given_anew(&orphan, &inner, &b.cgroup).await;
    let anew = within(workload.fetch_x509svid(asked(X509svidRequest {}))).await;
    assert!(is_refused(&anew), "its pid is another process's now: {anew:?}");

    let before = sessions(&host);
    agent.stop().await;
    let _agent = Daemon::start(&host).await;
    each_has_its_own(&host, [(&a, A), (&b, B)]).await;
    assert_eq!((sessions(&host), ends(&host)), (before, Vec::new()), "the same sessions, and no end");

    end_all(&inner);
    end_all(&a.cgroup);
    until(|| ends(&host) == [("cgroup_empty".to_owned(), A.to_owned())]).await;
    let svid = program(&host, &b.cgroup, "", &["svid", "x509", "--json"]).await;
    assert!(String::from_utf8(svid.stdout).unwrap().contains(&id(B)), "the other job goes on");
    let login = program(&host, &a.cgroup, &a.token, &["login"]).await;
    assert!(!login.status.success(), "an ended job's token opens nothing");
    let logout = program(&host, &b.cgroup, "", &["logout"]).await;
    assert!(logout.status.success(), "{}", String::from_utf8_lossy(&logout.stderr));
    assert_eq!(ends(&host).last(), Some(&("logout".to_owned(), B.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_process_keeps_two_jobs_apart_from_login_to_end_and_over_its_restart() {
    Box::pin(one_process_two_jobs("v2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_so_it_does_with_cgroups_of_version_1() {
    Box::pin(one_process_two_jobs("pids")).await;
}
