//! What the CI system says of a job unasked: from a delivery to closed jobs.
//!
//! A delivery can only end what its hook may end; nothing it says opens or revives anything.

use super::asked_again::Changes;
use super::carried_out::carried_out;
use super::{Issuance, RequestId};
use crate::hooks::{Delivery, DeliveryIds, Hook, HookError, Hooks, News, NewsError};
use crate::session::{EndReason, JobName, SessionError};
use crate::token::{Issuer, IssuerName};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// The hooks of all issuers, and which of their deliveries were heard.
#[derive(Debug, Default)]
pub struct Hearing {
    hooks: BTreeMap<IssuerName, Hooks>,
    heard: Mutex<DeliveryIds>,
    pub(super) changes: Changes,
}

/// What a delivery led to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Heard {
    /// How many sessions ended.
    pub ended: usize,
}

/// Why a delivery led to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HookRefusal {
    /// It is not believed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Its body is no event.
    #[error(transparent)]
    News(#[from] NewsError),
    /// No hook of an issuer of this name.
    #[error("no issuer {issuer:?} with a hook is configured here")]
    NoHook {
        /// As the path has it.
        issuer: String,
    },
    /// It speaks of a project that is not its hook's.
    #[error("the hook of {scope} may not speak of project {project_id}")]
    OutOfScope {
        /// Whose jobs the hook may end.
        scope: String,
        /// The project that it speaks of.
        project_id: u64,
    },
    /// A signed delivery of this id was heard already.
    #[error("this delivery was heard already")]
    Repeated,
    /// Nothing could be recorded.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl HookRefusal {
    /// Stable, for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Hook(HookError::NotGenuine) => "hook_not_genuine",
            Self::Hook(HookError::Stale { .. }) => "hook_stale",
            Self::News(NewsError::Malformed(_)) => "hook_malformed",
            Self::NoHook { .. } => "hook_unknown",
            Self::OutOfScope { .. } => "hook_out_of_scope",
            Self::Repeated => "hook_repeated",
            Self::Session(_) => "store_unavailable",
        }
    }
}

impl Hearing {
    /// These hooks, none heard yet.
    pub fn of(hooks: BTreeMap<IssuerName, Hooks>) -> Self {
        Self { hooks, ..Self::default() }
    }

    /// The hook whose delivery this is, and the id under which it is remembered once all is done.
    fn hook<'d>(
        &self,
        issuer: &IssuerName,
        delivery: &Delivery<'d>,
        now: OffsetDateTime,
    ) -> Result<(&Hook, Option<&'d str>), HookRefusal> {
        let hooks = self.hooks.get(issuer).ok_or_else(|| HookRefusal::NoHook { issuer: issuer.to_string() })?;
        let hook = hooks.opened_by(delivery, now)?;
        let id = delivery.signed.filter(|_| hook.signing_token.is_some()).map(|signed| signed.id);
        if id.is_some_and(|id| self.ids().has(id)) { Err(HookRefusal::Repeated) } else { Ok((hook, id)) }
    }

    fn ids(&self) -> MutexGuard<'_, DeliveryIds> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuance {
    /// Hears a delivery for the hooks of an issuer, and closes the jobs that it says are over.
    ///
    /// # Errors
    /// Every [`HookRefusal`] but that of an unknown issuer is recorded; equal ones within a minute are folded.
    pub async fn hear(&self, id: &RequestId, issuer: &str, delivery: &Delivery<'_>) -> Result<Heard, HookRefusal> {
        let issuer = self.issuers.by_name(issuer).ok_or_else(|| HookRefusal::NoHook { issuer: issuer.to_owned() })?;
        let now = self.clock.now();
        let outcome = self.heard(issuer, delivery, now).await;
        match &outcome {
            Ok(Heard { ended }) => self.recorder.ended(EndReason::JobOver, *ended),
            Err(HookRefusal::NoHook { .. }) => {}
            Err(refusal) => self.recorder.unheard(&self.ledger, (id, issuer.name()), refusal, now),
        }
        outcome
    }

    async fn heard(&self, issuer: &Issuer, delivery: &Delivery<'_>, now: OffsetDateTime) -> Result<Heard, HookRefusal> {
        let (hook, id) = self.hearing.hook(issuer.name(), delivery, now)?; // whose word it is
        let heard = self.heed(hook, issuer, (delivery, now)).await?; // what it says, done
        if let Some(id) = id {
            self.hearing.ids().add(id, now);
        }
        Ok(heard)
    }

    async fn heed(
        &self,
        hook: &Hook,
        issuer: &Issuer,
        (delivery, now): (&Delivery<'_>, OffsetDateTime),
    ) -> Result<Heard, HookRefusal> {
        let (project_id, jobs) = match News::read(delivery.body, hook.canceling)? {
            News::Over { project_id, jobs, .. } => (project_id, jobs),
            News::Changed { project_id } => (project_id, Vec::new()),
            News::Nothing => return Ok(Heard::default()),
        };
        if !hook.scope.may_concern(project_id) {
            return Err(HookRefusal::OutOfScope { scope: hook.scope.to_string(), project_id });
        }
        self.facts.forget(issuer.name(), project_id);
        if jobs.is_empty() {
            self.hearing.changes.add(issuer.name().clone(), project_id);
            return Ok(Heard::default());
        }
        let jobs: Vec<_> =
            jobs.into_iter().map(|job_id| JobName { issuer: issuer.name().clone(), project_id, job_id }).collect();
        // A token that nobody has used yet can be used first until then, and no later one is minted for a job that is over.
        let until = now + issuer.expectations.max_token_age + issuer.expectations.leeway;
        let (sessions, ledger, scope) = (self.sessions.clone(), self.ledger.clone(), hook.scope.clone());
        let closing = async move { sessions.close_jobs(&ledger, &jobs, (&scope, until)).await };
        let ended = carried_out(closing).await?;
        Ok(Heard { ended })
    }
}
