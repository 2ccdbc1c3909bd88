//! What comes just before a commit is seen by it: an operator's word counts from the moment it is recorded.

use crate::support::harness::{Agent, Harness, POLICY, request, start, x509};
use lanyard::audit::{Person, PinnedBy};
use lanyard::issuance::{Bearer, Issuance, Wanted};
use lanyard::policy::PathPin;
use lanyard::session::{Ban, Selector, Sessions};
use lanyard::store::{Answer, Commit, Committed, Entry, Store, StoreError, Stored};
use lanyard::token::IssuerName;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

type Deed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The harness's store, where something is done just before the first commit of one kind.
struct Overtaken {
    store: Arc<dyn Store>,
    by: Mutex<Option<(&'static str, Deed)>>,
}

impl Overtaken {
    fn of(harness: &Harness) -> Arc<Self> {
        let store: Arc<dyn Store> = Arc::<lanyard::store::LocalStore>::clone(&harness.parts.store);
        Arc::new(Self { store, by: Mutex::default() })
    }

    fn before(&self, kind: &'static str, deed: impl Future<Output = ()> + Send + 'static) {
        *self.by.lock().unwrap() = Some((kind, Box::pin(deed)));
    }
}

impl fmt::Debug for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overtaken")
    }
}

impl Store for Overtaken {
    fn read(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.store.read(key)
    }

    fn page(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<(String, Stored)>, StoreError> {
        self.store.page(prefix, after, max)
    }

    fn commit(&self, commit: Commit) -> Answer<Committed> {
        let meant = |(kind, _): &mut (&str, Deed)| commit.entry.get().contains(&format!("\"kind\":\"{kind}\""));
        let first = self.by.lock().unwrap().take_if(meant);
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            if let Some((_, deed)) = first {
                deed.await;
            }
            store.commit(commit).await
        })
    }

    fn note(&self, entry: Entry) -> Result<(), StoreError> {
        self.store.note(entry)
    }
}

fn everybody() -> Selector {
    serde_json::from_value(serde_json::json!({ "issuer": "corp" })).unwrap()
}

async fn ban(road: &Issuance, until: Option<time::OffsetDateTime>) {
    let ban = Ban::new(everybody(), (7, "a test".to_owned()), (road.now(), until));
    road.ban(&ban).await.unwrap();
}

#[tokio::test]
async fn a_path_that_is_given_away_during_a_request_is_not_in_its_identity() {
    let harness = Harness::new().await;
    let (store, agent) = (Overtaken::of(&harness), Agent::new());
    let road = harness.road_with(Arc::<Overtaken>::clone(&store));
    let ask = async |token: String| {
        let asked = request(Bearer::Token(token), x509(), Some(agent.public()));
        road.issue(asked).await.map_or_else(|refusal| refusal.code(), |_issued| "issued")
    };
    assert_eq!(ask(harness.issuer.token(start())).await, "issued");
    let pin =
        PathPin { issuer: IssuerName("corp".into()), folded_path: "acme/payments/api".to_owned(), project_id: 9999 };
    let by = PinnedBy::Operator { who: Person::of(7), reason: None };
    let operator = Arc::clone(&road);
    store.before("intent", async move {
        assert_eq!(operator.pins.set(&pin, &by, operator.now()).await.unwrap(), Some(4711));
    });
    assert_eq!(ask(harness.issuer.token(start())).await, "project_path_reused");
    assert_eq!(harness.entries("intent").len(), 1);
}

#[tokio::test]
async fn a_ban_that_is_recorded_before_a_token_alone_was_admitted_is_kept() {
    let harness = Harness::with(&POLICY.replace("ttl =", "jwt_without_key = true\nttl ="), "memory").await;
    let store = Overtaken::of(&harness);
    let road = harness.road_with(Arc::<Overtaken>::clone(&store));
    let operator = Arc::clone(&road);
    store.before("intent", async move { ban(&operator, None).await });
    let wanted = Wanted::Jwt { audiences: vec!["https://service.test".to_owned()], profile: None };
    let asked = request(Bearer::Token(harness.issuer.token(start())), wanted, None);
    assert_eq!(road.issue(asked).await.unwrap_err().code(), "banned");
    assert!(harness.entries("issued").is_empty());
}

#[tokio::test]
async fn a_ban_that_is_said_again_while_its_end_is_swept_stays() {
    let harness = Harness::new().await;
    let store = Overtaken::of(&harness);
    let road = harness.road_with(Arc::<Overtaken>::clone(&store));
    ban(&road, Some(harness.now() + time::Duration::MINUTE)).await;
    harness.advance(120);
    let operator = Arc::clone(&road);
    store.before("swept", async move { ban(&operator, None).await });
    road.sessions.sweep(&road.ledger, road.now()).await.unwrap();
    let after_a_restart = Sessions::open(Arc::clone(&store.store), road.people.clone(), road.now()).unwrap();
    assert_eq!(after_a_restart.bans(road.now()).len(), 1);
}
