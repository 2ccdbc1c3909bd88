//! Another trust domain's JWT-SVIDs as tokens: by the keys of the bundle that we hold, and for no longer than its endpoint is seen.

use super::endpoints::{Peer, Site, is_good, table};
use crate::support::harness::Agent;
use crate::support::https::{Scripted, Trouble};
use crate::support::issuer::{AUDIENCE, FakeIssuer};
use lanyard::discovery::DiscoveryError;
use lanyard::federation::Relation;
use lanyard::token::KeySet;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tempfile::TempDir;

const HOUR: u64 = 3600;
const DAY_AND_MORE: u64 = 24 * HOUR + 60;

/// Jobs of the partner, and nobody else.
const POLICY: &str = r#"
[[rule]]
name = "the partner"
id = "/partners/{project_path}"
path_only = "the partner answers for its own"
ttl = "15m"
when.issuer = "partner"
"#;

/// The issuer whose keys are those of its bundle.
fn issuer() -> String {
    format!(
        "[[issuer]]\nname = \"partner\"\nkind = \"spiffe\"\ntrust_domain = \"peer.test\"\naudience = \"{AUDIENCE}\"\n"
    )
}

/// A trust domain that signs with an issuer's key.
struct Partner {
    issuer: FakeIssuer,
    peer: Arc<Peer>,
}

impl Partner {
    fn document(&self, sequence: u64) -> Value {
        self.document_with("k1", sequence)
    }

    fn document_with(&self, kid: &str, sequence: u64) -> Value {
        let mut keys: Value = serde_json::from_slice(&self.issuer.jwks()).unwrap();
        let key = keys.pointer_mut("/keys/0").unwrap().as_object_mut().unwrap();
        key.insert("use".to_owned(), "jwt-svid".into());
        key.insert("kid".to_owned(), kid.into());
        json!({ "keys": [key], "spiffe_sequence": sequence, "spiffe_refresh_hint": 300 })
    }

    /// From now on, or not any more.
    fn is_away(&self, away: bool) {
        let mut instead = self.peer.instead.lock().unwrap();
        instead.clear();
        let nobody = || Trouble::Answer(503, Vec::new(), Vec::new());
        instead.extend((0..if away { 1000 } else { 0 }).map(|_| nobody()));
    }
}

impl Site {
    async fn keys(&self) -> Result<Arc<KeySet>, DiscoveryError> {
        self.keys_with("k1").await
    }

    async fn keys_with(&self, kid: &str) -> Result<Arc<KeySet>, DiscoveryError> {
        let road = self.harness.issuance();
        road.issuer_keys.of(road.issuers.by_name("partner").unwrap(), kid).await
    }

    /// The ID that a job of the partner is given, or the code of the no.
    async fn exchanged(&self, partner: &Partner) -> String {
        let now = self.harness.now().unix_timestamp();
        let claims = json!({
            "sub": "spiffe://peer.test/builds/linux", "aud": AUDIENCE, "iat": now, "exp": now + 300,
            "jti": format!("token-{now}"),
        });
        let claims: Map<String, Value> = serde_json::from_value(claims).unwrap();
        let token = partner.issuer.mint(&claims);
        match self.harness.exchange(&token, &Agent::new()).await {
            Ok(issued) => issued.spiffe_id().to_string(),
            Err(refusal) => refusal.code().to_owned(),
        }
    }
}

#[tokio::test]
async fn a_partner_s_keys_open_sessions_for_a_day_after_its_endpoint_was_seen_last() {
    let (folder, partner) = (TempDir::new().unwrap(), Partner { issuer: FakeIssuer::new(), peer: Arc::default() });
    let endpoint = Scripted::serve(Arc::clone(&partner.peer)).await;
    let site = Site::under(POLICY, issuer() + &table(&folder, "peer.test", &endpoint)).await;
    assert_eq!(site.exchanged(&partner).await, "issuer_unavailable", "before there is a bundle");
    partner.peer.shows(&partner.document(1));
    site.until("peer.test", is_good).await;
    assert_eq!(site.exchanged(&partner).await, "spiffe://ci.example.org/partners/builds/linux");
    let (first, again) = (site.keys().await.unwrap(), site.keys().await.unwrap());
    assert!(Arc::ptr_eq(&first, &again), "read once");
    partner.peer.shows(&partner.document(2));
    site.until("peer.test", |relation| relation.kept.as_ref().is_some_and(|kept| kept.foreign.bundle.sequence == 2))
        .await;
    assert!(!Arc::ptr_eq(&first, &site.keys().await.unwrap()));

    partner.is_away(true);
    site.until("peer.test", |relation| relation.failures > 0).await;
    site.harness.advance(23 * HOUR);
    site.keys().await.unwrap();
    site.harness.advance(HOUR + 60);
    assert_eq!(site.exchanged(&partner).await, "issuer_unavailable");
    let why = std::error::Error::source(&site.keys().await.unwrap_err()).unwrap().to_string();
    assert!(why.contains("the bundle of peer.test was not seen at its source since 2026-"), "{why}");
    partner.is_away(false);
    site.until("peer.test", is_good).await;
    site.keys().await.unwrap();

    // After a restart the first look is waited for, and then what was held is as old as it is.
    site.harness.advance(DAY_AND_MORE);
    partner.is_away(true);
    let site = Box::pin(site.restarted()).await;
    site.keys().await.unwrap();
    site.until("peer.test", |relation| relation.failures > 0).await;
    assert_eq!(site.keys().await.unwrap_err().code(), "issuer_unavailable");
}

#[tokio::test]
async fn a_key_that_is_not_held_has_the_endpoint_asked_at_once_and_no_more_than_twice_a_minute() {
    let (folder, partner) = (TempDir::new().unwrap(), Partner { issuer: FakeIssuer::new(), peer: Arc::default() });
    let endpoint = Scripted::serve(Arc::clone(&partner.peer)).await;
    partner.peer.shows(&partner.document_with("k0", 1));
    let site = Site::under(POLICY, issuer() + &table(&folder, "peer.test", &endpoint)).await;
    site.at_once("peer.test", is_good).await;
    assert_eq!(site.exchanged(&partner).await, "token_key_unknown", "it was seen just now");
    site.harness.advance(31);
    partner.peer.shows(&partner.document_with("k1", 2));
    for _asked in 0..3 {
        assert_eq!(site.keys_with("invented").await.unwrap_err().code(), "issuer_keys_just_fetched");
    }
    let has_changed =
        |relation: &Relation| relation.kept.as_ref().is_some_and(|kept| kept.foreign.bundle.sequence == 2);
    site.at_once("peer.test", |relation| has_changed(relation) && relation.asked_at > Some(site.harness.now())).await;
    assert_eq!(site.exchanged(&partner).await, "spiffe://ci.example.org/partners/builds/linux");
    for _asked in 0..3 {
        assert_eq!(site.keys_with("invented").await.unwrap_err().code(), "token_key_unknown");
    }
    assert_eq!(partner.peer.asked(), 2);
}
