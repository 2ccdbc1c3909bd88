//! GitLab's deployments and merge requests as its API shows them, and who counts as somebody else.
#![expect(clippy::indexing_slicing, reason = "JSON of tests, which has what is changed in it")]

use crate::asking::{Asking, SECRET, claims, corp, said};
use crate::scripted::{Reply, Scripted};
use lanyard::facts::{GitlabApi, LetIn, Limits, Place};
use lanyard::token::Claims;
use serde_json::{Value, json};
use std::sync::Arc;

/// As whom the job of all tests runs; see [`claims`].
const JOB_USER: u64 = 51;

fn user(id: u64) -> Value {
    json!({"id": id, "username": format!("user{id}"), "name": "x", "state": "active"})
}

fn sha() -> String {
    "a".repeat(40)
}

/// A GitLab that answers these paths, and 404 else.
fn gitlab(pages: Vec<(String, Value)>) -> Scripted {
    Scripted::new(move |path, let_in| {
        if let_in != SECRET {
            return Reply::of("401 Unauthorized", "{}");
        }
        let page = pages.iter().find(|(at, _)| path == at);
        page.map_or_else(|| Reply::of("404 Not Found", "{}"), |(_, body)| Reply::json(body))
    })
}

fn asking(gitlab: &Scripted) -> Asking {
    let url = gitlab.url.clone();
    Asking::of(move |token_file| {
        let place = Place { url, let_in: LetIn::GitLab, token_file, ca_pem: None };
        Arc::new(GitlabApi { issuer: corp(), place, limits: Limits::default() })
    })
}

async fn count_of(fact: &str, pages: Vec<(String, Value)>, claims: &Claims) -> String {
    let gitlab = gitlab(pages);
    said(asking(&gitlab).heard(&format!("{fact:?} = 1"), claims).await.of(fact))
}

/// The deployment of the job, approved by user 7.
fn deployment() -> Value {
    json!({
        "id": 42, "iid": 2, "ref": "main", "sha": sha(), "status": "running", "user": user(JOB_USER),
        "environment": {"id": 9, "name": "production eu"}, "deployable": {"id": 1977, "status": "running", "user": user(JOB_USER)},
        "pending_approval_count": 0,
        "approvals": [{"user": user(7), "status": "approved", "created_at": "2026-11-02T09:00:00.000Z", "comment": ""}],
        "approval_summary": {"rules": [{"group_id": 134, "required_approvals": 1,
            "deployment_approvals": [{"user": user(7), "status": "approved", "created_at": "2026-11-02T09:00:00.000Z"}]}]},
    })
}

fn deployments(one: &Value) -> Vec<(String, Value)> {
    let mut other = deployment();
    other["id"] = json!(43);
    other["deployable"]["id"] = json!(1978);
    let mut old = one.clone();
    old["id"] = json!(41);
    old["deployable"] = Value::Null;
    let list =
        "/projects/4711/deployments?environment=production%20eu&status=running&order_by=id&sort=desc&per_page=100";
    vec![(list.to_owned(), json!([other, one, old])), ("/projects/4711/deployments/42".to_owned(), one.clone())]
}

#[tokio::test]
async fn a_deployment_is_approved_by_people_who_do_not_deploy_it() {
    let good = deployment();
    let with = |place: &str, value: Value| {
        let mut deployment = good.clone();
        *deployment.pointer_mut(place).unwrap() = value;
        deployment
    };
    let by = |users: &[Value]| {
        let given: Vec<Value> = users.iter().map(|user| json!({"user": user, "status": "approved"})).collect();
        let mut deployment = with("/approvals", json!(given));
        deployment["approval_summary"] = Value::Null;
        deployment
    };
    let mut free = good.clone();
    for key in ["approvals", "approval_summary", "pending_approval_count"] {
        free.as_object_mut().unwrap().remove(key);
    }
    let bot = json!({"id": 99, "username": "project_4711_bot_0c55e1aa90d7"});
    let rejected = json!([{"user": user(8), "status": "rejected"}]);
    for (deployment, expected) in [
        (good.clone(), "1"),
        (by(&[user(7), user(8), user(7)]), "2"),
        (by(&[]), "0"),
        (by(&[user(JOB_USER)]), "0"),
        (by(&[bot]), "0"),
        (with("/user", user(7)), "0"),
        (with("/deployable/user", user(7)), "0"),
        (with("/approvals/0/status", json!("of_tomorrow")), "1"),
        (with("/approval_summary/rules/0/deployment_approvals", rejected.clone()), "no: somebody rejected"),
        (with("/approvals", rejected), "no: somebody rejected"),
        (with("/pending_approval_count", json!(1)), "no: GitLab waits for 1 more"),
        (with("/pending_approval_count", Value::Null), "no: GitLab tells of no approvals"),
        (with("/approvals", Value::Null), "no: GitLab tells of no approvals"),
        (free, "no: GitLab tells of no approvals"),
        (with("/status", json!("blocked")), "no: GitLab says that the deployment is blocked"),
        (with("/sha", json!("b".repeat(40))), "no: GitLab says that the job deploys another commit"),
        (with("/environment/name", json!("staging")), "no: GitLab says that the job deploys to staging"),
    ] {
        let got = count_of("approvals.deployment", deployments(&deployment), &claims(&[])).await;
        assert!(got.starts_with(expected), "{got}, not {expected}: {deployment:#}");
    }
    let nowhere = claims(&[("environment", Value::Null), ("environment_action", Value::Null)]);
    let of_nobody = claims(&[("user_id", json!("")), ("user_login", Value::Null)]);
    let elsewhere = claims(&[("job_id", json!(5))]);
    for (claims, expected) in [
        (nowhere, "no: the job deploys to no environment"),
        (of_nobody, "no: the token names no user"),
        (elsewhere, "no: GitLab shows no deployment under way"),
    ] {
        let got = count_of("approvals.deployment", deployments(&good), &claims).await;
        assert!(got.starts_with(expected), "{got}, not {expected}");
    }
}

fn merge_request() -> Value {
    json!({
        "iid": 12, "project_id": 4711, "state": "merged", "target_branch": "main", "source_branch": "fix", "author": user(6),
        "sha": "c".repeat(40), "merge_commit_sha": sha(), "squash_commit_sha": null, "merged_at": "2026-11-02T09:30:00.000Z",
    })
}

fn approvals() -> Value {
    json!({
        "approved": true, "approvals_required": 1, "approvals_left": 0,
        "approved_by": [{"user": user(7), "approved_at": "2026-11-02T09:00:00.000Z"}],
    })
}

fn requests(list: &[Value], approvals: &Value) -> Vec<(String, Value)> {
    let at = format!("/projects/4711/repository/commits/{}/merge_requests?per_page=100", sha());
    vec![(at, json!(list)), ("/projects/4711/merge_requests/12/approvals".to_owned(), approvals.clone())]
}

#[tokio::test]
async fn a_commit_is_approved_by_people_who_neither_wrote_its_merge_request_nor_run_the_job() {
    let of = |key: &str, value: Value| {
        let mut request = merge_request();
        request["merge_commit_sha"] = Value::Null;
        request[key] = value;
        request
    };
    let with = |key: &str, value: Value| {
        let mut request = merge_request();
        request[key] = value;
        vec![request]
    };
    let not_brought = "no: no merge request brought the commit into main";
    for (list, expected) in [
        (vec![merge_request()], "1"),
        (vec![of("squash_commit_sha", json!(sha()))], "1"),
        (vec![of("sha", json!(sha()))], "1"),
        (with("author", user(7)), "0"),
        (vec![], not_brought),
        (vec![of("sha", json!("d".repeat(40)))], not_brought),
        (with("state", json!("opened")), not_brought),
        (with("state", json!("closed")), not_brought),
        (with("target_branch", json!("stable")), not_brought),
        (with("project_id", json!(90210)), not_brought),
        (vec![merge_request(), merge_request()], "no: several merge requests"),
        ([with("target_branch", json!("stable")), vec![merge_request()]].concat(), "1"),
    ] {
        let got = count_of("approvals.merge_request", requests(&list, &approvals()), &claims(&[])).await;
        assert!(got.starts_with(expected), "{got}, not {expected}: {list:#?}");
    }
}

#[tokio::test]
async fn approvals_count_that_were_there_when_it_was_merged() {
    let by = |given: Value| {
        let mut approvals = approvals();
        approvals["approved_by"] = given;
        approvals
    };
    let mut left = approvals();
    left["approvals_left"] = json!(1);
    let mut free = approvals();
    free.as_object_mut().unwrap().remove("approvals_left");
    for (approvals, expected) in [
        (by(json!([{"user": user(7)}, {"user": user(8)}, {"user": user(7)}])), "2"),
        (by(json!([{"user": user(JOB_USER)}, {"user": user(6)}])), "0"),
        (by(json!([{"user": user(7), "approved_at": "2026-11-02T09:30:00.001Z"}])), "0"),
        (by(json!([])), "0"),
        (left, "no: merge request !12 was merged without 1 of its approvals"),
        (free, "1"),
    ] {
        let got = count_of("approvals.merge_request", requests(&[merge_request()], &approvals), &claims(&[])).await;
        assert!(got.starts_with(expected), "{got}, not {expected}: {approvals:#}");
    }
    for changes in [
        [("ref_type", json!("tag"))],
        [("pipeline_source", json!("merge_request_event"))],
        [("sha", Value::Null)],
        [("sha", json!("../../users"))],
    ] {
        let gitlab = gitlab(requests(&[merge_request()], &approvals()));
        let heard = asking(&gitlab).heard("\"approvals.merge_request\" = 1", &claims(&changes)).await;
        assert!(
            said(heard.of("approvals.merge_request")).starts_with("no: ") && gitlab.asked().is_empty(),
            "{changes:?}"
        );
    }
}

#[tokio::test]
async fn somebody_else_is_whoever_approved_one_or_the_other_and_stands_in_the_record() {
    let pages = [deployments(&deployment()), requests(&[], &approvals())].concat();
    let gitlab = gitlab(pages);
    let asking = asking(&gitlab);
    let rule = asking.rule("\"approvals.independent\" = 1");
    assert_eq!(rule.facts(), ["approvals.deployment", "approvals.merge_request"]);
    let facts = asking.facts.ask(&rule, &claims(&[])).await;
    for (fact, expected) in [
        ("approvals.deployment", "1"),
        ("approvals.deployment.id", "42"),
        ("approvals.deployment.by", "[7, 7]"),
        ("approvals.merge_request.iid", "not asked"),
    ] {
        assert_eq!(said(facts.of(fact)), expected, "{fact}");
    }
    assert!(said(facts.of("approvals.merge_request")).starts_with("no: "));
    assert!(rule.hear(facts).is_ok(), "one of them is enough");
}

#[tokio::test]
async fn a_webhook_has_it_asked_again_and_nothing_else_does_for_a_while() {
    let gitlab = gitlab(deployments(&deployment()));
    let asking = asking(&gitlab);
    let rule = asking.rule("\"approvals.deployment\" = 1");
    let claims = claims(&[]);
    let ask = async || said(asking.facts.ask(&rule, &claims).await.of("approvals.deployment"));
    assert_eq!((ask().await, ask().await, gitlab.asked().len()), ("1".to_owned(), "1".to_owned(), 2));
    gitlab.answers(|_, _| Reply::json(&json!([])));
    asking.facts.forget(&corp(), 4712);
    asking.facts.forget(&lanyard::token::IssuerName("other".into()), 4711);
    assert_eq!((ask().await, gitlab.asked().len()), ("1".to_owned(), 0), "another project's news");
    asking.facts.forget(&corp(), 4711);
    assert!(ask().await.starts_with("no: GitLab shows no deployment"), "withdrawn");
    assert_eq!(gitlab.asked().len(), 1);
}
