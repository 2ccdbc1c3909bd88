//! A replica that has not heard yet what another has just done.

use crate::support::harness::{Agent, Harness};
use lanyard::issuance::Issuance;
use lanyard::session::{Ban, Revocation, Selector};
use lanyard::store::{Answer, Commit, Committed, Entry, Heard, Store, StoreError, Stored};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use time::OffsetDateTime;

/// The harness's store as one that is behind shows it: without sessions, until somebody waits for what others did.
#[derive(Debug)]
struct Behind {
    store: Arc<dyn Store>,
    is_caught_up: Arc<AtomicBool>,
    /// Who hears of it, once somebody waits for that.
    hearer: Mutex<Weak<Issuance>>,
    /// A commit of this kind is not answered, though it is done.
    is_silent: AtomicBool,
}

impl Behind {
    fn of(harness: &Harness) -> (Arc<Self>, Arc<Issuance>) {
        let store: Arc<dyn Store> = Arc::<lanyard::store::LocalStore>::clone(&harness.parts.store);
        let (is_caught_up, hearer, is_silent) = (Arc::default(), Mutex::default(), AtomicBool::new(false));
        let behind = Arc::new(Self { store, is_caught_up, hearer, is_silent });
        let road = harness.road_with(Arc::<Self>::clone(&behind));
        *behind.hearer.lock().unwrap() = Arc::downgrade(&road);
        (behind, road)
    }

    fn shows(&self, key: &str) -> bool {
        !key.starts_with("session/") || self.is_caught_up.load(Ordering::Relaxed)
    }
}

impl Store for Behind {
    fn read(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        if self.shows(key) { self.store.read(key) } else { Ok(None) }
    }

    fn page(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<(String, Stored)>, StoreError> {
        if self.shows(prefix) { self.store.page(prefix, after, max) } else { Ok(Vec::new()) }
    }

    fn commit(&self, commit: Commit) -> Answer<Committed> {
        let committed = self.store.commit(commit);
        if !self.is_silent.load(Ordering::Relaxed) {
            return committed;
        }
        Box::pin(async {
            committed.await?;
            Err(StoreError::Unreachable { why: "a test".to_owned() })
        })
    }

    fn note(&self, entry: Entry) -> Result<(), StoreError> {
        self.store.note(entry)
    }

    fn caught_up(&self) -> Answer<()> {
        self.is_caught_up.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }

    fn all_heard(&self) -> Answer<()> {
        assert!(self.is_caught_up.load(Ordering::Relaxed), "what is not shown cannot be heard of");
        let (all, hearer) = (self.store.list("session/").unwrap(), self.hearer.lock().unwrap().upgrade().unwrap());
        Box::pin(async move {
            for (key, now) in all {
                let heard = Heard { key, now: Some(now) };
                hearer.sessions.hear(&hearer.ledger, &heard, hearer.now()).await.unwrap();
            }
            Ok(())
        })
    }
}

/// A session that another replica has opened, and its agent's key.
async fn opened(harness: &Harness) -> (Agent, String) {
    let agent = Agent::new();
    let issued = harness.exchange(&harness.issuer.token(harness.now()), &agent).await.unwrap();
    let session = issued.session().unwrap().to_owned();
    (agent, session)
}

fn everybody(harness: &Harness) -> Selector {
    let listed = harness.issuance().sessions.select(None, harness.now()).sessions;
    let path = listed.first().unwrap().project_path.to_string();
    serde_json::from_value(serde_json::json!({ "project": path })).unwrap()
}

#[tokio::test]
async fn a_session_that_another_replica_has_just_opened_lives_here_too() {
    let harness = Harness::new().await;
    let (_behind, road) = Behind::of(&harness);
    let (agent, session) = opened(&harness).await;
    let (session, owner) = (session.parse().unwrap(), agent.public().id());
    assert!(road.sessions.lives(&session, owner, road.now()).await.unwrap());
}

#[tokio::test]
async fn a_revocation_ends_what_another_replica_has_just_opened() {
    let harness = Harness::new().await;
    let (_behind, road) = Behind::of(&harness);
    opened(&harness).await;
    let selector = everybody(&harness);
    let wish = Revocation { selector: &selector, uid: 7, reason: "a test" };
    assert_eq!(road.sessions.revoke(&road.ledger, &wish, road.now()).await.unwrap().sessions.len(), 1);
}

#[tokio::test]
async fn a_ban_ends_what_another_replica_has_just_opened() {
    let harness = Harness::new().await;
    let (_behind, road) = Behind::of(&harness);
    opened(&harness).await;
    let ban = Ban::new(everybody(&harness), (7, "a test".to_owned()), (road.now(), None::<OffsetDateTime>));
    assert_eq!(road.sessions.ban(&road.ledger, &ban, road.now()).await.unwrap().sessions.len(), 1);
}

#[tokio::test]
async fn a_ban_whose_answer_was_lost_stays_in_force_if_it_was_done() {
    let harness = Harness::new().await;
    let (behind, road) = Behind::of(&harness);
    opened(&harness).await;
    let ban = Ban::new(everybody(&harness), (7, "a test".to_owned()), (road.now(), None::<OffsetDateTime>));
    behind.is_silent.store(true, Ordering::Relaxed);
    road.sessions.ban(&road.ledger, &ban, road.now()).await.unwrap_err();
    assert_eq!(road.sessions.bans(road.now()), [ban]);
}
