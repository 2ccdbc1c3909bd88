//! One token, one key: what the same and another key get, and what an ended session gives nobody.

use crate::support::harness::{Agent, Harness, csr, csr_for, start};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::issuance::{Bearer, Request, RequestId, Wanted};
use lanyard::session::EndReason;
use lanyard::telemetry::Door;
use std::collections::BTreeSet;
use std::sync::Arc;

#[tokio::test]
async fn the_same_token_and_key_get_the_same_session_again() {
    let harness = Harness::new().await;
    let (token, agent) = (harness.issuer.token(start()), Agent::new());
    let first = harness.exchange(&token, &agent).await.unwrap();
    let second = harness.exchange(&token, &agent).await.unwrap();
    assert_eq!(first.session(), second.session());
    assert_ne!(first.digest(), second.digest(), "a fresh key each time");
}

#[tokio::test]
async fn a_stolen_token_fails_with_another_key() {
    let harness = Harness::new().await;
    let token = harness.issuer.token(start());
    harness.exchange(&token, &Agent::new()).await.unwrap();
    assert_eq!(harness.exchange(&token, &Agent::new()).await.unwrap_err().code(), "token_replayed");
    assert_eq!(harness.exchange_by_csr(&token, csr()).await.unwrap_err().code(), "token_replayed");
    let keyless = harness.jwt(&token, "https://service.test", None).await.unwrap_err();
    assert_eq!(keyless.code(), "token_replayed");
}

#[tokio::test]
async fn of_64_keys_that_race_for_one_token_exactly_one_wins() {
    let harness = Arc::new(Harness::with(crate::support::harness::POLICY, "sled").await);
    let token = harness.issuer.token(start());
    let racers = (0..64).map(|_| {
        let (harness, token) = (Arc::clone(&harness), token.clone());
        tokio::spawn(async move { harness.exchange(&token, &Agent::new()).await.map_err(|refusal| refusal.code()) })
    });
    let mut outcomes = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        outcomes.push(racer.await.unwrap());
    }
    let (winners, losers): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1);
    assert_eq!(harness.issuance().sessions.select(None, harness.now()).sessions.len(), 1, "no loser stands beside it");
    assert_eq!(losers.into_iter().map(Result::unwrap_err).collect::<BTreeSet<_>>(), ["token_replayed"].into());
}

#[tokio::test]
async fn the_same_key_racing_with_itself_always_wins() {
    let harness = Arc::new(Harness::with(crate::support::harness::POLICY, "sled").await);
    let (token, agent) = (harness.issuer.token(start()), Arc::new(Agent::new()));
    let racers = (0..3).map(|_| {
        let (harness, token, agent) = (Arc::clone(&harness), token.clone(), Arc::clone(&agent));
        tokio::spawn(
            async move { harness.exchange(&token, &agent).await.map(|issued| issued.session().map(str::to_owned)) },
        )
    });
    let mut sessions = BTreeSet::new();
    for racer in racers.collect::<Vec<_>>() {
        sessions.insert(racer.await.unwrap().unwrap());
    }
    assert_eq!(sessions.len(), 1);
}

#[tokio::test]
async fn without_a_client_certificate_the_csr_key_binds_and_the_session_ends_with_the_first_svid() {
    let harness = Harness::new().await;
    let (token, key) = (harness.issuer.token(start()), KeyPair::generate(KeyAlgorithm::EcP256).unwrap());
    let first = harness.exchange_by_csr(&token, csr_for(&key)).await.unwrap();
    harness.advance(600);
    let again = harness.exchange_by_csr(&token, csr_for(&key)).await.unwrap();
    assert_eq!(again.not_after(), first.not_after());
    assert_eq!(again.limited_by().as_str(), "session");
    let over_mtls = harness.renew(first.session().unwrap(), &Agent::new()).await.unwrap_err();
    assert_eq!(over_mtls.code(), "session_not_yours");
    harness.advance(300);
    assert_eq!(harness.exchange_by_csr(&token, csr_for(&key)).await.unwrap_err().code(), "session_ended");
}

#[tokio::test]
async fn a_csr_for_the_session_key_itself_is_refused() {
    let harness = Harness::new().await;
    let agent = Agent::new();
    let wanted = Wanted::X509 { csr: lanyard::issuance::Csr::Der(csr_for(agent.key()).into()), profile: None };
    let request = Request {
        id: RequestId::random(&lanyard::crypto::Random::system()),
        door: Door::Grpc,
        bearer: Bearer::Token(harness.issuer.token(start())),
        wanted,
        connection: Some(agent.public()),
    };
    assert_eq!(harness.issuance().issue(request).await.unwrap_err().code(), "csr_is_session_key");
}

#[tokio::test]
async fn an_ended_session_gives_nothing_to_anybody_also_after_a_restart() {
    let harness = Harness::with(crate::support::harness::POLICY, "sled").await;
    let (token, agent) = (harness.issuer.token(start()), Agent::new());
    let session = harness.exchange(&token, &agent).await.unwrap().session().unwrap().to_owned();
    harness.issuance().end(EndReason::Logout, &session.parse().unwrap(), agent.public().id()).await.unwrap();
    assert_eq!(harness.renew(&session, &agent).await.unwrap_err().code(), "session_ended");
    assert_eq!(harness.exchange(&token, &agent).await.unwrap_err().code(), "session_ended");
    let harness = harness.restarted(None).await;
    assert_eq!(harness.renew(&session, &agent).await.unwrap_err().code(), "session_ended");
    assert_eq!(harness.exchange(&token, &Agent::new()).await.unwrap_err().code(), "session_ended");
}

#[tokio::test]
async fn ending_closes_the_job_so_that_its_other_tokens_open_nothing() {
    let harness = Harness::new().await;
    let (mut claims, agent) = (harness.issuer.claims(start()), Agent::new());
    let session = harness.exchange(&harness.issuer.mint(&claims), &agent).await.unwrap().session().unwrap().to_owned();
    harness.issuance().end(EndReason::Logout, &session.parse().unwrap(), agent.public().id()).await.unwrap();
    claims.insert("jti".to_owned(), "11111111-0000-4000-8000-000000000000".into());
    let other = harness.exchange(&harness.issuer.mint(&claims), &agent).await.unwrap_err();
    assert_eq!(other.code(), "session_ended");
}

#[tokio::test]
async fn expired_sessions_are_swept_and_live_ones_are_not() {
    let harness = Harness::new().await;
    let agent = Agent::new();
    harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap();
    harness.advance(3600 + 60);
    harness.exchange(&harness.issuer.token(harness.now()), &agent).await.unwrap();
    harness.advance(100);
    let issuance = harness.issuance();
    let swept = issuance.sessions.sweep(&issuance.ledger, harness.now()).await.unwrap();
    assert_eq!((swept.live, swept.dropped), (1, 1));
}
