//! What the journal keeps of the policy: which one decided, in every entry, and the rule's own words.

use crate::support::harness::{Agent, Harness, POLICY, request, settings, start, x509};
use crate::support::issuer::{FakeIssuer, URL};
use lanyard::clock::{Clock, ManualClock};
use lanyard::config::{MapEnvironment, load_policy, load_server};
use lanyard::crypto::Random;
use lanyard::discovery::{Fetch, Fetching};
use lanyard::issuance::Bearer;
use lanyard::policy::Policy;
use lanyard::server::{World, build};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

fn read(folder: &Path, text: &str) -> Policy {
    let file = folder.join("another.toml");
    fs::write(&file, text).unwrap();
    load_policy(&file, &[], Duration::from_secs(900)).unwrap()
}

#[tokio::test]
async fn a_rule_s_tags_stand_in_the_entry_of_what_it_grants() {
    let harness = Harness::with(&POLICY.replace("ttl =", "tags = [\"pci\", \"team-payments\"]\nttl ="), "memory").await;
    harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
    let intents = harness.entries("intent");
    assert_eq!((intents.len(), &intents[0]["tags"]), (1, &json!(["pci", "team-payments"])));
}

#[tokio::test]
async fn a_refusal_names_the_policy_that_said_it_and_stands_for_no_other_s() {
    let nobody = POLICY.replace("issuer = \"corp\"", "issuer = \"corp\"\nproject_id = 1");
    let harness = Harness::with(&nobody, "memory").await;
    let (policy, token, agent) = (&harness.issuance().policy, harness.issuer.token(harness.now()), Agent::new());
    let first = *policy.now().digest();
    let refused = async || drop(harness.exchange(&token, &agent).await.unwrap_err());
    refused().await;
    refused().await;
    policy.replace(read(harness.folder.path(), &nobody.replace("project_id = 1", "project_id = 2")));
    let second = *policy.now().digest();
    refused().await;
    policy.replace(read(harness.folder.path(), &nobody));
    harness.advance(61);
    refused().await;
    let told: Vec<_> =
        harness.entries("refused").iter().map(|entry| (entry["policy"].clone(), entry["repeats"].clone())).collect();
    let said = |digest, repeats| (json!(digest), json!(repeats));
    assert_eq!(told, [said(first, 0), said(second, 0), said(first, 1)]);
}

/// Gives an issuer's documents once somebody opens it.
#[derive(Debug)]
struct Gate {
    keys: Vec<u8>,
    asked: Semaphore,
    open: Semaphore,
}

impl Fetch for Gate {
    fn get<'a>(&'a self, url: &'a str, _ca_pem: Option<&'a [u8]>) -> Fetching<'a> {
        let jwks_uri = format!("{URL}/keys");
        let answer = if url == jwks_uri {
            self.keys.clone()
        } else {
            json!({ "issuer": URL, "jwks_uri": jwks_uri }).to_string().into_bytes()
        };
        self.asked.add_permits(1);
        Box::pin(async move {
            drop(self.open.acquire().await.unwrap());
            Ok(answer)
        })
    }
}

#[tokio::test]
async fn whoever_was_on_the_way_when_the_policy_changed_is_answered_by_the_old_one_wholly() {
    lanyard::crypto::install_providers();
    let (folder, issuer) = (TempDir::new().unwrap(), FakeIssuer::new());
    drop((fs::write(folder.path().join("jwks.json"), issuer.jwks()), settings(folder.path(), POLICY, "memory", "")));
    let file = folder.path().join("server.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.lines().filter(|line| !line.starts_with("jwks_file")).collect::<Vec<_>>().join("\n"))
        .unwrap();
    let settings = load_server(&file, &MapEnvironment::default()).unwrap();
    let gate = Arc::new(Gate { keys: issuer.jwks(), asked: Semaphore::new(0), open: Semaphore::new(0) });
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(start()));
    let world = World { clock, random: Random::system(), fetch: Arc::<Gate>::clone(&gate) };
    let parts = build(&settings, world).await.unwrap();
    let (issuance, agent) = (Arc::clone(&parts.issuance), Agent::new());
    let ask = request(Bearer::Token(issuer.token(start())), x509(), Some(agent.public()));
    let on_the_way = tokio::spawn(async move { issuance.issue(ask).await });
    drop(gate.asked.acquire().await.unwrap());

    let old = *parts.issuance.policy.now().digest();
    let renamed = POLICY.replace("/-/pipelines/", "/-/renamed/").replace("every project", "renamed");
    parts.issuance.policy.replace(read(folder.path(), &renamed));
    gate.open.add_permits(1);
    let given = on_the_way.await.unwrap().unwrap();
    assert!(given.spiffe_id().as_str().ends_with("/-/pipelines/574"), "{}", given.spiffe_id());
    let ask = request(Bearer::Token(issuer.token(start())), x509(), Some(agent.public()));
    let later = parts.issuance.issue(ask).await.unwrap();
    assert!(later.spiffe_id().as_str().ends_with("/-/renamed/574"), "{}", later.spiffe_id());

    let new = *parts.issuance.policy.now().digest();
    parts.store.close();
    let records = lanyard::store::JournalReader::open(&settings.data_dir).unwrap();
    let entries = records.map(|record| serde_json::from_str::<Value>(record.unwrap().entry.get()).unwrap());
    let intents: Vec<Value> = entries.filter(|entry| entry["kind"] == "intent").collect();
    let told: Vec<_> = intents.iter().map(|intent| (&intent["policy"], &intent["rule"])).collect();
    let (first, second) = (json!("every project, its pipelines"), json!("renamed, its pipelines"));
    assert_eq!(told, [(&json!(old), &first), (&json!(new), &second)]);
}
