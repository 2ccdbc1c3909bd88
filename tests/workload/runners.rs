//! A runner's own identity beside its jobs': one agent, one socket, and never both at a time.

use crate::sources::{CLUSTER, projected, put, with_issuers};
use crate::support::beside::{Beside, FIRST_ID, Site, asked, until, within};
use lanyard::agent::{AgentSettings, FileOutput, OnStop, TokenSource};
use lanyard::config::{MapEnvironment, load_agent};
use lanyard::svid::inspect_certificate;
use lanyard::wire::lanyard::JobEnd;
use lanyard::wire::workload::{JwtsvidRequest, X509svidResponse};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tonic::{Code, Streaming};

const RUNNER: &str = "spiffe://ci.example.org/-/lanyard/runners/ci/gitlab-runner";
/// Long enough to see that nothing comes, where what comes takes milliseconds.
const SILENCE: Duration = Duration::from_millis(300);
const RUNNERS: &str = r#"
[[rule]]
name = "runners"
id = "/-/lanyard/runners/{project_path}"
ttl = "15m"
when = { issuer = "cluster", project_path = "ci/gitlab-runner" }
"#;

/// A server that knows jobs and the cluster's accounts, and a volume with the first token of one.
async fn open() -> Site {
    let jobs = crate::support::harness::POLICY;
    let site = Site::open_as(jobs, with_issuers(CLUSTER, &format!("{RUNNERS}{jobs}"))).await;
    put(&site, "..1", &projected(&site, "token-1"));
    site
}

/// An agent that has the runner's own identity besides.
fn settings(site: &Site) -> AgentSettings {
    AgentSettings { runner: Some(site.path("volume/token")), ..site.agent_settings() }
}

async fn next(stream: &mut Streaming<X509svidResponse>) -> String {
    within(stream.message()).await.unwrap().unwrap().svids[0].spiffe_id.clone()
}

async fn id(agent: &Beside) -> String {
    agent.x509().await.svids[0].spiffe_id.clone()
}

/// Whose JWT-SVID a workload gets.
async fn jwt(agent: &Beside) -> Result<String, Code> {
    let request = JwtsvidRequest { audience: vec!["https://service.test".to_owned()], spiffe_id: String::new() };
    let answer = within(agent.workload().fetch_jwtsvid(asked(request))).await;
    answer.map(|answer| answer.into_inner().svids[0].spiffe_id.clone()).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_s_identity_is_served_until_a_job_logs_in_and_again_after_its_end() {
    let site = open().await;
    let agent = Beside::start(settings(&site), &site.clock);
    let mut proxy = agent.x509_stream().await;
    assert_eq!(next(&mut proxy).await, RUNNER);
    assert_eq!(jwt(&agent).await, Err(Code::PermissionDenied), "its rule grants none");

    for _job in 0..2 {
        assert_eq!(agent.login(site.token()).await.unwrap().spiffe_id, FIRST_ID);
        assert_eq!(id(&agent).await, FIRST_ID, "as soon as the login is answered");
        assert_eq!(next(&mut proxy).await, FIRST_ID, "on the stream that had the runner's");
        assert_eq!(jwt(&agent).await.as_deref(), Ok(FIRST_ID));
        agent.handle.as_ref().unwrap().end(JobEnd::Logout).await;
        assert_eq!(next(&mut proxy).await, RUNNER, "on the same stream");
        assert_eq!(id(&agent).await, RUNNER);
        assert_eq!(jwt(&agent).await, Err(Code::PermissionDenied), "nothing of the job's is left");
    }
    agent.login("no.genuine.token".to_owned()).await.unwrap_err();
    assert_eq!(id(&agent).await, RUNNER, "who is refused takes nothing away");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubelet_s_next_token_is_the_runner_s_alone() {
    let site = open().await;
    let agent = Beside::start(settings(&site), &site.clock);
    assert_eq!(id(&agent).await, RUNNER);
    agent.login(site.token()).await.unwrap();
    let mut stream = agent.x509_stream().await;
    assert_eq!(next(&mut stream).await, FIRST_ID);
    let before = site.intents();
    put(&site, "..2", &projected(&site, "token-2"));
    site.clock.advance(Duration::from_secs(5));
    until(|| site.intents() > before).await;
    tokio::time::timeout(SILENCE, stream.message()).await.unwrap_err();
    assert_eq!(id(&agent).await, FIRST_ID);
    agent.handle.as_ref().unwrap().end(JobEnd::Logout).await;
    assert_eq!(next(&mut stream).await, RUNNER);
}

/// Whose SVID the files hold.
fn filed(folder: &Path) -> Option<String> {
    let leaf = CertificateDer::from_pem_file(folder.join("svid.pem")).ok()?;
    Some(inspect_certificate(&leaf).ok()?.spiffe_id.as_str().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_follow_and_the_hook_runs_once_for_each_change_that_is_seen() {
    let site = open().await;
    let (folder, told) = (site.path("files"), site.path("told"));
    let hook = ["sh".to_owned(), "-c".to_owned(), format!("echo told >> {}", told.display())];
    let files = FileOutput { hook: hook.into(), ..FileOutput::new(folder.clone()) };
    let agent = Beside::start(AgentSettings { files: Some(files), ..settings(&site) }, &site.clock);
    let times = |count: usize| fs::read_to_string(&told).unwrap_or_default().lines().count() == count;
    until(|| filed(&folder).as_deref() == Some(RUNNER) && times(1)).await;
    agent.login(site.token()).await.unwrap();
    until(|| filed(&folder).as_deref() == Some(FIRST_ID) && times(2)).await;
    let kept = || fs::read_to_string(site.path("state/session.json")).unwrap();
    let before = kept();
    put(&site, "..2", &projected(&site, "token-2"));
    site.clock.advance(Duration::from_secs(5));
    until(|| kept() != before).await;
    tokio::time::sleep(SILENCE).await;
    assert!(times(2), "the runner's renewal concerns nobody while the job has the files");
    agent.handle.as_ref().unwrap().end(JobEnd::Logout).await;
    until(|| filed(&folder).as_deref() == Some(RUNNER) && times(3)).await;
    agent.login("no.genuine.token".to_owned()).await.unwrap_err();
    within(agent.ended()).await;
    assert!(times(3), "{:?}", fs::read_to_string(&told));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_s_agent_that_starts_again_goes_on_with_what_is_left() {
    let site = open().await;
    let ends = || AgentSettings { on_stop: OnStop::EndSession, ..settings(&site) };
    let agent = Beside::start(settings(&site), &site.clock);
    assert_eq!(id(&agent).await, RUNNER);
    agent.login(site.token()).await.unwrap();
    within(agent.ended()).await;
    let agent = Beside::follow(ends(), &site.clock).await;
    assert_eq!(id(&agent).await, FIRST_ID, "the job goes on, and nobody saw the runner's in between");
    within(agent.ended()).await;
    let agent = Beside::follow(ends(), &site.clock).await;
    assert_eq!(id(&agent).await, RUNNER, "the job has ended with its agent, the runner has not");
    within(agent.ended()).await;
}

#[test]
fn the_agent_that_the_page_shows_is_one_with_a_runner_s_identity() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/issuers.md"));
    let block = page.split_once("```toml\n# runner-agent.toml\n").unwrap().1.split_once("\n```").unwrap().0;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    fs::write(&file, block).unwrap();
    let settings = load_agent(&file, &MapEnvironment::default()).unwrap();
    assert_eq!(settings.runner.unwrap(), Path::new("/var/run/secrets/lanyard/token"));
    assert_eq!((settings.token, settings.on_stop), (TokenSource::Login, OnStop::EndSession));
}
