//! No namespace takes the whole road: neither for identities nor for explanations of them.

use crate::support::harness::{Agent, Harness, request, start, x509};
use lanyard::crypto::Random;
use lanyard::issuance::{Bearer, Issuance, Refusal, Request, RequestId};
use lanyard::store::{Answer, Commit, Committed, Entry, LocalStore, Store, StoreError, Stored};
use lanyard::telemetry::Door;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// As many as one namespace may have on the road.
const OF_ONE_NAMESPACE: usize = 512;
/// As many as are worked on at once.
const AT_ONCE: usize = 128;

/// The harness's store on a disk that writes nothing until it is let.
#[derive(Debug)]
struct Stuck {
    store: Arc<LocalStore>,
    commits: AtomicUsize,
    writes: Arc<Semaphore>,
}

impl Stuck {
    fn of(harness: &Harness) -> Arc<Self> {
        let (store, writes) = (Arc::clone(&harness.parts.store), Arc::new(Semaphore::new(0)));
        Arc::new(Self { store, writes, commits: AtomicUsize::new(0) })
    }

    async fn has_commits(&self, count: usize) {
        while self.commits.load(SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

impl Store for Stuck {
    fn read(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.store.read(key)
    }

    fn page(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<(String, Stored)>, StoreError> {
        self.store.page(prefix, after, max)
    }

    fn commit(&self, commit: Commit) -> Answer<Committed> {
        self.commits.fetch_add(1, SeqCst);
        let (store, writes) = (Arc::clone(&self.store), Arc::clone(&self.writes));
        Box::pin(async move {
            writes.acquire().await.unwrap().forget();
            store.commit(commit).await
        })
    }

    fn note(&self, entry: Entry) -> Result<(), StoreError> {
        self.store.note(entry)
    }
}

/// Until its namespace is told to come back.
async fn refused_an_explanation(issuance: &Issuance, token: &str) -> Refusal {
    loop {
        match issuance.explain_to_bearer(token).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(refusal) => return refusal,
        }
    }
}

/// A genuine token of another top-level namespace.
fn of_the_board(harness: &Harness) -> String {
    let mut claims = harness.issuer.claims(start());
    for (name, value) in [
        ("project_path", "board/api"),
        ("namespace_path", "board"),
        ("sub", "project_path:board/api:ref_type:branch:ref:main"),
    ] {
        claims.insert(name.to_owned(), value.into());
    }
    harness.issuer.mint(&claims)
}

#[tokio::test]
async fn a_namespace_in_a_storm_is_told_to_come_back_also_with_its_questions() {
    let harness = Harness::new().await;
    let (stuck, agent, token) = (Stuck::of(&harness), Agent::new(), harness.issuer.token(start()));
    let issuance = harness.road_with(Arc::<Stuck>::clone(&stuck));
    let others = of_the_board(&harness);
    let mut storm = JoinSet::new();
    for _ in 0..OF_ONE_NAMESPACE {
        assert!(issuance.explain_to_bearer(&token).await.is_ok());
        let (issuance, token, connection) = (Arc::clone(&issuance), token.clone(), Some(agent.public()));
        let id = RequestId::random(&Random::system());
        let request = Request { id, door: Door::Grpc, bearer: Bearer::Token(token), wanted: x509(), connection };
        storm.spawn(async move { issuance.issue(request).await.map(drop) });
        let before = storm.len();
        stuck.has_commits(before.min(AT_ONCE)).await;
    }
    assert_eq!(refused_an_explanation(&issuance, &token).await.code(), "too_many_requests");
    assert!(issuance.explain(&token).await.is_ok(), "operators find out why");
    assert!(issuance.explain_to_bearer(&others).await.is_ok(), "others are none of it");
    storm.shutdown().await;
    assert!(issuance.explain_to_bearer(&token).await.is_ok());
}

#[tokio::test]
async fn who_comes_into_a_storm_of_another_project_waits_for_what_is_being_worked_on_and_not_for_the_storm() {
    let harness = Harness::new().await;
    let (stuck, done) = (Stuck::of(&harness), Arc::new(AtomicUsize::new(0)));
    let issuance = harness.road_with(Arc::<Stuck>::clone(&stuck));
    let ask = |token| request(Bearer::Token(token), x509(), Some(Agent::new().public()));
    let mut storm = JoinSet::new();
    for _ in 0..OF_ONE_NAMESPACE {
        let (issuance, done, asked) = (Arc::clone(&issuance), Arc::clone(&done), ask(harness.issuer.token(start())));
        storm.spawn(async move {
            issuance.issue(asked).await.unwrap();
            done.fetch_add(1, SeqCst);
        });
    }
    refused_an_explanation(&issuance, &harness.issuer.token(start())).await;
    stuck.has_commits(AT_ONCE).await;
    let mut other = pin!(issuance.issue(ask(of_the_board(&harness))));
    tokio::select! {
        biased;
        outcome = &mut other => panic!("{:?} while the disk stood still", outcome.map(drop)),
        () = tokio::task::yield_now() => {} // it stands in line
    }
    stuck.writes.add_permits(Semaphore::MAX_PERMITS);
    other.await.unwrap();
    let before = done.load(SeqCst);
    assert!(before <= 2 * AT_ONCE, "{before} of {OF_ONE_NAMESPACE} had theirs before");
    while storm.join_next().await.transpose().unwrap().is_some() {}
    assert_eq!(done.load(SeqCst), OF_ONE_NAMESPACE, "and nobody is forgotten");
}

#[tokio::test]
async fn a_stranger_is_explained_what_would_become_of_it_and_not_the_rules() {
    let line = "namespaces = [\"acme\"]";
    let harness = Harness::whose_issuer_says(line, crate::support::harness::POLICY, "memory").await;
    let stranger = of_the_board(&harness);
    let code = harness.exchange(&stranger, &Agent::new()).await.unwrap_err().code();
    assert_eq!(code, "namespace_not_listed");
    assert_eq!(harness.issuance().explain_to_bearer(&stranger).await.unwrap_err().code(), code);
    assert_eq!(harness.issuance().explain(&stranger).await.unwrap_err().code(), code);
}
