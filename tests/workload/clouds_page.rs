//! `docs/jwt-svids.md`: its configuration and its rule are read out of the page and loaded, a job gets a token for each consumer,
//! and what the page writes at that consumer's side is held against the token.

use crate::support::beside::{Beside, Site, asked, within};
use crate::support::issuer::FakeIssuer;
use lanyard::clock::Clock;
use lanyard::config::{MapEnvironment, ServerSettings, load_server};
use lanyard::svid::{JwtFacts, inspect_jwt};
use lanyard::wire::workload::JwtsvidRequest;
use serde_json::Value;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/jwt-svids.md"));

/// The page's blocks of a language, in its order.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("\n```{language}\n");
    PAGE.split(fence.as_str()).skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect()
}

/// The first JSON below a heading.
fn json_of(heading: &str) -> Value {
    let (_, below) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap();
    let block = below.split_once("```json\n").unwrap().1.split_once("\n```").unwrap().0;
    serde_json::from_str(block).unwrap()
}

fn settings(folder: &Path) -> ServerSettings {
    let [server, policy] = blocks("toml").try_into().unwrap();
    fs::write(folder.join("server.toml"), server).unwrap();
    fs::write(folder.join("policy.toml"), policy).unwrap();
    fs::write(folder.join("gitlab-jwks.json"), FakeIssuer::new().jwks()).unwrap();
    load_server(&folder.join("server.toml"), &MapEnvironment::default()).unwrap()
}

async fn token(agent: &Beside, audience: &str) -> JwtFacts {
    let request = JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
    let svids = within(agent.workload().fetch_jwtsvid(asked(request))).await.unwrap().into_inner().svids;
    inspect_jwt(&svids[0].svid).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_for_clouds_shows_loads_without_a_warning_and_fits_the_tokens_of_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let shown = settings(folder.path());
    assert!(shown.warnings.is_empty(), "{:?}", shown.warnings);
    let consumers = shown.policy_source.consumers;
    let site = Site::open_as(blocks("toml")[1], |settings| settings.policy_source.consumers = consumers.clone()).await;
    let agent = site.agent();
    let mut claims = site.issuer.claims(site.clock.now());
    for (name, value) in [
        ("environment", "production"),
        ("environment_protected", "true"),
        ("environment_action", "start"),
        ("job_id", "5299490"),
    ] {
        claims.insert(name.to_owned(), value.into());
    }
    agent.login(site.issuer.mint(&claims)).await.unwrap();

    // The server gives only what each consumer takes.
    let mut tokens = Vec::new();
    for consumer in &consumers.declared {
        tokens.push(token(&agent, &consumer.audiences[0]).await);
    }
    let [aws, google, entra, vault] = tokens.try_into().unwrap();
    let statement = json_of("AWS")["Statement"][0].clone();
    let wanted = &statement["Condition"]["StringEquals"];
    assert_eq!(
        (&wanted["ci.example.org:sub"], &wanted["ci.example.org:aud"]),
        (&aws.spiffe_id.as_str().into(), &aws.audience[0].clone().into())
    );
    let provider = format!(
        "arn:aws:iam::123456789012:oidc-provider/{}",
        aws.issuer.as_ref().unwrap().trim_start_matches("https://")
    );
    assert_eq!(statement["Principal"]["Federated"], provider);
    assert_eq!(aws.claims["https://aws.amazon.com/source_identity"], "job-5299490");

    assert_eq!(json_of("Google Cloud")["audience"], google.audience[0]);
    assert_eq!(google.claims["workload"], "4711.production");

    let credential = json_of("Microsoft Entra");
    assert_eq!(
        (&credential["issuer"], &credential["subject"]),
        (&entra.issuer.unwrap().into(), &entra.spiffe_id.as_str().into())
    );
    assert_eq!((&credential["audiences"][0], entra.algorithm.as_str()), (&entra.audience[0].clone().into(), "RS256"));

    let role = json_of("Vault");
    assert_eq!(
        (&role["bound_subject"], &role["bound_audiences"][0]),
        (&vault.spiffe_id.as_str().into(), &vault.audience[0].clone().into())
    );
    for (name, value) in role["bound_claims"].as_object().unwrap() {
        assert_eq!(vault.claims[name], *value);
    }
    let said = vault.issuer.unwrap();
    assert!(PAGE.contains(&format!("oidc_discovery_url={said} bound_issuer={said}")));
}
