//! What GitLab's webhooks end, and what they cannot.

use crate::doors::Doors;
use crate::support::harness::{Agent, HOOK_SECRET, Harness, POLICY};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lanyard::crypto::{Random, SharedSecret};
use lanyard::hooks::{Delivery, Signed};
use lanyard::issuance::{HookRefusal, IssuedSvid, Refusal, RequestId};
use serde_json::{Value, json};

const OF_PROJECT: &str = "[[issuer.hook]]\nproject = 4711\nsecret_file = \"hook.secret\"";
const OF_GROUP: &str = "[[issuer.hook]]\ngroup = \"Acme\"\nsecret_file = \"hook.secret\"";
const OF_ANOTHER_GROUP: &str = "[[issuer.hook]]\ngroup = \"acme/pay\"\nsecret_file = \"hook.secret\"";
const SIGNED: &str = "[[issuer.hook]]\nproject = 4711\nsigning_token_file = \"hook.signing\"";

async fn harness(hook: &'static str) -> Harness {
    Harness::whose_issuer_says(hook, POLICY, "memory").await
}

fn job_event(job: u64, status: &str) -> String {
    let event = json!({ "object_kind": "build", "build_id": job, "build_status": status, "project_id": 4711 });
    event.to_string()
}

/// How many sessions a delivery ended, or the code of its no.
async fn told(harness: &Harness, secret: &str, body: &str) -> Result<usize, &'static str> {
    let delivery = Delivery { secret: Some(secret.as_bytes()), signed: None, body: body.as_bytes() };
    hear(harness, &delivery).await
}

async fn hear(harness: &Harness, delivery: &Delivery<'_>) -> Result<usize, &'static str> {
    let id = RequestId::random(&Random::system());
    let heard = harness.issuance().hear(&id, "corp", delivery).await;
    heard.map(|heard| heard.ended).map_err(|refusal: HookRefusal| refusal.code())
}

fn code(outcome: Result<IssuedSvid, Refusal>) -> &'static str {
    outcome.map_or_else(|refusal| refusal.code(), |_issued| "issued")
}

/// A new job's number and token.
fn job(harness: &Harness) -> (u64, String) {
    let claims = harness.issuer.claims(harness.now());
    (claims.get("job_id").and_then(Value::as_str).unwrap().parse().unwrap(), harness.issuer.mint(&claims))
}

/// The codes of the journal's refused deliveries.
fn refused_in_journal(harness: &Harness) -> Vec<Value> {
    let journal = harness.journal();
    let records = journal.lines().map(|line| serde_json::from_str::<Value>(line.get(65..).unwrap()).unwrap());
    let of = |record: &Value, name: &str| record.pointer(&format!("/entry/{name}")).cloned();
    let refused = records.filter(|record| of(record, "kind") == Some("hook_refused".into()));
    refused.filter_map(|record| of(&record, "code")).collect()
}

#[tokio::test]
async fn a_job_that_gitlab_says_is_over_has_no_identity_any_more() {
    for hook in [OF_PROJECT, OF_GROUP] {
        let (harness, agent) = (harness(hook).await, Agent::new());
        let (number, token) = job(&harness);
        let session = harness.exchange(&token, &agent).await.unwrap().session().unwrap().to_owned();
        assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "running")).await, Ok(0));
        assert_eq!(code(harness.renew(&session, &agent).await), "issued");
        assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "success")).await, Ok(1));
        assert_eq!(code(harness.renew(&session, &agent).await), "session_ended");
        assert_eq!(code(harness.exchange(&token, &Agent::new()).await), "session_ended");
        // Told twice, and then out of order: nothing ends twice, and nothing comes back.
        assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "success")).await, Ok(0));
        assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "running")).await, Ok(0));
        assert_eq!(code(harness.exchange(&token, &agent).await), "session_ended");
    }
}

#[tokio::test]
async fn a_token_that_was_never_used_is_worth_nothing_once_its_job_is_over() {
    for hook in [OF_PROJECT, OF_GROUP] {
        let harness = harness(hook).await;
        let (number, token) = job(&harness);
        assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "failed")).await, Ok(0));
        assert_eq!(code(harness.exchange(&token, &Agent::new()).await), "session_ended");
        assert_eq!(code(harness.jwt(&token, "https://service.test", None).await), "session_ended");
    }
}

#[tokio::test]
async fn a_pipeline_that_is_over_ends_all_its_jobs() {
    let harness = harness(OF_PROJECT).await;
    let (first, second) = (job(&harness), job(&harness));
    for (_number, token) in [&first, &second] {
        assert_eq!(code(harness.exchange(token, &Agent::new()).await), "issued");
    }
    let builds = json!([{ "id": first.0, "status": "running" }, { "id": second.0, "status": "success" }]);
    let over = json!({ "object_kind": "pipeline", "object_attributes": { "id": 574, "status": "canceled" },
                       "project": { "id": 4711 }, "builds": builds });
    assert_eq!(told(&harness, HOOK_SECRET, &over.to_string()).await, Ok(2));
}

/// A job that was skipped, or waits for somebody to play it, runs later under the same number.
#[tokio::test]
async fn a_job_that_has_not_run_yet_is_not_closed_with_its_pipeline() {
    let harness = harness(OF_PROJECT).await;
    let (skipped, manual) = (job(&harness), job(&harness));
    let builds = json!([{ "id": skipped.0, "status": "skipped" }, { "id": manual.0, "status": "manual" }]);
    let over = json!({ "object_kind": "pipeline", "object_attributes": { "id": 574, "status": "failed" },
                       "project": { "id": 4711 }, "builds": builds });
    assert_eq!(told(&harness, HOOK_SECRET, &over.to_string()).await, Ok(0));
    for (_number, token) in [&skipped, &manual] {
        assert_eq!(code(harness.exchange(token, &Agent::new()).await), "issued");
    }
}

#[tokio::test]
async fn of_an_unknown_job_the_first_word_is_enough() {
    for hook in [OF_PROJECT, OF_ANOTHER_GROUP] {
        let harness = harness(hook).await;
        let number = job(&harness).0;
        for _ in 0..3 {
            harness.advance(60);
            assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "success")).await, Ok(0));
        }
        assert_eq!(harness.journal().matches(r#""kind":"job_closed""#).count(), 1);
    }
}

/// GitLab tells of the job where it runs, and the token of whose code it is.
#[tokio::test]
async fn the_parent_s_hook_ends_a_fork_s_merge_request() {
    for hook in [OF_PROJECT, OF_GROUP] {
        let policy = POLICY.replace("issuer = \"corp\"", "issuer = \"corp\"\nfork = true");
        let harness = Harness::whose_issuer_says(hook, &policy, "memory").await;
        let mut claims = harness.issuer.claims(harness.now());
        for (name, value) in [
            ("project_id", "99"),
            ("project_path", "eve/api"),
            ("namespace_path", "eve"),
            ("sub", "project_path:eve/api:ref_type:branch:ref:main"),
            ("pipeline_source", "merge_request_event"),
        ] {
            claims.insert(name.to_owned(), value.into());
        }
        let (agent, number) = (Agent::new(), claims["job_id"].as_str().unwrap().parse().unwrap());
        assert_eq!(code(harness.exchange(&harness.issuer.mint(&claims), &agent).await), "issued");
        assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "success")).await, Ok(1));
    }
}

#[tokio::test]
async fn a_hook_ends_no_job_of_others_whether_it_is_known_or_not() {
    let (harness, agent) = (harness(OF_ANOTHER_GROUP).await, Agent::new());
    let ((known, token), (unknown, unused)) = (job(&harness), job(&harness));
    let session = harness.exchange(&token, &agent).await.unwrap().session().unwrap().to_owned();
    for number in [known, unknown] {
        assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "success")).await, Ok(0));
    }
    assert_eq!(code(harness.renew(&session, &agent).await), "issued");
    assert_eq!(code(harness.exchange(&unused, &Agent::new()).await), "issued");
}

#[tokio::test]
async fn what_a_group_s_hook_said_of_an_unknown_job_is_made_whole_by_whoever_may_say_it() {
    let both = "[[issuer.hook]]\ngroup = \"acme/pay\"\nsecret_file = \"hook.secret\"\n\
                [[issuer.hook]]\nproject = 4711\nsigning_token_file = \"hook.signing\"";
    let harness = harness(both).await;
    let (number, token) = job(&harness);
    assert_eq!(told(&harness, HOOK_SECRET, &job_event(number, "success")).await, Ok(0));
    let (agent, body) = (Agent::new(), job_event(number, "success"));
    assert_eq!(code(harness.exchange(&token, &agent).await), "issued", "that hook may not say it");
    assert_eq!(signed(&harness, 0, "id-1", &body).await, Ok(1));
    assert_eq!(code(harness.exchange(&token, &agent).await), "session_ended");
}

/// A signed delivery, so many seconds late.
async fn signed(harness: &Harness, late: i64, id: &str, body: &str) -> Result<usize, &'static str> {
    let timestamp = (harness.now().unix_timestamp() - late).to_string();
    let tag = SharedSecret::new(vec![b'A'; 32]).tag(&[format!("{id}.{timestamp}.").as_bytes(), body.as_bytes()]);
    let signature = format!("v1,{}", STANDARD.encode(tag));
    let signed = Some(Signed { id, timestamp: &timestamp, signature: &signature });
    hear(harness, &Delivery { secret: None, signed, body: body.as_bytes() }).await
}

#[tokio::test]
async fn forged_late_and_repeated_deliveries_lead_to_nothing_and_are_on_record_once_a_minute() {
    let harness = harness(SIGNED).await;
    let (number, token) = job(&harness);
    let body = job_event(number, "success");
    for _ in 0..3 {
        assert_eq!(told(&harness, HOOK_SECRET, &body).await, Err("hook_not_genuine"));
    }
    assert_eq!(signed(&harness, 301, "id-1", &body).await, Err("hook_stale"));
    let elsewhere = body.replace("4711", "4712");
    assert_eq!(signed(&harness, 0, "id-2", &elsewhere).await, Err("hook_out_of_scope"));
    assert_eq!(signed(&harness, 0, "id-3", "{}").await, Err("hook_malformed"));
    assert_eq!(code(harness.exchange(&token, &Agent::new()).await), "issued", "none of them ended it");
    assert_eq!(signed(&harness, 0, "id-4", &body).await, Ok(1));
    assert_eq!(signed(&harness, 0, "id-4", &body).await, Err("hook_repeated"));
    let refused = refused_in_journal(&harness);
    let codes = ["hook_not_genuine", "hook_stale", "hook_out_of_scope", "hook_malformed", "hook_repeated"];
    assert_eq!(refused, codes);
}

#[tokio::test]
async fn gitlab_posts_to_the_issuer_port_and_learns_little() {
    let hooks = "/v1/hooks/gitlab/corp";
    let doors = Doors::whose_issuer_says(OF_PROJECT, POLICY).await;
    let (body, json) = (job_event(9001, "success"), "Content-Type: application/json");
    let secret = format!("X-Gitlab-Token: {HOOK_SECRET}");
    let post = |secret: &str| vec!["--header".to_owned(), json.to_owned(), "--header".to_owned(), secret.to_owned()];
    let genuine: Vec<String> = post(&secret).into_iter().chain(["--data".to_owned(), body.clone()]).collect();
    let genuine: Vec<&str> = genuine.iter().map(String::as_str).collect();
    let (status, answer) = doors.real_curl_s_answer(hooks, &genuine).await;
    assert_eq!((status.as_str(), answer), ("2 200", json!({ "sessions_ended": 0 })));
    let large = doors.folder.path().join("large");
    std::fs::write(&large, vec![b' '; (1 << 20) + 1]).unwrap();
    let large = format!("@{}", large.display());
    let other_issuer = "/v1/hooks/gitlab/other";
    for (path, header, data, status, code) in [
        (hooks, "X-Gitlab-Token: guessed", body.as_str(), "2 401", "hook_not_genuine"),
        (hooks, "X-Other: x", &body, "2 401", "hook_not_genuine"),
        (hooks, &secret, "no json", "2 400", "hook_malformed"),
        (hooks, &secret, &large, "2 413", "body_too_large"),
        (hooks, &secret, &body.replace("4711", "1"), "2 403", "hook_out_of_scope"),
        (other_issuer, &secret, &body, "2 404", "hook_unknown"),
    ] {
        let answer = doors.real_curl(path, &["--header", json, "--header", header, "--data-binary", data]).await;
        assert_eq!(answer, (status.to_owned(), code.into()), "{path} {header}");
    }
    doors.close().await;
}
