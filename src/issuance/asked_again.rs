//! Something happened in a project, such as an approval that was taken back: what lives of its jobs is judged anew by what other
//! systems say now, without waiting for the next renewal. What was delivered is never the answer itself.

use super::Issuance;
use crate::crypto::KeyId;
use crate::policy::Denial;
use crate::session::{EndReason, Kept, SessionId};
use crate::telemetry::chain;
use crate::token::IssuerName;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// More projects than one delivery after another can name while one is asked about; of others, the next renewal asks.
const PROJECTS_MAX: usize = 10_000;

/// The projects in which something happened since they were asked about.
#[derive(Debug, Default)]
pub(super) struct Changes {
    projects: Mutex<BTreeSet<(IssuerName, u64)>>,
    news: Notify,
}

impl Changes {
    pub(super) fn add(&self, issuer: IssuerName, project_id: u64) {
        let mut projects = self.projects();
        if projects.len() < PROJECTS_MAX {
            projects.insert((issuer, project_id));
        }
        drop(projects);
        self.news.notify_one();
    }

    fn projects(&self) -> MutexGuard<'_, BTreeSet<(IssuerName, u64)>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuance {
    /// Waits until something happened in a project.
    pub async fn something_happens(&self) {
        self.hearing.changes.news.notified().await;
    }

    /// Judges what lives in the projects in which something happened, and ends whatever a need fails for. How many ended.
    pub async fn judge_anew(&self) -> usize {
        let projects = std::mem::take(&mut *self.hearing.changes.projects());
        let mut ended = 0;
        for (issuer, project_id) in projects {
            for (session, owner) in self.sessions.of_project(&issuer, project_id, self.now()) {
                let has_ended = self.is_unmet(&session, owner).await && self.end_unmet(&session, owner).await;
                ended += usize::from(has_ended);
            }
        }
        ended
    }

    /// Whether a need of its rule fails now.
    async fn is_unmet(&self, session: &SessionId, owner: KeyId) -> bool {
        let Ok(Kept { claims, standing: Ok(_live) }) = self.sessions.kept(session, owner, self.now()) else {
            return false;
        };
        // What a changed policy says of it, the next renewal hears.
        let Ok(rule) = self.policy.now().choose(claims.claims()) else { return false };
        matches!(self.facts.hear(rule, claims.claims()).await, Err(Denial::NeedFailed(_)))
    }

    /// Ends a session for whose rule a need failed; whether that could be recorded.
    pub(super) async fn end_unmet(&self, session: &SessionId, owner: KeyId) -> bool {
        let outcome = self.end(EndReason::NeedFailed, session, owner).await;
        if let Err(fault) = &outcome {
            tracing::error!(fault = chain(fault), "a session could not be ended");
        }
        outcome.is_ok()
    }
}
