//! What became of whom a question is about: entries without a job of their own, found through what they belong to.
//!
//! `issued` belongs to its intent's request, the end of a session to its session, a closed job to its refusals. What the
//! journal has put away is forgotten: memory grows with what is live and meant, never with the journal.

use crate::audit::Received;
use crate::session::SessionId;
use crate::store::Record;
use crate::token::IssuerName;
use serde_json::Value;
use std::collections::HashSet;

/// What was found to be meant, and may be spoken of again.
#[derive(Debug, Default)]
pub(super) struct Followed {
    requests: HashSet<String>,
    sessions: HashSet<String>,
    jobs: HashSet<(IssuerName, u64)>,
}

impl Followed {
    /// Whether the entry tells what became of something that is meant.
    pub(super) fn lead_to(&mut self, entry: &Received) -> bool {
        let named = |name: &str| entry.more.get(name).and_then(Value::as_str);
        match entry.kind.as_str() {
            "issued" => entry.request_id.as_ref().is_some_and(|request| self.requests.remove(request)),
            "job_closed" => {
                let issuer = named("issuer").map(|issuer| IssuerName(issuer.into()));
                let job = entry.more.get("job_id").and_then(Value::as_u64);
                issuer.zip(job).is_some_and(|job| self.jobs.remove(&job))
            }
            "session_ended" => named("session").is_some_and(|session| self.sessions.remove(session)),
            _ => false,
        }
    }

    pub(super) fn remember(&mut self, entry: &Received, is_shown: bool) {
        match entry.kind.as_str() {
            "intent" => {
                self.requests.extend(entry.request_id.clone());
                self.sessions.extend(entry.more.get("session").and_then(Value::as_str).map(str::to_owned));
            }
            // Nothing in the journal ends what is remembered of these, so no more of them is kept than is shown.
            "observed" | "refused" if is_shown => {
                self.jobs.extend(entry.job.as_ref().map(|job| (job.issuer.clone(), job.job_id)));
            }
            _ => {}
        }
    }

    /// What the journal puts away is not spoken of again.
    pub(super) fn forget(&mut self, record: &Record) {
        for session in record.delete.iter().filter_map(|key| SessionId::of_record(key)) {
            self.sessions.remove(&session.to_string());
        }
    }
}
