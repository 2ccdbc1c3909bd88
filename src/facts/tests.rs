//! A GitLab whose jobs API answers as a script says: rightly, otherwise than the token, with every status, late, too much,
//! not at all.

use super::asker::WAITING_MAX;
use super::{Facts, GitlabApi, LetIn, Limits, Place, World};
use crate::clock::{Clock, ManualClock};
use crate::directory::tests::Scene as Pins;
use crate::discovery::{Fetch, HttpsFetch};
use crate::people::People;
use crate::policy::{Answer, Need, Rule, Seen, Wanted};
use crate::telemetry::Metrics;
use crate::token::tests::claims_of;
use crate::token::{Claims, IssuerName};
use serde_json::{Value, json};
use std::fs;
use std::future::{pending, poll_fn};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tempfile::TempDir;
use time::macros::datetime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "glpat-Az_09";

struct Scene {
    claims: Claims,
    clock: Arc<ManualClock>,
    facts: Facts,
    folder: TempDir,
    gitlab: TcpListener,
    metrics: Metrics,
}

impl Scene {
    async fn of(sample: &str, changes: &[(&str, Value)]) -> Self {
        let gitlab = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = TempDir::new().unwrap();
        let token_file = folder.path().join("token");
        fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).unwrap();
        let url = format!("http://{}/api/v4", gitlab.local_addr().unwrap());
        let place = Place { url, let_in: LetIn::GitLab, token_file, ca_pem: None };
        let api = GitlabApi { issuer: IssuerName("corp".into()), place, limits: Limits::default() };
        let clock = Arc::new(ManualClock::at(datetime!(2026-11-21 12:00 UTC)));
        let fetch: Arc<dyn Fetch> = Arc::new(HttpsFetch::new(None).unwrap().with_loopback_http());
        let metrics = Metrics::new();
        let world = World {
            clock: Arc::<ManualClock>::clone(&clock),
            fetch,
            metrics: metrics.clone(),
            pins: Pins::new().pins(People::default()),
        };
        let facts = Facts::new(&[Arc::new(api)], world);
        let changes: Vec<_> = changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let claims = claims_of(sample, &changes).unwrap().claims().clone();
        Self { claims, clock, facts, folder, gitlab, metrics }
    }

    async fn deploy() -> Self {
        Self::of("deploy_production_protected", &[]).await
    }

    /// GitLab's own words of this job.
    fn job(&self) -> Value {
        let text = |name: &str| self.claims.view(name).unwrap().to_string();
        let id = |name: &str| text(name).parse::<u64>().unwrap();
        json!({
            "id": id("job_id"), "status": "running", "stage": "deploy", "name": "deploy", "ref": text("ref"),
            "tag": text("ref_type") == "tag", "allow_failure": false, "coverage": null, "web_url": "https://gitlab.example.com/",
            "user": { "id": id("user_id"), "username": "ada", "state": "active", "locked": false },
            "commit": { "id": text("sha") },
            "pipeline": { "id": id("pipeline_id"), "project_id": 4711, "sha": text("sha"), "ref": text("ref"), "status": "running" },
            "runner": { "id": id("runner_id"), "active": true, "is_shared": false },
        })
    }

    /// Asks while GitLab gives the answers, one a connection; with what it was asked.
    async fn ask_against(&self, answers: &[String]) -> (Answer, Vec<String>) {
        let script = async {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = self.gitlab.accept().await.unwrap();
                asked.push(head_of(&mut stream).await);
                // Whoever has read enough hangs up.
                let _hung_up = stream.write_all(answer.as_bytes()).await.is_err();
            }
            asked
        };
        tokio::join!(self.ask(), script)
    }

    async fn against(&self, answer: &str) -> Answer {
        self.ask_against(&[answer.to_owned()]).await.0
    }

    /// Asks, and GitLab is not asked.
    async fn ask(&self) -> Answer {
        self.facts.ask(&rule(), &self.claims).await.of("job.state").unwrap().clone()
    }
}

async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn rule() -> Rule {
    let wanted = Wanted::OneOf(vec!["running".to_owned()]);
    let mut rule = crate::policy::tests::a_rule();
    rule.needs = vec![Need::Fact { name: "job.state", wanted }];
    rule
}

fn http(status: &str, more: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n{body}", body.len())
}

fn ok(job: &Value) -> String {
    http("200 OK", "Content-Type: application/json\r\n", &job.to_string())
}

fn is(text: &str) -> Answer {
    Answer::Is(Seen::Text(text.to_owned()))
}

fn why(answer: &Answer) -> (&'static str, String, Option<u64>) {
    match answer {
        Answer::Is(seen) => ("is", seen.to_string(), None),
        Answer::No(why) => ("no", why.clone(), None),
        Answer::Unavailable { why, retry_after } => ("unavailable", why.clone(), *retry_after),
    }
}

#[tokio::test]
async fn gitlab_is_asked_where_the_job_is_and_believed_where_it_agrees() {
    for (sample, project) in [
        ("deploy_production_protected", 4711),
        ("tag_protected_release", 4711),
        ("mr_fork_in_parent_fixed", 4711),
        ("mr_fork_in_parent_before_fix", 4711),
    ] {
        let scene = Scene::of(sample, &[]).await;
        let (answer, asked) = scene.ask_against(&[ok(&scene.job())]).await;
        assert_eq!(answer, is("running"), "{sample}");
        let line = format!("GET /api/v4/projects/{project}/jobs/{} HTTP/1.1\r\n", scene.claims.job_id);
        assert!(asked[0].starts_with(&line), "{}", asked[0]);
        assert!(asked[0].to_ascii_lowercase().contains(&format!("\r\nprivate-token: {}\r\n", TOKEN.to_lowercase())));
    }
    let fork = Scene::of("mr_fork_in_parent_fixed", &[]).await;
    assert_eq!(fork.claims.project_id, 90210, "whose code it is, and not where the job is");
}

#[tokio::test]
async fn each_status_of_a_job_is_told_and_only_running_is_one() {
    for status in [
        "created",
        "waiting_for_resource",
        "preparing",
        "waiting_for_callback",
        "pending",
        "canceling",
        "success",
        "failed",
        "canceled",
        "skipped",
        "manual",
        "scheduled",
        "running",
        "something new",
    ] {
        let scene = Scene::deploy().await;
        let mut job = scene.job();
        job["status"] = json!(status);
        let answer = scene.against(&ok(&job)).await;
        assert_eq!(answer, is(status));
        let heard = Arc::new(rule()).hear([("job.state".into(), answer)].into_iter().collect());
        assert_eq!(heard.is_ok(), status == "running", "{status}");
    }
}

#[tokio::test]
async fn whatever_gitlab_says_otherwise_than_the_token_is_a_no_that_names_it() {
    for (place, value, told) in [
        ("/id", json!(7), "its id is 7, and the token that job_id is 5299490"),
        ("/pipeline/id", json!(7), "its pipeline is 7"),
        ("/pipeline/sha", json!("0000"), "its commit is 0000"),
        ("/ref", json!("other"), "its ref is other, and the token that ref is main"),
        ("/ref", json!("refs/merge-requests/7/head"), "its ref is refs/merge-requests/7/head"),
        ("/tag", json!(true), "tag = true"),
        ("/user/id", json!(734_028), "GitLab does not say that its user is the token's"),
        ("/user", Value::Null, "GitLab does not say that its user is the token's"),
        ("/user/state", json!("blocked"), "GitLab says that its user is blocked"),
        ("/runner/id", json!(7), "its runner is 7"),
        ("/runner", Value::Null, "its runner is none"),
    ] {
        let scene = Scene::deploy().await;
        let mut job = scene.job();
        *job.pointer_mut(place).unwrap() = value;
        let answer = scene.against(&ok(&job)).await;
        let (kind, said, _) = why(&answer);
        assert!(kind == "no" && said.contains(told), "{place}: {answer:?}");
        assert!(!said.contains("734028"), "{place}: {said}");
    }
}

#[tokio::test]
async fn a_merge_request_s_job_has_a_ref_of_its_own_and_an_old_token_says_less() {
    for (reference, agrees) in [
        ("refs/merge-requests/7/head", true),
        ("refs/merge-requests/7/merge", true),
        ("refs/merge-requests/7/train", true),
        ("refs/merge-requests/7/other", false),
        ("refs/merge-requests/x/head", false),
        ("refs/heads/main", false),
    ] {
        let scene = Scene::of("mr_fork_in_parent_fixed", &[]).await;
        let mut job = scene.job();
        job["ref"] = json!(reference);
        assert_eq!(scene.against(&ok(&job)).await == is("running"), agrees, "{reference}");
    }
    let scene = Scene::deploy().await;
    let job = scene.job();
    let silent = [("sha", Value::Null), ("runner_id", Value::Null)];
    let scene = Scene::of("deploy_production_protected", &silent).await;
    assert_eq!(scene.against(&ok(&job)).await, is("running"));
}

#[tokio::test]
async fn a_job_that_gitlab_does_not_show_is_not_running_and_everything_else_is_no_answer() {
    let big = http("200 OK", "", &format!("{{\"id\": 1, \"name\": \"{}\"}}", "x".repeat(300 * 1024)));
    for (answer, kind, told, retry_after) in [
        (http("404 Not Found", "", r#"{"message":"404 Not found"}"#), "no", "no such job", None),
        (http("401 Unauthorized", "", "{}"), "unavailable", "read_api", None),
        (http("403 Forbidden", "Retry-After: 9\r\n", "{}"), "unavailable", "read_api", None),
        (http("429 Too Many Requests", "Retry-After: 42\r\n", "Retry later"), "unavailable", "429", Some(42)),
        (http("429 Too Many Requests", "", "Retry later"), "unavailable", "429", None),
        (http("429 Too Many Requests", "Retry-After: soon\r\n", ""), "unavailable", "429", None),
        (http("503 Down", "Retry-After: Sat, 21 Nov 2026 12:00:30 GMT\r\n", ""), "unavailable", "503", Some(30)),
        (http("503 Down", "Retry-After: 86400\r\n", ""), "unavailable", "503", Some(300)),
        (http("500 Oh", "", ""), "unavailable", "500", None),
        (http("502 Bad Gateway", "", "<html>"), "unavailable", "502", None),
        (http("302 Found", "Location: http://127.0.0.1:1/\r\n", ""), "unavailable", "302", None),
        (http("204 No Content", "", ""), "unavailable", "204", None),
        (http("200 OK", "", "<html>sign in</html>"), "unavailable", "no job", None),
        (http("200 OK", "", r#"{"status":"running"}"#), "unavailable", "no job", None),
        (http("200 OK", "", "[]"), "unavailable", "no job", None),
        (big, "unavailable", "more than", None),
        (String::new(), "unavailable", "could not be read", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\"".to_owned(), "unavailable", "could not be read", None),
    ] {
        let scene = Scene::deploy().await;
        let got = why(&scene.against(&answer).await);
        assert!(got.0 == kind && got.1.contains(told) && got.2 == retry_after, "{got:?} to {answer:.200}");
        assert!(!got.1.contains(TOKEN));
    }
}

#[tokio::test]
async fn one_job_is_asked_about_once_in_a_while_and_not_before_gitlab_wants_it() {
    let scene = Scene::deploy().await;
    assert_eq!(scene.against(&ok(&scene.job())).await, is("running"));
    assert_eq!(scene.ask().await, is("running"), "known");
    scene.clock.advance(Duration::from_secs(5));
    let busy = http("429 Too Many Requests", "Retry-After: 60\r\n", "");
    assert_eq!(why(&scene.against(&busy).await).2, Some(60));
    scene.clock.advance(Duration::from_secs(10));
    let (kind, said, retry_after) = why(&scene.ask().await);
    assert!(
        kind == "unavailable" && said.contains("not asked again") && retry_after == Some(50),
        "{said} {retry_after:?}"
    );
    scene.clock.advance(Duration::from_secs(51));
    assert_eq!(scene.against(&ok(&scene.job())).await, is("running"));
    let page = scene.metrics.render();
    assert!(page.contains(r#"lanyard_facts_total{fact="job.state",answer="is"} 3"#), "{page}");
    assert!(page.contains(r#"lanyard_facts_total{fact="job.state",answer="unavailable"} 2"#), "{page}");
}

#[tokio::test]
async fn a_system_that_does_not_answer_is_left_alone_and_then_asked_by_one() {
    let scene = Scene::deploy().await;
    let number = |name: &str| {
        let page = scene.metrics.render();
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or("none 0").to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let questions = |outcome: &str| {
        number(&format!(r#"lanyard_fact_questions_total{{source="corp/gitlab_job",outcome="{outcome}"}}"#))
    };
    let is_open = || number(r#"lanyard_fact_source_open{source="corp/gitlab_job"}"#);
    for _ in 0..5 {
        assert_eq!(
            (why(&scene.against(&http("500 Oh", "", "")).await).0, scene.ask().await),
            ("unavailable", scene.ask().await)
        );
        scene.clock.advance(Duration::from_secs(5));
    }
    assert_eq!((is_open(), questions("unavailable"), questions("cached")), (1, 5, 10));
    let (kind, said, retry_after) = why(&scene.ask().await);
    assert_eq!((kind, retry_after, questions("resting")), ("unavailable", Some(5), 1), "{said}");
    assert!(said.contains("answered 500") && said.contains("not asked again for 5 s"), "{said}");
    scene.clock.advance(Duration::from_secs(5));
    assert_eq!(scene.against(&ok(&scene.job())).await, is("running"));
    assert_eq!((is_open(), questions("answered")), (0, 1));
}

#[tokio::test]
async fn a_token_file_is_read_for_each_question_and_one_that_others_read_is_not_used() {
    let scene = Scene::deploy().await;
    let file = scene.folder.path().join("token");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (kind, said, _) = why(&scene.ask().await);
    assert!(kind == "unavailable" && said.contains("open to others"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "another-token").unwrap();
    scene.clock.advance(Duration::from_secs(5));
    let (answer, asked) = scene.ask_against(&[ok(&scene.job())]).await;
    assert!(answer == is("running") && asked[0].contains(": another-token\r\n"), "{asked:?}");
    let kept = format!("{:?}", scene.facts);
    assert!(!kept.contains("another-token"), "it is kept nowhere: {kept}");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_deadline_and_not_all_at_once() {
    let scene = Scene::deploy().await;
    let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(scene.ask())).collect();
    poll_fn(|context| {
        assert!(waiting.iter_mut().all(|one| one.as_mut().poll(context).is_pending()));
        Poll::Ready(())
    })
    .await;
    assert!(why(&scene.ask().await).1.contains("too many"));
    scene.clock.advance(Duration::from_secs(3));
    for one in waiting {
        assert!(why(&one.await).1.contains("no answer within 3 s"));
    }
    let silent = async {
        let _held_open = scene.gitlab.accept().await.unwrap();
        pending::<()>().await;
    };
    tokio::select! {
        answer = scene.ask() => assert!(why(&answer).1.contains("no answer within 3 s")),
        () = silent => {}
        () = async { tokio::task::yield_now().await; scene.clock.advance(Duration::from_secs(3)); pending().await } => {}
    }
}

#[tokio::test]
async fn an_issuer_without_an_api_is_nobody_to_ask() {
    let fetch: Arc<dyn Fetch> = Arc::new(HttpsFetch::new(None).unwrap());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(datetime!(2026-11-21 12:00 UTC)));
    let facts =
        Facts::new(&[], World { clock, fetch, metrics: Metrics::new(), pins: Pins::new().pins(People::default()) });
    let claims = claims_of("deploy_production_protected", &[]).unwrap();
    let denial = facts.hear(Arc::new(rule()), claims.claims()).await.unwrap_err();
    assert_eq!(denial.code(), "fact_unavailable");
    let mut needs_nothing = rule();
    needs_nothing.needs.clear();
    let mut hearing = Box::pin(facts.hear(Arc::new(needs_nothing), claims.claims()));
    let is_heard = poll_fn(|context| Poll::Ready(hearing.as_mut().poll(context).is_ready())).await;
    assert!(is_heard, "it waits for nobody");
}
