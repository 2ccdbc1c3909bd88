//! Logins and logouts: which session is served, and what is left when it ends.

use super::issuer::{FakeIssuer, ID};
use super::running::{Running, eventually, kept, within};
use lanyard::agent::OnStop;
use lanyard::crypto::Digest;
use lanyard::tls::ServerTrust;
use lanyard::wire::lanyard::JobEnd;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::Code;

#[tokio::test]
async fn a_session_that_is_replaced_is_let_go_without_a_word_to_the_server() {
    let agent = Running::logged_in().await;
    assert_eq!(agent.login("another").await.unwrap().session, "s2");
    let sessions = kept(agent.folder.path());
    assert!(sessions.contains("\"s2\"") && !sessions.contains("\"s1\""), "{sessions}");
    // Its end would close the job, and with it the new session.
    assert!(agent.issuer.ended.lock().unwrap().is_empty());
    within(agent.handle.end(JobEnd::Logout)).await;
    assert_eq!(
        *agent.issuer.ended.lock().unwrap(),
        ["s2: logout"],
        "a logout closes the job by the session that is served"
    );
}

#[tokio::test]
async fn a_restarted_agent_goes_on_without_its_token_and_a_pods_agent_ends_its_session() {
    let agent = Running::logged_in().await;
    agent.trigger.pull();
    within(agent.ended).await.unwrap();
    let again = Running::start_in(agent.folder, agent.issuer, (agent.server, agent.trust), OnStop::EndSession);
    let first = within(again.stream().await.message()).await.unwrap().unwrap();
    assert_eq!(first.svids[0].spiffe_id, ID);
    assert_eq!(again.issuer.exchanges.load(Ordering::SeqCst), 1, "the session was renewed, not opened again");

    // A pod's agent ends with its job.
    again.trigger.pull();
    within(again.ended).await.unwrap();
    assert_eq!(*again.issuer.ended.lock().unwrap(), ["s1: agent_stopped"]);
}

#[tokio::test]
async fn logging_out_tells_the_server_and_takes_the_files_away() {
    let agent = Running::logged_in().await;
    agent.files_are(true).await;
    within(agent.handle.end(JobEnd::Logout)).await;
    assert_eq!(*agent.issuer.ended.lock().unwrap(), ["s1: logout"]);
    agent.files_are(false).await;
}

/// Shows: EP-13, WAPI-12.
#[tokio::test]
async fn a_refused_token_is_told_with_its_code_and_a_live_session_outlives_it() {
    let agent = Running::start().await;
    let refused = agent.login("stolen").await.unwrap_err();
    assert_eq!((&*refused.code, refused.status, &*refused.request_id), ("token_replayed", 409, "r7"));
    let next = within(agent.stream().await.message()).await.unwrap_err();
    assert_eq!(next.code(), Code::PermissionDenied);
    agent.login("good").await.unwrap();
    agent.login("stolen").await.unwrap_err();
    assert!(within(agent.stream().await.message()).await.unwrap().is_some());
    assert_eq!(agent.login("good").await.unwrap().session, "s1");
}

#[tokio::test]
async fn a_live_session_is_renewed_while_another_token_waits() {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(4, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    let mut stream = agent.stream().await;
    let first = within(stream.message()).await.unwrap().unwrap();
    let login = agent.another_waits().await;
    let second = within(stream.message()).await.unwrap().unwrap();
    assert_ne!(first.svids[0].x509_svid_key, second.svids[0].x509_svid_key);
    assert!(!login.is_finished());
    agent.issuer.busy.store(false, Ordering::SeqCst);
    assert_eq!(within(login).await.unwrap().unwrap().session, "s2");
}

#[tokio::test]
async fn the_end_of_a_session_is_heard_while_another_token_waits() {
    let agent = Running::logged_in().await;
    agent.files_are(true).await;
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    let login = agent.another_waits().await;
    while agent.issuer.tell.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    agent.issuer.end();
    agent.is_over_until_another_comes(stream, login).await;
}

#[tokio::test]
async fn the_time_of_a_session_runs_out_while_another_token_waits() {
    let agent = Running::start().await;
    // The last SVID of a session ends with it.
    agent.issuer.lifetime.store(4, Ordering::SeqCst);
    agent.issuer.session_lifetime.store(4, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    agent.files_are(true).await;
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    let login = agent.another_waits().await;
    agent.issuer.away.store(true, Ordering::SeqCst);
    agent.is_over_until_another_comes(stream, login).await;
}

#[tokio::test]
async fn logging_out_while_another_token_waits_ends_the_session_and_the_wait() {
    let agent = Running::logged_in().await;
    agent.files_are(true).await;
    let login = agent.another_waits().await;
    within(agent.handle.end(JobEnd::Logout)).await;
    assert_eq!(within(login).await.unwrap().unwrap_err().code, "session_ended");
    assert_eq!(*agent.issuer.ended.lock().unwrap(), ["s1: logout"]);
    assert!(!kept(agent.folder.path()).contains("\"s1\""));
    let next = within(agent.stream().await.message()).await.unwrap_err();
    assert_eq!(next.code(), Code::PermissionDenied);
    agent.files_are(false).await;
}

#[tokio::test]
async fn a_pods_agent_that_stops_while_another_token_waits_leaves_no_identity() {
    let agent = Running::logged_in().await;
    agent.trigger.pull();
    within(agent.ended).await.unwrap();
    let pod = Running::start_in(agent.folder, agent.issuer, (agent.server, agent.trust), OnStop::EndSession);
    pod.files_are(true).await;
    within(pod.stream().await.message()).await.unwrap().unwrap();
    let login = pod.another_waits().await;
    pod.trigger.pull();
    within(login).await.unwrap().unwrap_err();
    within(pod.ended).await.unwrap();
    assert_eq!(*pod.issuer.ended.lock().unwrap(), ["s1: agent_stopped"]);
    assert!(!kept(pod.folder.path()).contains("\"s1\""));
    assert!(std::fs::symlink_metadata(pod.folder.path().join("files/svid_key.pem")).is_err());

    let again = Running::start_in(pod.folder, pod.issuer, (pod.server, pod.trust), OnStop::EndSession);
    let mut stream = again.stream().await;
    tokio::time::timeout(Duration::from_millis(300), stream.message()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_stopped_during_the_login_never_starts_its_command() {
    let (issuer, server, trust) = FakeIssuer::start().await;
    issuer.busy.store(true, Ordering::SeqCst);
    let ServerTrust::Pem(ca) = trust else { panic!("the stand-in has a CA of its own") };
    let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
    let ran = folder.path().join("ran");
    let mut exec = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"))
        .args(["exec", "--server-ca-sha256", &Digest::of(&ca[0]).to_string(), "--token-env", "TOKEN", "--", "touch"])
        .arg(&ran)
        .env("LANYARD_SERVER", server.to_string())
        .env("TOKEN", "go.o.d")
        .env("TMPDIR", folder.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    within(eventually(|| issuer.exchanges.load(Ordering::SeqCst) > 0)).await;
    let pid = exec.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(within(exec.wait()).await.unwrap().code(), Some(128 + 15));
    assert!(!ran.exists());
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.into_iter().any(|name| name.starts_with("lanyard-exec-")), "its socket is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_alone_can_log_in() {
    let agent = Running::start().await;
    let socket = agent.folder.path().join("agent.sock");
    let answer = tokio::process::Command::new("curl")
        .args(["-sS", "--max-time", "20", "-d", r#"{"token":"good"}"#, "http://localhost/v1/login", "--unix-socket"])
        .arg(&socket)
        .output()
        .await
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["spiffe_id"], ID);
}
