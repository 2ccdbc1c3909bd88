//! The Workload API's streams and calls, as a raw client sees them.

use super::issuer::ID;
use super::running::{Running, call, kept, within};
use lanyard::wire::workload::{JwtsvidRequest, X509svidRequest};
use spiffe::WorkloadApiClient;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::Code;
use zeroize::Zeroizing;

/// Shows: EP-4, EP-11, WAPI-9, WAPI-26.
#[tokio::test]
async fn a_call_without_the_header_is_turned_away_before_anything() {
    let agent = Running::start().await;
    for headers in [&[][..], &["TRUE"], &["1"], &["true", "true"]] {
        let refused = agent.raw().fetch_x509svid(call(X509svidRequest {}, headers)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{headers:?}");
    }
    let none = JwtsvidRequest { audience: Vec::new(), spiffe_id: String::new() };
    assert_eq!(agent.raw().fetch_jwtsvid(call(none, &["true"])).await.unwrap_err().code(), Code::InvalidArgument);
}

/// Shows: WAPI-7.
#[tokio::test]
async fn a_renewal_reaches_an_open_stream_in_time_with_a_fresh_key() {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(4, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    let client = WorkloadApiClient::connect_to(agent.endpoint()).await.unwrap();
    let mut stream = client.stream_x509_svids().await.unwrap();
    let first = within(stream.next()).await.unwrap().unwrap();
    let second = within(stream.next()).await.unwrap().unwrap();
    assert_ne!(first.private_key().as_bytes(), second.private_key().as_bytes());
    assert_eq!(agent.issuer.exchanges.load(Ordering::SeqCst), 1, "renewed, not exchanged again");
}

/// Shows: RUN-3.
#[tokio::test]
async fn a_stream_waits_in_silence_until_the_server_is_there() {
    let agent = Running::start().await;
    agent.issuer.away.store(true, Ordering::SeqCst);
    let login = {
        let handle = agent.handle.clone();
        tokio::spawn(async move { handle.login(Zeroizing::new("good".to_owned())).await })
    };
    let mut stream = agent.stream().await;
    tokio::time::timeout(Duration::from_millis(300), stream.message()).await.unwrap_err();
    agent.issuer.away.store(false, Ordering::SeqCst);
    let first = within(stream.message()).await.unwrap().unwrap();
    assert_eq!(first.svids[0].spiffe_id, ID);
    within(login).await.unwrap().unwrap();
}

/// Shows: RUN-2, WAPI-10, WAPI-22.
#[tokio::test]
async fn the_end_of_a_session_ends_streams_and_then_there_is_no_identity() {
    let agent = Running::logged_in().await;
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    // The agent listens to the server from its first SVID on; wait until it does.
    while agent.issuer.tell.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    agent.issuer.end();
    assert_eq!(within(stream.message()).await.unwrap_err().code(), Code::Unavailable);
    let next = within(agent.stream().await.message()).await.unwrap_err();
    assert_eq!((next.code(), next.message()), (Code::PermissionDenied, "no identity issued"));
}

/// Shows: RUN-2, WAPI-10.
#[tokio::test]
async fn a_stopping_agent_never_says_ok_and_its_session_lives_on() {
    let agent = Running::logged_in().await;
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    agent.trigger.pull();
    assert_eq!(within(stream.message()).await.unwrap_err().code(), Code::Unavailable);
    within(agent.ended).await.unwrap();
    assert!(agent.issuer.ended.lock().unwrap().is_empty());
    assert!(!agent.folder.path().join("api.sock").exists());
    assert!(kept(agent.folder.path()).contains("\"s1\""));
}

/// Shows: EP-12.
#[tokio::test]
async fn the_last_good_svid_is_served_while_the_server_is_away() {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(8, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    let ask = || JwtsvidRequest { audience: vec!["https://service.test".to_owned()], spiffe_id: String::new() };
    let token = agent.raw().fetch_jwtsvid(call(ask(), &["true"])).await.unwrap().into_inner();
    agent.issuer.away.store(true, Ordering::SeqCst);
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    let kept = agent.raw().fetch_jwtsvid(call(ask(), &["true"])).await.unwrap().into_inner();
    assert_eq!(kept, token, "from memory");
    assert_eq!(within(stream.message()).await.unwrap_err().code(), Code::Unavailable, "when it is really gone");
    agent.issuer.away.store(false, Ordering::SeqCst);
    assert!(within(agent.stream().await.message()).await.unwrap().is_some(), "and back with the server");
}
