//! What a replica does while nobody answers for a quorum, and when somebody does again.

use crate::agent::Agent;
use crate::callers::now;
use crate::https::{Script, Scripted, json_answer};
use crate::replica::{Replica, Replicas, until};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// From a quorum to the first answer (issue).
const RESUMES_WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_no_session_begins_and_live_ones_are_renewed() {
    let mut replicas = Replicas::start(2);
    let agent = Agent::new();
    let token = replicas.all[0].place.issuer.token(now());
    let session = agent.exchange(&replicas.all[0].place, &token).await.unwrap().session;
    replicas.etcd.kill();
    let place = |number: usize| &replicas.all[number].place;
    for number in 0..2 {
        let refused = agent.exchange(place(number), &place(0).issuer.token(now())).await.unwrap_err();
        assert_eq!(refused, "store_unavailable");
        agent.renew(place(number), &session).await.unwrap();
    }
    replicas.etcd.restart();
    let place = |number: usize| &replicas.all[number].place;
    for number in 0..2 {
        let offer = || async { agent.exchange(place(number), &place(0).issuer.token(now())).await.is_ok() };
        let took = until(RESUMES_WITHIN, offer).await;
        println!("answers resumed after {took:?}");
    }
}

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(20);

/// What a replica's copy of the keys says of its last step.
fn sequence(replica: &Replica) -> u64 {
    let keyring = fs::read(replica.place.data().join("keyring.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&keyring).unwrap()["sequence"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_step_without_a_quorum_leaves_the_keys_as_they_are_on_all_replicas() {
    let mut replicas = Replicas::start(2);
    let prepare = ["authority", "prepare", "--kind", "jwt"];
    let before = replicas.all.iter().map(sequence).collect::<Vec<_>>();
    replicas.etcd.kill();
    let said = replicas.all[0].refuses(&prepare);
    assert!(!said.contains("not reachable"), "it answers: {said}");
    assert_eq!(replicas.all.iter().map(sequence).collect::<Vec<_>>(), before);
    replicas.etcd.restart();
    let [a, b] = &replicas.all[..] else { panic!("two") };
    for place in [&a.place, &b.place] {
        until(LIMIT, || async { Agent::new().exchange(place, &a.place.issuer.token(now())).await.is_ok() }).await;
    }
    b.operator(&prepare);
    until(LIMIT, || async { sequence(a) == sequence(b) }).await;
    assert_eq!(sequence(b), before[0] + 1, "the step was taken once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_that_cannot_be_taken_is_tried_until_it_can() {
    let replicas = Replicas::start(2);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    let (keyring, aside) = (b.place.data().join("keyring.json"), b.place.data().join("aside.json"));
    fs::rename(&keyring, &aside).unwrap();
    fs::create_dir(&keyring).unwrap();
    a.operator(&["authority", "prepare", "--kind", "jwt"]);
    let worries = |answer: serde_json::Value| answer["answer"].as_str().unwrap().contains("keyring cannot be taken");
    until(LIMIT, || async { worries(b.health()) }).await;
    fs::remove_dir(&keyring).unwrap();
    fs::rename(&aside, &keyring).unwrap();
    until(LIMIT, || async { sequence(a) == sequence(b) && !worries(b.health()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_waits_for_agents_that_talk_to_another_replica() {
    let replicas = Replicas::start(2);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    let agent = Agent::new();
    let session = agent.exchange(&b.place, &a.place.issuer.token(now())).await.unwrap().session;
    agent.renew(&b.place, &session).await.unwrap();
    a.operator(&["authority", "prepare", "--kind", "jwt"]);
    let waits = || async { a.refuses(&["authority", "activate", "--kind", "jwt"]).contains("agents of replica ca-2") };
    until(LIMIT, waits).await;
}

/// A GitLab for which each job runs.
#[derive(Default)]
struct AllRun(AtomicUsize);

impl Script for AllRun {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let job = request.uri().path().rsplit('/').next().unwrap().parse::<u64>().unwrap();
        let said = serde_json::json!({
            "id": job, "status": "running", "ref": "main", "tag": false, "runner": { "id": 88 },
            "user": { "id": 51, "state": "active" },
            "pipeline": { "id": 574, "sha": "c3fc97ce000ebfe67b7ab7b7409507add907bf8d" },
        });
        json_answer(200, &said)
    }
}

/// What is asked of a job that somebody began by hand.
const NEEDY: &str = r#"
[[rule]]
name = "by hand, as long as it runs"
id = "/{project_path}/-/by-hand/{pipeline_id}"
ttl = "15m"
need = { "job.state" = "running" }
[rule.when]
issuer = "corp"
pipeline_source = "web"

"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_a_session_whose_rule_needs_something_is_not_renewed_though_that_is_heard() {
    let gitlab = Arc::<AllRun>::default();
    let served = Scripted::serve(Arc::clone(&gitlab)).await;
    let mut replicas = Replicas::prepare(2);
    for Replica { place, .. } in &replicas.all {
        let policy = fs::read_to_string(place.file("policy.toml")).unwrap();
        fs::write(place.file("policy.toml"), format!("{NEEDY}{policy}")).unwrap();
        fs::write(place.file("gitlab.pem"), &served.ca_pem).unwrap();
        fs::write(place.file("api-token"), "glpat-story").unwrap();
        fs::set_permissions(place.file("api-token"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let config = fs::read_to_string(place.config()).unwrap();
        let api = format!("https://127.0.0.1:{}/api/v4", served.port);
        let more = format!(
            "[issuer.api]\ntoken_file = \"api-token\"\nurl = \"{api}\"\nca_file = \"gitlab.pem\"\ncache_for = \"1s\"\n"
        );
        fs::write(place.config(), config + &more).unwrap();
    }
    replicas.all.iter_mut().for_each(Replica::start_again);
    let (needing, plain) = (Agent::new(), Agent::new());
    let (a, b) = (&replicas.all[0].place, &replicas.all[1].place);
    let by_hand = a.issuer.token_with(now(), "pipeline_source", "web");
    let needs = needing.exchange(a, &by_hand).await.unwrap();
    let session = plain.exchange(a, &a.issuer.token(now())).await.unwrap().session;
    for place in [a, b] {
        needing.renew(place, &needs.session).await.unwrap();
        plain.renew(place, &session).await.unwrap();
    }
    let asked = gitlab.0.load(Ordering::Relaxed);
    assert!(asked > 0, "nobody asked GitLab");
    replicas.etcd.kill();
    let (a, b) = (&replicas.all[0].place, &replicas.all[1].place);
    // Until what was heard before is too old.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for place in [a, b] {
        assert_eq!(needing.renew(place, &needs.session).await.unwrap_err(), "store_unavailable");
        plain.renew(place, &session).await.unwrap();
    }
    assert!(gitlab.0.load(Ordering::Relaxed) > asked, "it was refused before GitLab was asked");
    replicas.etcd.restart();
    for Replica { place, .. } in &replicas.all {
        until(RESUMES_WITHIN, || async { needing.renew(place, &needs.session).await.is_ok() }).await;
    }
}
