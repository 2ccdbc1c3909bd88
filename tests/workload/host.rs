//! One agent, many jobs: each process gets what its own cgroup logged in for, and nothing else. Needs root and cgroups.

use crate::cgroups::{Cgroups, Kept, Relay, end, end_all, first_id, is_refused, processes, put};
use crate::support::beside::{Beside, Site, asked, until, within};
use lanyard::agent::{Accepted, Agent, AgentSettings, Callers, HostRules, HostSettings, OnStop};
use lanyard::clock::{Clock, ManualClock};
use lanyard::crypto::Random;
use lanyard::telemetry::Shutdown;
use lanyard::wire::workload::X509svidRequest;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

const POLICY: &str = r#"
[[rule]]
name = "every project, its pipelines"
id = "/{project_path}/-/pipelines/{pipeline_id}"
ttl = "15m"
kinds = ["x509"]
[rule.when]
issuer = "corp"
"#;

/// A server, and cgroups for the jobs of one agent beside it.
pub(crate) struct Host {
    pub(crate) site: Site,
    pub(crate) cgroups: Cgroups,
}

impl Host {
    pub(crate) async fn open(hierarchy: &'static str) -> Self {
        Self { site: Site::open(POLICY).await, cgroups: Cgroups::make(hierarchy) }
    }

    /// An agent for processes of this machine: their cgroup is all that keeps them apart.
    fn agent(&self) -> Beside {
        self.agent_that(loose())
    }

    fn agent_that(&self, accepted: Accepted) -> Beside {
        Beside::start(self.settings(accepted), &self.site.clock)
    }

    pub(crate) fn settings(&self, accepted: Accepted) -> AgentSettings {
        let rules = HostRules { jobs: vec![self.cgroups.jobs().parse().unwrap()], accepted };
        let hierarchy = self.cgroups.hierarchy.parse().unwrap();
        AgentSettings {
            agent_socket: Some(self.door()),
            callers: Callers::Jobs(HostSettings { hierarchy, rules }),
            on_stop: OnStop::KeepSession,
            ..self.site.agent_settings()
        }
    }

    pub(crate) fn door(&self) -> PathBuf {
        self.site.path("workload/agent.sock")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.site.path("workload/api.sock")
    }

    /// A token of some project's job.
    pub(crate) fn token(&self, project: &str) -> String {
        let mut claims = self.site.issuer.claims(self.site.clock.now());
        let id = project.len() + 5000;
        claims.insert("sub".to_owned(), format!("project_path:{project}:ref_type:branch:ref:main").into());
        for name in ["project_path", "job_project_path"] {
            claims.insert(name.to_owned(), project.into());
        }
        for name in ["project_id", "job_project_id"] {
            claims.insert(name.to_owned(), id.to_string().into());
        }
        self.site.issuer.mint(&claims)
    }

    /// A job of that project, logged in from a cgroup of its own in which it stays.
    pub(crate) async fn job(&self, name: &str, project: &str) -> Job {
        let cgroup = self.cgroups.cgroup(name);
        let token = self.token(project);
        let inhabitant = Relay::start(&cgroup, &self.socket());
        let (status, body) = Relay::start(&cgroup, &self.door()).login(&token).await;
        assert_eq!(status, 200, "{body}");
        Job { cgroup, token, _inhabitant: inhabitant }
    }

    pub(crate) fn session_file(&self) -> String {
        fs::read_to_string(self.site.path("state/session.json")).unwrap()
    }

    /// Waits until the agent has told the server that a job is over.
    async fn forgotten(&self, cgroup: &Path) {
        let name = cgroup.file_name().unwrap().to_str().unwrap().to_owned();
        within(async {
            while self.session_file().contains(&name) {
                // The next look; the server's answer takes its own time, in which the clock must not run on.
                self.site.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
        .await;
    }
}

/// For processes of this machine.
pub(crate) fn loose() -> Accepted {
    let reason = || Some("processes of the test".to_owned());
    Accepted { host_pid: reason(), privileged: reason(), shared_cgroup: None }
}

pub(crate) struct Job {
    pub(crate) cgroup: PathBuf,
    token: String,
    _inhabitant: Relay,
}

pub(crate) fn id(project: &str) -> String {
    format!("spiffe://ci.example.org/{project}/-/pipelines/574")
}

pub(crate) const A: &str = "acme/payments/api";
pub(crate) const B: &str = "acme/payments/frontend";

async fn each_gets_its_own(hierarchy: &'static str) {
    let host = Host::open(hierarchy).await;
    let _agent = host.agent();
    let (a, b) = (host.job("job-a", A).await, host.job("job-b", B).await);
    for _ in 0..2 {
        assert_eq!(Relay::start(&a.cgroup, &host.socket()).id().await.unwrap(), id(A));
        assert_eq!(Relay::start(&b.cgroup, &host.socket()).id().await.unwrap(), id(B));
    }
    let inner = host.cgroups.cgroup("job-a/inner");
    assert_eq!(Relay::start(&inner, &host.socket()).id().await.unwrap(), id(A), "what is below a job is of it");
    let elsewhere = host.cgroups.cgroup("elsewhere");
    let refused = Relay::start(&elsewhere, &host.socket()).id().await;
    assert!(is_refused(&refused), "{refused:?}");
    let (status, body) = Relay::start(&elsewhere, &host.door()).login(&host.token(A)).await;
    assert_eq!(status, 403);
    assert!(body.contains("caller_not_told_apart") && body.contains("host.jobs"), "{body}");

    // The login of one job changes nothing for the other, nor does its end.
    end_all(&inner);
    end_all(&a.cgroup);
    host.forgotten(&a.cgroup).await;
    assert_eq!(Relay::start(&b.cgroup, &host.socket()).id().await.unwrap(), id(B));
    let (status, body) = Relay::start(&a.cgroup, &host.door()).login(&a.token).await;
    assert_eq!(status, 403, "an ended job's token opens nothing: {body}");
}

/// Shows: EP-10.
#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_of_two_projects_on_one_host_get_their_own_identity_until_their_cgroup_is_empty() {
    Box::pin(each_gets_its_own("v2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_where_cgroups_are_of_version_1() {
    Box::pin(each_gets_its_own("pids")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_moved_to_another_job_gets_neither_identity_over_its_connection() {
    let host = Host::open("v2").await;
    let _agent = host.agent();
    let (a, b) = (host.job("job-a", A).await, host.job("job-b", B).await);
    let mut moved = Relay::start(&a.cgroup, &host.socket());
    let mut workload = moved.workload();
    let mut stream = workload.fetch_x509svid(asked(X509svidRequest {})).await.unwrap().into_inner();
    assert_eq!(first_id(&mut stream).await.unwrap(), id(A));
    put(moved.pid(), &b.cgroup);
    let anew = within(workload.fetch_x509svid(asked(X509svidRequest {}))).await;
    assert!(is_refused(&anew), "{anew:?}");
    // The next SVID of A is pushed to whoever is still in A.
    host.site.advance(11);
    let pushed = within(stream.message()).await;
    assert!(is_refused(&pushed), "{pushed:?}");
    assert_eq!(Relay::start(&a.cgroup, &host.socket()).id().await.unwrap(), id(A));
}

/// Makes the next process have this pid, and puts it into a cgroup; others of this machine may be quicker, so again.
async fn process_with_pid(pid: i32, cgroup: &Path) -> tokio::process::Child {
    for _ in 0..1000 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap_or_else(|error| {
            panic!("this test gives a pid anew: run it as root on a kernel with CONFIG_CHECKPOINT_RESTORE ({error})")
        });
        let mut child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        if child.id() == u32::try_from(pid).ok() {
            put(pid, cgroup);
            return child;
        }
        child.kill().await.unwrap();
    }
    panic!("the pid {pid} could not be given anew");
}

/// Ends the process that made an orphan's connection, and gives its pid to one in another cgroup.
pub(crate) async fn pid_given_anew(orphan: &Relay, from: &Path, to: &Path) -> tokio::process::Child {
    let parent = |process: &i32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse::<i32>().unwrap()
    };
    // What is called python3 may be a script that starts other things first.
    let is_python = |process: &i32| {
        fs::read_link(format!("/proc/{process}/exe")).is_ok_and(|program| program.to_string_lossy().contains("python"))
    };
    let relays = || processes(from).into_iter().filter(is_python).collect::<Vec<_>>();
    until(|| relays().len() == 3).await;
    let connected = relays().into_iter().find(|process| parent(process) == orphan.pid()).unwrap();
    end(connected);
    until(|| !processes(from).contains(&connected) && !Path::new(&format!("/proc/{connected}")).exists()).await;
    process_with_pid(connected, to).await
}

/// The kernel's word for who connected is from before we looked: by the number alone this would be B.
#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_was_given_anew_before_the_agent_accepts_is_not_taken_for_the_one_that_connected() {
    let host = Host::open("v2").await;
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&host.site.clock);
    // Its sockets exist, and nobody accepts yet.
    let agent = Agent::build(host.settings(loose()), clock, &Random::system()).unwrap();
    let attacker = host.cgroups.cgroup("job-x");
    let mut orphan = Relay::orphan(&attacker, &host.socket());
    let b = host.cgroups.cgroup("job-b");
    let _another = pid_given_anew(&orphan, &attacker, &b).await;
    let (_stop, shutdown) = Shutdown::pair();
    tokio::spawn(agent.run(shutdown));
    let (status, body) = Relay::start(&b, &host.door()).login(&host.token(B)).await;
    assert_eq!(status, 200, "{body}");
    let refused = orphan.id().await;
    assert!(is_refused(&refused), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_was_given_anew_opens_nothing_to_whoever_holds_the_old_connection() {
    let host = Host::open("v2").await;
    let _agent = host.agent();
    let (a, b) = (host.job("job-a", A).await, host.job("job-b", B).await);
    let inner = host.cgroups.cgroup("job-a/inner");
    let mut orphan = Relay::orphan(&inner, &host.socket());
    let mut workload = orphan.workload();
    let mut stream = workload.fetch_x509svid(asked(X509svidRequest {})).await.unwrap().into_inner();
    assert_eq!(first_id(&mut stream).await.unwrap(), id(A));
    let _another = pid_given_anew(&orphan, &inner, &b.cgroup).await;

    let anew = within(workload.fetch_x509svid(asked(X509svidRequest {}))).await;
    assert!(is_refused(&anew), "{anew:?}");
    host.site.advance(11);
    let pushed = within(stream.message()).await;
    assert!(is_refused(&pushed), "{pushed:?}");
    assert_eq!(Relay::start(&a.cgroup, &host.socket()).id().await.unwrap(), id(A));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_goes_on_with_the_jobs_that_are_there_and_ends_those_that_are_not() {
    let host = Host::open("v2").await;
    let agent = host.agent();
    let (a, b, gone) = (host.job("job-a", A).await, host.job("job-b", B).await, host.job("job-c", A).await);
    agent.ended().await;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(host.session_file().contains(boot_id.trim()));
    end_all(&gone.cgroup);
    until(|| fs::remove_dir(&gone.cgroup).is_ok()).await;
    fs::create_dir(&gone.cgroup).unwrap();
    let mut another = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    put(i32::try_from(another.id().unwrap()).unwrap(), &gone.cgroup);

    let agent = host.agent();
    assert_eq!(Relay::start(&a.cgroup, &host.socket()).id().await.unwrap(), id(A));
    assert_eq!(Relay::start(&b.cgroup, &host.socket()).id().await.unwrap(), id(B));
    host.forgotten(&gone.cgroup).await;
    let (status, body) = Relay::start(&gone.cgroup, &host.door()).login(&gone.token).await;
    assert_eq!(status, 403, "a cgroup of the same name is another job: {body}");
    another.kill().await.unwrap();

    // A file that outlived the machine's own restart.
    agent.ended().await;
    let file = host.session_file().replace(boot_id.trim(), "00000000-0000-4000-8000-000000000000");
    fs::write(host.site.path("state/session.json"), file).unwrap();
    let _agent = host.agent();
    host.forgotten(&b.cgroup).await;
    for job in [&a, &b] {
        let (status, body) = Relay::start(&job.cgroup, &host.door()).login(&job.token).await;
        assert_eq!(status, 403, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_told_apart_and_one_that_reaches_out_of_itself_is_refused_until_that_is_accepted() {
    let host = Host::open("v2").await;
    let cgroup = host.cgroups.cgroup("job-a");
    let agent = host.agent_that(Accepted::default());
    let _inhabitant = Relay::kept(&cgroup, &host.socket(), Kept::Apart);
    let login = async |kept, token: &str| Relay::kept(&cgroup, &host.door(), kept).login(token).await;
    for (kept, why) in [(Kept::Loose, "--pid=host"), (Kept::HostPid, "--pid=host"), (Kept::Privileged, "--privileged")]
    {
        let (status, body) = login(kept, &host.token(A)).await;
        assert!(status == 403 && body.contains(why), "{kept:?}: {status} {body}");
        let refused = Relay::kept(&cgroup, &host.socket(), kept).id().await;
        assert!(is_refused(&refused), "{kept:?}: {refused:?}");
    }
    let (status, body) = login(Kept::Apart, &host.token(A)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(Relay::kept(&cgroup, &host.socket(), Kept::Apart).id().await.unwrap(), id(A));
    agent.ended().await;

    let accepted = Accepted { privileged: Some("builds of images".to_owned()), ..Accepted::default() };
    let _agent = host.agent_that(accepted);
    assert_eq!(Relay::kept(&cgroup, &host.socket(), Kept::Privileged).id().await.unwrap(), id(A));
    let refused = Relay::kept(&cgroup, &host.socket(), Kept::HostPid).id().await;
    assert!(is_refused(&refused), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_before_the_login_waits_for_it() {
    let host = Host::open("v2").await;
    let _agent = host.agent();
    let cgroup = host.cgroups.cgroup("job-a");
    let mut early = Relay::start(&cgroup, &host.socket());
    let early = tokio::spawn(async move { early.id().await });
    until(|| !processes(&cgroup).is_empty()).await;
    let (status, body) = Relay::start(&cgroup, &host.door()).login(&host.token(A)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(within(early).await.unwrap().unwrap(), id(A));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_cgroup_is_one_job_where_that_is_accepted_and_its_last_login_speaks_for_all() {
    let host = Host::open("v2").await;
    let reason = || Some("one user's own runner".to_owned());
    let _agent = host.agent_that(Accepted { host_pid: reason(), privileged: reason(), shared_cgroup: reason() });
    let runner = host.cgroups.cgroup("runner");
    let _inhabitant = Relay::start(&runner, &host.socket());
    for project in [A, B] {
        let (status, body) = Relay::start(&runner, &host.door()).login(&host.token(project)).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(Relay::start(&runner, &host.socket()).id().await.unwrap(), id(project));
    }
    let other = host.cgroups.cgroup("another");
    let (status, _) = Relay::start(&other, &host.door()).login(&host.token(A)).await;
    assert_eq!(status, 200);
    assert_eq!(Relay::start(&runner, &host.socket()).id().await.unwrap(), id(B), "another cgroup is another job");
}
