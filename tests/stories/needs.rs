//! What a rule needs to hear from another system: asked when it is the rule that speaks, and again at each renewal.

use crate::support::harness::{Agent, HOOK_SECRET, Harness, POLICY, csr, start};
use lanyard::crypto::Random;
use lanyard::discovery::{Answered, Answering, Fetch, FetchError, Fetching, Secret};
use lanyard::hooks::Delivery;
use lanyard::issuance::RequestId;
use lanyard::session::EndReason;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};

/// GitLab's jobs API: what it answers until it is told otherwise, and what it was asked.
#[derive(Debug, Default)]
struct Gitlab {
    answer: Mutex<Option<Value>>,
    asked: Mutex<Vec<String>>,
}

impl Gitlab {
    fn says(&self, answer: Option<Value>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often it was asked since.
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().drain(..).count()
    }
}

impl Fetch for Gitlab {
    fn get<'a>(&'a self, url: &'a str, _ca_pem: Option<&'a [u8]>) -> Fetching<'a> {
        Box::pin(async move { Err(FetchError::NotHttps { url: format!("{url}, asked for without a secret,") }) })
    }

    fn ask<'a>(&'a self, url: &'a str, _ca_pem: Option<&'a [u8]>, secret: Secret<'a>) -> Answering<'a> {
        assert_eq!((secret.header, secret.value), ("PRIVATE-TOKEN", "glpat-story"));
        self.asked.lock().unwrap().push(url.to_owned());
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(async move {
            let answer = answer.ok_or_else(|| FetchError::TooLarge { url: url.to_owned(), max: 0 });
            Ok(Answered::of(answer?.to_string().into_bytes()))
        })
    }
}

/// What GitLab says of a job with these claims.
fn job(claims: &Map<String, Value>, status: &str) -> Value {
    let id = |name: &str| claims[name].as_str().unwrap().parse::<u64>().unwrap();
    json!({
        "id": id("job_id"), "status": status, "ref": claims["ref"], "tag": false,
        "user": { "id": id("user_id"), "state": "active" }, "runner": { "id": claims["runner_id"] },
        "pipeline": { "id": id("pipeline_id"), "sha": claims["sha"] },
    })
}

const HOOKED: &str =
    "[[issuer.hook]]\nproject = 4711\nsecret_file = \"hook.secret\"\n[issuer.api]\ntoken_file = \"api-token\"\n";

struct Scene {
    gitlab: Arc<Gitlab>,
    harness: Harness,
    claims: Map<String, Value>,
    token: String,
}

fn needing(policy: &str) -> String {
    format!("{policy}[rule.need]\n\"job.state\" = \"running\"\n")
}

impl Scene {
    async fn of(policy: &str) -> Self {
        let gitlab = Arc::<Gitlab>::default();
        Self::around(Harness::asking(Arc::<Gitlab>::clone(&gitlab), policy).await, gitlab)
    }

    /// The same, where the project has a hook.
    async fn hooked(policy: &str) -> Self {
        let gitlab = Arc::<Gitlab>::default();
        Self::around(Harness::asking_of(HOOKED, Arc::<Gitlab>::clone(&gitlab), policy).await, gitlab)
    }

    fn around(harness: Harness, gitlab: Arc<Gitlab>) -> Self {
        let claims = harness.issuer.claims(start());
        let token = harness.issuer.mint(&claims);
        gitlab.says(Some(job(&claims, "running")));
        Self { gitlab, harness, claims, token }
    }

    fn job_is(&self, status: &str) {
        self.gitlab.says(Some(job(&self.claims, status)));
    }

    async fn explained(&self) -> Value {
        serde_json::to_value(self.harness.issuance().explain_to_bearer(&self.token).await.unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_job_that_runs_gets_its_identity_and_what_was_heard_is_on_record() {
    let scene = Scene::of(&needing(POLICY)).await;
    scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap();
    let asked = scene.gitlab.asked.lock().unwrap().clone();
    let job = scene.claims["job_id"].as_str().unwrap();
    assert_eq!(asked, [format!("https://gitlab.example.com/api/v4/projects/4711/jobs/{job}")]);
    let journal = scene.harness.journal();
    let intent = journal.lines().find(|line| line.contains(r#""kind":"intent""#)).unwrap();
    assert!(intent.contains(r#""facts":{"job.state":{"is":"running"}}"#), "{intent}");
    assert!(!journal.contains("glpat-story"));
}

#[tokio::test]
async fn a_rule_that_needs_nothing_asks_nobody() {
    let scene = Scene::of(POLICY).await;
    scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap();
    assert_eq!((scene.gitlab.asked(), scene.explained().await["rules"][0].get("needs")), (0, None));
    assert!(!scene.harness.journal().contains(r#""facts""#));
}

#[tokio::test]
async fn a_job_that_does_not_run_is_refused_for_good_and_no_other_rule_is_tried() {
    let two = format!(
        "{}{}",
        needing(POLICY),
        POLICY.replace("every project, its", "whoever is left,").replace("/-/", "/-/b/")
    );
    let scene = Scene::of(&two).await;
    scene.job_is("success");
    let refusal = scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap_err();
    assert_eq!(refusal.code(), "need_failed");
    assert!(refusal.to_string().contains("job.state is success"), "operators read what was said: {refusal}");
    let journal = scene.harness.journal();
    let refused = journal.lines().find(|line| line.contains(r#""kind":"refused""#)).unwrap();
    for part in [r#""code":"need_failed""#, "is success", r#""facts":{"job.state":{"is":"success"}}"#, r#""claims""#] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
}

#[tokio::test]
async fn a_system_that_is_away_refuses_for_now_and_uses_nothing_up() {
    let scene = Scene::of(&needing(POLICY)).await;
    scene.gitlab.says(None);
    let refusal = scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap_err();
    assert_eq!(refusal.code(), "fact_unavailable");
    scene.harness.advance(5);
    scene.job_is("running");
    scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap();
}

#[tokio::test]
async fn another_key_s_token_asks_nobody() {
    let scene = Scene::of(&needing(POLICY)).await;
    scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap();
    assert_eq!(scene.gitlab.asked(), 1);
    scene.harness.advance(60);
    let refusal = scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap_err();
    assert_eq!((refusal.code(), scene.gitlab.asked()), ("token_replayed", 0));
    let refusal = scene.harness.exchange_by_csr(&scene.token, csr()).await.unwrap_err();
    assert_eq!((refusal.code(), scene.gitlab.asked()), ("token_replayed", 0));
    assert_eq!(scene.explained().await["verdict"]["not_asked"], json!(["job.state"]), "nor does whoever explains it");
    assert_eq!(scene.gitlab.asked(), 0);
}

#[tokio::test]
async fn a_need_that_fails_at_renewal_ends_the_session_and_closes_the_job() {
    let scene = Scene::of(&needing(POLICY)).await;
    let agent = Agent::new();
    let mut ends = scene.harness.issuance().sessions.listen(agent.public().id(), 1).unwrap();
    let session = scene.harness.exchange(&scene.token, &agent).await.unwrap().session().unwrap().to_owned();
    scene.harness.advance(300);
    scene.harness.renew(&session, &agent).await.unwrap();
    assert_eq!(scene.gitlab.asked(), 2, "it is asked again");
    scene.harness.advance(300);
    scene.job_is("canceled");
    assert_eq!(scene.harness.renew(&session, &agent).await.unwrap_err().code(), "need_failed");
    let ended = ends.next().await.unwrap();
    assert_eq!((ended.session.to_string(), ended.reason), (session.clone(), EndReason::NeedFailed));
    scene.harness.advance(300);
    scene.job_is("running");
    for _ in 0..2 {
        assert_eq!(scene.harness.renew(&session, &agent).await.unwrap_err().code(), "session_ended");
        assert_eq!(scene.harness.exchange(&scene.token, &agent).await.unwrap_err().code(), "session_ended");
    }
    let mut claims = scene.claims.clone();
    claims.insert("jti".to_owned(), json!("00000000-0000-4000-8000-0000000000ff"));
    let another = scene.harness.issuer.mint(&claims);
    assert_eq!(
        scene.harness.exchange(&another, &agent).await.unwrap_err().code(),
        "session_ended",
        "nor another token"
    );
    assert!(scene.harness.journal().contains(r#""why":"need_failed""#));
}

#[tokio::test]
async fn whatever_happens_in_a_project_has_its_live_jobs_judged_anew_and_is_not_the_answer_itself() {
    let scene = Scene::hooked(&needing(POLICY)).await;
    let agent = Agent::new();
    let mut ends = scene.harness.issuance().sessions.listen(agent.public().id(), 1).unwrap();
    let session = scene.harness.exchange(&scene.token, &agent).await.unwrap().session().unwrap().to_owned();
    let road = scene.harness.issuance();
    let merge_request =
        json!({"object_kind": "merge_request", "project": {"id": 4711}, "object_attributes": {"action": "unapproved"}});
    let deployment =
        json!({"object_kind": "deployment", "status": "running", "deployable_id": 7, "project": {"id": 4711}});
    let elsewhere = json!({"object_kind": "merge_request", "project": {"id": 4712}, "object_attributes": {}});
    let tell = async |event: &Value| {
        let body = event.to_string();
        let delivery = Delivery { secret: Some(HOOK_SECRET.as_bytes()), signed: None, body: body.as_bytes() };
        let heard = road.hear(&RequestId::random(&Random::system()), "corp", &delivery).await;
        (heard.is_ok(), road.judge_anew().await, scene.gitlab.asked())
    };
    assert_eq!(scene.gitlab.asked(), 1);
    for event in [&merge_request, &deployment] {
        assert_eq!(tell(event).await, (true, 0, 1), "it is asked, and all is well: {event}");
    }
    assert_eq!(road.judge_anew().await, 0);
    scene.gitlab.says(None);
    assert_eq!(tell(&merge_request).await, (true, 0, 1), "a GitLab that does not answer ends nothing");
    scene.job_is("canceled");
    scene.harness.advance(60);
    assert_eq!(tell(&elsewhere).await, (false, 0, 0), "another project's hook");
    assert_eq!(tell(&merge_request).await, (true, 1, 1));
    let ended = ends.next().await.unwrap();
    assert_eq!((ended.session.to_string(), ended.reason), (session.clone(), EndReason::NeedFailed));
    assert_eq!(scene.harness.renew(&session, &agent).await.unwrap_err().code(), "session_ended");
    assert_eq!(tell(&merge_request).await, (true, 0, 0), "nothing lives");
}

#[tokio::test]
async fn a_need_that_cannot_be_asked_at_renewal_lets_the_svid_run_out_and_ends_nothing() {
    let scene = Scene::of(&needing(POLICY)).await;
    let agent = Agent::new();
    let session = scene.harness.exchange(&scene.token, &agent).await.unwrap().session().unwrap().to_owned();
    scene.gitlab.says(None);
    for _ in 0..3 {
        scene.harness.advance(300);
        assert_eq!(scene.harness.renew(&session, &agent).await.unwrap_err().code(), "fact_unavailable");
    }
    scene.harness.advance(300);
    scene.job_is("running");
    scene.harness.renew(&session, &agent).await.unwrap();
}

#[tokio::test]
async fn the_holder_sees_pass_or_fail_and_operators_see_what_was_said() {
    let scene = Scene::of(&needing(POLICY)).await;
    let need = |walk: &Value| walk["rules"][0]["needs"][0].clone();
    let walk = scene.explained().await;
    assert_eq!(need(&walk), json!({ "fact": "job.state", "wanted": null, "got": null, "outcome": "pass" }));
    assert_eq!((&walk["verdict"]["outcome"], scene.gitlab.asked()), (&json!("granted"), 1));

    scene.harness.advance(5);
    let mut other = job(&scene.claims, "running");
    other["pipeline"]["id"] = json!(1);
    scene.gitlab.says(Some(other));
    let walk = scene.explained().await;
    assert_eq!((&need(&walk)["outcome"], &walk["verdict"]["code"]), (&json!("fail"), &json!("need_failed")));
    assert!(!walk.to_string().contains("pipeline is 1") && !walk.to_string().contains("running"), "{walk}");
    let (_, all) = scene.harness.issuance().explain(&scene.token).await.unwrap();
    let walk = serde_json::to_value(all).unwrap();
    assert_eq!(need(&walk)["wanted"], json!("running"));
    assert!(need(&walk)["got"].as_str().unwrap().contains("its pipeline is 1, and the token that pipeline_id is 574"));

    scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap_err();
    let journal = scene.harness.journal();
    let (_, id) = journal.rsplit_once(r#""request_id":""#).unwrap();
    let recalled = scene.harness.issuance().recall(id.split('"').next().unwrap()).await.unwrap().unwrap();
    let walk = serde_json::to_value(recalled.walk.unwrap()).unwrap();
    assert!(need(&walk)["got"].as_str().unwrap().contains("its pipeline is 1"), "the journal kept it: {walk}");
}

#[tokio::test]
async fn a_stranger_s_token_asks_nobody_not_even_to_be_explained() {
    let scene = Scene::of(&needing(POLICY)).await;
    let mut claims = scene.claims.clone();
    for name in ["project_path", "job_project_path"] {
        claims.insert(name.to_owned(), json!("evil/api"));
    }
    claims.insert("sub".to_owned(), json!("project_path:evil/api:ref_type:branch:ref:main"));
    let token = scene.harness.issuer.mint(&claims);
    assert_eq!(scene.harness.exchange(&token, &Agent::new()).await.unwrap_err().code(), "namespace_not_listed");
    let refusal = scene.harness.issuance().explain_to_bearer(&token).await.unwrap_err();
    assert_eq!((refusal.code(), scene.gitlab.asked()), ("namespace_not_listed", 0));
}

#[tokio::test]
async fn a_rule_on_trial_asks_nobody_and_says_what_it_would_wait_for() {
    let trial = needing(&POLICY.replace("ttl =", "observe = true\nttl =").replace("every project", "on trial"));
    let scene = Scene::of(&format!("{trial}{POLICY}")).await;
    scene.harness.exchange(&scene.token, &Agent::new()).await.unwrap();
    assert_eq!(scene.gitlab.asked(), 0);
    let journal = scene.harness.journal();
    let observed = journal.lines().find(|line| line.contains(r#""kind":"observed""#)).unwrap();
    assert!(observed.contains("/pipelines/574, if it hears job.state as it needs it"), "{observed}");
}
