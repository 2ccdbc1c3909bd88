//! One condition of a question, held against one entry.

use crate::audit::{Job, Received};
use crate::issuance::RequestId;
use crate::policy::{Glob, PathPin};
use crate::session::{PathOrId, SessionId};
use crate::token::ClaimValue;
use serde_json::Value;
use time::OffsetDateTime;

/// Whom an entry is about.
#[derive(Debug)]
pub(super) enum About {
    Commit(String),
    Environment(String),
    Identity(Glob),
    Job(u64),
    Pipeline(u64),
    Project(PathOrId),
    Request(String),
    Serial(String),
    Session(String),
    User(String),
}

/// Which entries, whomever they are about.
#[derive(Debug)]
pub(super) enum When {
    Kind(Vec<String>),
    Since(OffsetDateTime),
    Until(OffsetDateTime),
}

impl When {
    pub(super) fn fits(&self, at: OffsetDateTime, kind: &str) -> bool {
        match self {
            Self::Kind(kinds) => kinds.iter().any(|wanted| wanted == kind),
            Self::Since(since) => at >= *since,
            Self::Until(until) => at <= *until,
        }
    }
}

impl About {
    pub(super) fn fits(&self, entry: &Received) -> bool {
        let text = |name: &str| entry.more.get(name).and_then(Value::as_str);
        let job = entry.job.as_ref();
        let number = |name: &str| entry.more.get(name).and_then(Value::as_u64);
        match self {
            Self::Commit(wanted) => claim(job, "sha").is_some_and(|sha| sha.starts_with(wanted.as_str())),
            Self::Environment(wanted) => claim(job, "environment").is_some_and(|own| own == *wanted),
            Self::Identity(wanted) => text("spiffe_id").is_some_and(|id| wanted.matches(id)),
            Self::Job(wanted) => {
                job.map(|job| job.job_id).or_else(|| number("job_id")) == Some(*wanted)
                    || is_selected(entry, "job", &wanted.to_string())
            }
            Self::Pipeline(wanted) => {
                job.is_some_and(|job| job.pipeline_id == *wanted) || is_selected(entry, "pipeline", &wanted.to_string())
            }
            Self::Project(wanted) => is_of_project(wanted, entry) || is_selected(entry, "project", &wanted.to_string()),
            Self::Request(wanted) => entry.request_id.as_ref().is_some_and(|own| RequestId::is_meant(wanted, own)),
            Self::Serial(wanted) => {
                let svid = |name: &str| entry.more.get("svid").and_then(|svid| svid.get(name)).and_then(Value::as_str);
                [svid("serial"), svid("jti")].into_iter().flatten().any(|own| own == wanted)
            }
            Self::Session(wanted) => {
                let of_token = job.and_then(SessionId::of_job).map(|id| id.to_string());
                [text("session"), of_token.as_deref()].into_iter().flatten().any(|own| RequestId::is_meant(wanted, own))
            }
            Self::User(wanted) => {
                let is_wanted = |name| claim(job, name).is_some_and(|own| own.eq_ignore_ascii_case(wanted));
                is_wanted("user_login") || is_wanted("user_id") || is_selected(entry, "user", wanted)
            }
        }
    }
}

/// What a job's token said, in words.
fn claim(job: Option<&Job>, name: &str) -> Option<String> {
    job?.more.get(name).map(ClaimValue::view).map(|value| value.to_string())
}

fn is_of_project(wanted: &PathOrId, entry: &Received) -> bool {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str);
    match wanted {
        PathOrId::Id(wanted) => {
            // A closed job of which nothing is known but its ids, or whose a path was and is.
            let own = ["project_id", "old", "new"].map(|name| entry.more.get(name).and_then(Value::as_u64));
            entry.job.as_ref().is_some_and(|job| job.project_id == *wanted) || own.contains(&Some(*wanted))
        }
        PathOrId::Path(wanted) => {
            let is_of = entry.job.as_ref().is_some_and(|job| job.project_path.eq_ignore_ascii_case(wanted));
            is_of || (entry.kind == "pin_changed" && text("path") == Some(&*PathPin::fold(wanted)))
        }
    }
}

/// Whether an operator's selector names it.
fn is_selected(entry: &Received, name: &str, wanted: &str) -> bool {
    let selector = entry.more.get("selector").and_then(Value::as_str).unwrap_or_default();
    let named = selector.split(' ').filter_map(|term| term.split_once('='));
    named.into_iter().any(|(own, value)| own == name && value.eq_ignore_ascii_case(wanted))
}
