//! No namespace takes the whole road: neither for identities nor for explanations of them.

use crate::support::harness::{Agent, Harness, start, x509};
use lanyard::audit::Ledger;
use lanyard::crypto::Random;
use lanyard::discovery::{Fetch, HttpsFetch};
use lanyard::facts::Facts;
use lanyard::issuance::{Bearer, Hearing, Issuance, Recorder, Request, RequestId, Shares};
use lanyard::session::{PathPins, Sessions};
use lanyard::store::{Answer, Commit, Committed, Entry, Store, StoreError, Stored};
use lanyard::telemetry::{Door, Metrics};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::task::JoinSet;

/// As many as one namespace may have on the road.
const OF_ONE_NAMESPACE: usize = 512;

/// A store whose disk takes for ever.
#[derive(Debug, Default)]
struct Stuck(AtomicUsize);

impl Store for Stuck {
    fn read(&self, _key: &str) -> Result<Option<Stored>, StoreError> {
        Ok(None)
    }

    fn page(&self, _prefix: &str, _after: &str, _max: usize) -> Result<Vec<(String, Stored)>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&self, _commit: Commit) -> Answer<Committed> {
        self.0.fetch_add(1, SeqCst);
        Box::pin(std::future::pending())
    }

    fn note(&self, _entry: Entry) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The harness's road, with another store at its end.
fn with_store(harness: &Harness, store: Arc<dyn Store>) -> Arc<Issuance> {
    let road = harness.issuance();
    let (ledger, metrics) = (Ledger::new(Arc::clone(&store)), Metrics::new());
    let fetch: Arc<dyn Fetch> = Arc::new(HttpsFetch::new(None).unwrap());
    Arc::new(Issuance {
        clock: Arc::clone(&road.clock),
        issuers: Arc::clone(&road.issuers),
        issuer_keys: Arc::clone(&road.issuer_keys),
        policy: road.policy.clone(),
        leaf: Arc::clone(&road.leaf),
        sessions: Sessions::open(Arc::clone(&store), road.people.clone(), start()).unwrap(),
        facts: Facts::new(Vec::new(), &fetch, Arc::clone(&road.clock), metrics.clone()),
        pins: PathPins::new(store, ledger.clone()),
        hearing: Hearing::default(),
        ledger,
        people: road.people.clone(),
        authorities: Arc::clone(&road.authorities),
        shares: Shares::default(),
        recorder: Recorder::new(metrics),
        data_dir: road.data_dir.clone(),
    })
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
    let (stuck, agent, token) = (Arc::new(Stuck::default()), Agent::new(), harness.issuer.token(start()));
    let issuance = with_store(&harness, Arc::<Stuck>::clone(&stuck));
    let others = of_the_board(&harness);
    let mut storm = JoinSet::new();
    for _ in 0..OF_ONE_NAMESPACE {
        assert!(issuance.explain_to_bearer(&token).await.is_ok());
        let (issuance, token, connection) = (Arc::clone(&issuance), token.clone(), Some(agent.public()));
        let id = RequestId::random(&Random::system());
        let request = Request { id, door: Door::Grpc, bearer: Bearer::Token(token), wanted: x509(), connection };
        storm.spawn(async move { issuance.issue(request).await.map(drop) });
        let before = storm.len();
        while stuck.0.load(SeqCst) < before {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(issuance.explain_to_bearer(&token).await.unwrap_err().code(), "too_many_requests");
    assert!(issuance.explain(&token).await.is_ok(), "operators find out why");
    assert!(issuance.explain_to_bearer(&others).await.is_ok(), "others are none of it");
    storm.shutdown().await;
    assert!(issuance.explain_to_bearer(&token).await.is_ok());
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
