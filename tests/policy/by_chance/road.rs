//! What the road gives and what `explain` says of it, under thousands of policies.

use super::chance::policy;
use super::model::AUDIENCE;
use super::tries::{Tally, load, try_all};
use super::world::{Known, jobs};
use crate::support::harness::{Agent, Harness};
use lanyard::issuance::{IssuedSvid, Refusal};
use lanyard::policy::Verdict;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value};

/// A token of a new job that is like this one.
fn token(harness: &Harness, known: &Known) -> String {
    let mut claims: Map<String, Value> = harness.issuer.claims(harness.now());
    claims.retain(|name, _| matches!(name.as_str(), "aud" | "exp" | "iat" | "iss" | "jti" | "nbf"));
    let told = known.payload.iter().filter(|(name, _)| !matches!(name.as_str(), "iss" | "jti"));
    claims.extend(told.map(|(name, value)| (name.clone(), value.clone())));
    harness.issuer.mint(&claims)
}

/// The ID, or the code of the no.
fn said(verdict: &Verdict) -> Result<String, String> {
    match verdict {
        Verdict::Granted { spiffe_id, .. } => Ok(spiffe_id.clone()),
        Verdict::Denied { code, .. } => Err(code.clone()),
    }
}

async fn check(harness: &Harness, agent: &Agent, known: &Known) -> Result<bool, TestCaseError> {
    let token = token(harness, known);
    let issuance = harness.issuance();
    let (claims, walk) = issuance.explain(&token).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let for_bearer =
        issuance.explain_to_bearer(&token).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let id = |issued: Result<IssuedSvid, Refusal>| {
        issued.map(|issued| issued.spiffe_id().to_string()).map_err(|refusal| refusal.code().to_owned())
    };
    let given = id(harness.exchange(&token, agent).await);
    prop_assert_eq!(&id(harness.jwt(&token, AUDIENCE, Some(agent)).await), &given);
    prop_assert_eq!(&said(&walk.verdict), &given, "{:?}", claims.claims());
    prop_assert_eq!(&said(&for_bearer.verdict), &given, "{:?}", claims.claims());
    let seen = |name: &str| walk.rules.iter().chain(&walk.refusals).any(|rule| rule.name == name);
    prop_assert!(for_bearer.rules.iter().chain(&for_bearer.refusals).all(|rule| seen(&rule.name)));
    Ok(given.is_ok())
}

#[test]
fn explain_and_the_road_say_the_same_of_every_job_under_every_policy() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let harness = runtime.block_on(Harness::new());
    let (tally, agent) = (Tally::default(), Agent::new());
    let jobs: Vec<Known> = jobs().into_iter().filter(|known| known.project().0 == "corp").collect();
    let asked = (policy(), prop::sample::subsequence(jobs, 2));
    try_all(1500, &asked, |(policy, some)| {
        let Ok(checked) = load(&policy) else { return Ok(()) };
        tally.count("loaded");
        harness.issuance().policy.replace(checked.policy);
        for known in &some {
            let granted = runtime.block_on(check(&harness, &agent, known))?;
            tally.count(if granted { "granted" } else { "refused" });
        }
        Ok(())
    });
    tally.at_least(&[("loaded", 1000), ("granted", 300), ("refused", 300)]);
}
