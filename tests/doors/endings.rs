//! Ends of sessions that the server cannot be told, and requests that are under way.

use super::running::{Running, eventually, kept, within};
use lanyard::agent::{LoggedOut, OnStop};
use lanyard::wire::lanyard::JobEnd;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_the_server_does_not_hear_says_so_and_is_told_later() {
    let agent = Running::logged_in().await;
    agent.issuer.away.store(true, Ordering::SeqCst);
    let LoggedOut::NotTold { why, ends_at } = within(agent.handle.end(JobEnd::Logout)).await else {
        panic!("nobody heard it")
    };
    assert!(why.contains("away") && ends_at.is_some(), "{why}");
    let next = within(agent.stream().await.message()).await.unwrap_err();
    assert_eq!(next.code(), Code::PermissionDenied, "it is gone here");
    let again = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"))
        .args(["logout", "--agent-socket"])
        .arg(agent.folder.path().join("agent.sock"))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(3), "{said}");
    assert!(said.contains("the server could not be told (") && said.contains("ends by itself at 20"), "{said}");
    agent.issuer.away.store(false, Ordering::SeqCst);
    within(eventually(|| !kept(agent.folder.path()).contains("\"s1\""))).await;
    assert_eq!(*agent.issuer.ended.lock().unwrap(), ["s1: logout"]);
}

#[tokio::test]
async fn a_restarted_agent_first_tells_the_end_that_its_server_did_not_hear() {
    let agent = Running::logged_in().await;
    agent.trigger.pull();
    within(agent.ended).await.unwrap();
    let pod = Running::start_in(agent.folder, agent.issuer, (agent.server, agent.trust), OnStop::EndSession);
    within(pod.stream().await.message()).await.unwrap().unwrap();
    pod.issuer.away.store(true, Ordering::SeqCst);
    pod.trigger.pull();
    within(pod.ended).await.unwrap();
    assert!(kept(pod.folder.path()).contains("\"ending\""));
    pod.issuer.away.store(false, Ordering::SeqCst);
    let again = Running::start_in(pod.folder, pod.issuer, (pod.server, pod.trust), OnStop::EndSession);
    assert_eq!(again.login("another").await.unwrap().session, "s2");
    assert_eq!(*again.issuer.ended.lock().unwrap(), ["s1: agent_stopped"], "before the next token was tried");
}

#[tokio::test]
async fn a_resumed_session_is_renewed_once_though_events_come() {
    let agent = Running::logged_in().await;
    agent.trigger.pull();
    within(agent.ended).await.unwrap();
    agent.issuer.renew_takes.store(300, Ordering::SeqCst);
    let again = Running::start_in(agent.folder, agent.issuer, (agent.server, agent.trust), OnStop::KeepSession);
    assert_eq!(again.login("good").await.unwrap().session, "s1");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((again.issuer.renewals.load(Ordering::SeqCst), again.issuer.exchanges.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let agent = Running::start().await;
    let mut idle = tokio::net::UnixStream::connect(agent.folder.path().join("api.sock")).await.unwrap();
    let mut said = Vec::new();
    // Whether by its end or by an error: the place is given back.
    drop(within(tokio::io::AsyncReadExt::read_to_end(&mut idle, &mut said)).await);
}
