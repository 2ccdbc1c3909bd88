//! A small world of jobs, made to be mixed up: projects whose paths read like other projects' ids, and two issuers that
//! use the same paths and ids for different things.

use super::model::{Job, Value};
use lanyard::token::{Claims, IssuerName};
use serde_json::{Map, Value as Json, json};

/// Path, id, namespace and its id.
type Project = (&'static str, u64, &'static str, u64);

const CORP: [Project; 5] = [
    ("acme/api", 7, "acme", 1),
    ("acme/pay/web", 11, "acme/pay", 2),
    ("projects/7", 17, "projects", 3),
    ("x/acme/api", 1, "x/acme", 4),
    ("acme/7", 77, "acme", 1),
];
const OTHER: [Project; 3] =
    [("acme/api", 11, "acme", 2), ("acme/pay/web", 7, "acme/pay", 1), ("corp/acme/api", 17, "corp/acme", 3)];

/// Pipelines whose ids are each other's jobs', and projects'.
const PIPELINES: [(u64, u64); 3] = [(7, 77), (77, 7), (11, 1)];

/// What else a job may be, by claim.
const KINDS: [&[(&str, &str)]; 7] = [
    &[("ref_protected", "true"), ("user_id", "1"), ("user_login", "ada"), ("ref_type", "branch")],
    &[
        ("ref_protected", "false"),
        ("user_id", "2"),
        ("user_login", "ben"),
        ("ref_type", "tag"),
        ("user_access_level", "maintainer"),
    ],
    &[
        ("ref_protected", "true"),
        ("user_id", "3"),
        ("user_login", "cyd"),
        ("ref_type", "branch"),
        ("environment", "production"),
        ("environment_protected", "true"),
        ("environment_action", "start"),
    ],
    &[
        ("ref_protected", "true"),
        ("user_id", "1"),
        ("user_login", "ada"),
        ("ref_type", "tag"),
        ("environment", "production"),
        ("environment_protected", "true"),
        ("environment_action", "stop"),
    ],
    &[("job_project_id", "99"), ("pipeline_source", "merge_request_event"), ("user_id", "1"), ("user_login", "ada")],
    &[("user_id", "2"), ("user_login", "project_7_bot"), ("ref_protected", "true"), ("ref_type", "branch")],
    &[
        ("environment", "production"),
        ("environment_protected", "true"),
        ("environment_action", "start"),
        ("pipeline_source", "merge_request_event"),
        ("project_visibility", "public"),
        ("runner_environment", "gitlab-hosted"),
    ],
];

/// A job as it is known here, and as its token tells it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) job: Job,
    pub(crate) payload: Map<String, Json>,
    pub(crate) claims: Claims,
}

impl Known {
    /// Whose job it is: two jobs of equal answers are one project's.
    pub(crate) fn project(&self) -> (String, u64) {
        (self.claims.issuer.to_string(), self.claims.project_id)
    }
}

/// Every job of the world.
pub(crate) fn jobs() -> Vec<Known> {
    let projects = CORP.iter().map(|one| ("corp", one)).chain(OTHER.iter().map(|one| ("other", one)));
    let mut jobs = Vec::new();
    for (issuer, project) in projects {
        for pipeline in PIPELINES {
            jobs.extend(KINDS.iter().map(|kind| known(issuer, *project, pipeline, kind)));
        }
    }
    jobs
}

fn known(
    issuer: &'static str,
    (path, id, namespace, namespace_id): Project,
    (pipeline, job): (u64, u64),
    kind: &[(&str, &str)],
) -> Known {
    let payload = json!({
        "iss": format!("https://{issuer}.example"), "jti": "j", "sub": format!("project_path:{path}:ref_type:branch:ref:main"),
        "project_id": id.to_string(), "project_path": path, "namespace_id": namespace_id.to_string(),
        "namespace_path": namespace, "pipeline_id": pipeline.to_string(), "job_id": job.to_string(),
        "pipeline_source": "push", "job_project_id": id.to_string(), "project_visibility": "private",
        "user_access_level": "developer", "runner_environment": "self-hosted", "runner_id": id,
    });
    let mut payload = payload.as_object().unwrap().clone();
    payload.extend(kind.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    let text = Json::Object(payload.clone()).to_string();
    let claims = Claims::unproven(text.as_bytes(), IssuerName(issuer.into())).unwrap();
    Known { job: understood(issuer, &payload), payload, claims }
}

/// The claims that rules of this program test, and what follows from them.
fn understood(issuer: &str, payload: &Map<String, Json>) -> Job {
    const IDS: [&str; 6] = ["job_id", "namespace_id", "pipeline_id", "project_id", "runner_id", "user_id"];
    const TEXTS: [&str; 8] = [
        "environment",
        "environment_action",
        "namespace_path",
        "project_path",
        "project_visibility",
        "ref_type",
        "runner_environment",
        "user_access_level",
    ];
    let said =
        |name: &str| payload.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let mut job = Job::new();
    job.extend(IDS.into_iter().filter_map(|name| Some((name, Value::Id(said(name)?.parse().unwrap())))));
    job.extend(TEXTS.into_iter().filter_map(|name| Some((name, Value::Text(said(name)?)))));
    let truths = ["environment_protected", "ref_protected"];
    job.extend(truths.into_iter().filter_map(|name| Some((name, Value::Bool(said(name)? == "true")))));
    let actor =
        said("user_login").map_or("none", |login| if login.contains("_bot") { "project_token" } else { "person" });
    job.insert("actor.kind", Value::Text(actor.to_owned()));
    job.insert("fork", Value::Bool(said("job_project_id") != said("project_id")));
    job.insert("issuer", Value::Text(issuer.to_owned()));
    job.insert("merge_request", Value::Bool(said("pipeline_source").as_deref() == Some("merge_request_event")));
    job
}
