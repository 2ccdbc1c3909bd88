//! The part of the session file that is one renewer's: all jobs of a host agent share one key and one file.

use super::session_file::{KeptEnd, KeptJob, KeptSession, SessionFile, SessionFileError};
use crate::crypto::Digest;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// Whose sessions a renewer goes on with, and which ends it tells the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    /// One job's of many; its own ends only.
    Job(KeptJob),
    /// Nobody's: only the ends that are left to be told.
    Leftovers,
    /// The only job's, and all ends.
    OnlyJob,
    /// The runner's own, beside the only job's.
    Runner,
}

/// See the file's words.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    file: Arc<Mutex<SessionFile>>,
    whose: Whose,
}

impl Kept {
    pub(super) fn new(file: Arc<Mutex<SessionFile>>, whose: Whose) -> Self {
        Self { file, whose }
    }

    /// Whether nothing more comes than ends that are to be told.
    pub(super) fn is_over(&self) -> bool {
        self.whose == Whose::Leftovers
    }

    /// A session as it is kept here.
    pub(super) fn session(&self, id: String, token: Digest, ends_at: Option<OffsetDateTime>) -> KeptSession {
        KeptSession { id, token, ends_at, job: self.job(), runner: self.whose == Whose::Runner }
    }

    /// The job whose sessions these are, where there are several.
    fn job(&self) -> Option<KeptJob> {
        match &self.whose {
            Whose::Job(job) => Some(job.clone()),
            Whose::Leftovers | Whose::OnlyJob | Whose::Runner => None,
        }
    }

    /// The session to go on with.
    pub(super) fn last(&self) -> Option<KeptSession> {
        match &self.whose {
            Whose::Job(_) | Whose::OnlyJob => self.file().last(self.job().as_ref()).cloned(),
            Whose::Leftovers => None,
            Whose::Runner => self.file().last_of_runner().cloned(),
        }
    }

    /// The sessions whose end the server has not heard of, and that nobody else tells.
    pub(super) fn ending(&self) -> Vec<KeptEnd> {
        match self.whose {
            Whose::Job(_) | Whose::Runner => Vec::new(),
            Whose::Leftovers | Whose::OnlyJob => self.file().ending().to_vec(),
        }
    }

    pub(super) fn keep(&self, session: KeptSession, former: Option<&str>) -> Result<(), SessionFileError> {
        self.file().keep(session, former)
    }

    pub(super) fn end(&self, end: KeptEnd) -> Result<(), SessionFileError> {
        self.file().end(end)
    }

    pub(super) fn forget(&self, id: &str) -> Result<(), SessionFileError> {
        self.file().forget(id)
    }

    pub(super) fn told(&self, id: &str) -> Result<(), SessionFileError> {
        self.file().told(id)
    }

    pub(super) fn catch_up(&self) -> Result<(), SessionFileError> {
        self.file().catch_up()
    }

    fn file(&self) -> MutexGuard<'_, SessionFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
