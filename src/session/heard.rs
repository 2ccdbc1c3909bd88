//! What other replicas do to sessions, as this one hears it: admitted, closed, banned.
//!
//! **No gap**: a ban is committed before anybody hears it. A replica that admits by what it knew then has noted the
//! session before; so when the ban is heard there it finds that session, and closes its job.

use super::bans::{self, Ban};
use super::keeper::{Sessions, parse};
use super::record::{JOB_PREFIX, JobName, SESSION_PREFIX, Tombstone};
use super::{EndReason, LiveSession, SessionError};
use crate::audit::Ledger;
use crate::store::{Heard, StoreError, Stored};
use time::OffsetDateTime;

impl Sessions {
    /// Resolves once what is read here is all that was committed anywhere before.
    ///
    /// # Errors
    /// When that cannot be known.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.store.caught_up().await
    }

    /// Resolves once the live sessions that are known here are all that were committed anywhere before.
    pub(super) async fn know_all(&self) -> Result<(), StoreError> {
        self.store.caught_up().await?;
        self.store.all_heard().await
    }

    /// Whether work that is enough for one replica is this one's.
    pub fn leads(&self) -> bool {
        self.store.leads()
    }

    /// Takes in what another replica wrote. Keys of others are nothing to us.
    ///
    /// # Errors
    /// `Store`; a record that cannot be read is one.
    pub async fn hear(&self, ledger: &Ledger, heard: &Heard, now: OffsetDateTime) -> Result<(), SessionError> {
        let Heard { key, now: kept } = heard;
        match kept {
            Some(kept) if key.starts_with(SESSION_PREFIX) => self.take_up(key, kept, now)?,
            Some(kept) if key.starts_with(JOB_PREFIX) => self.hear_closed(key, kept)?,
            Some(kept) if key.starts_with(bans::PREFIX) => {
                // Who took it has recorded it.
                let ban: Ban = parse(&kept.value)?;
                self.bans.put(ban.clone());
                self.strike_banned(ledger, &ban, now).await?;
            }
            None => key.strip_prefix(bans::PREFIX).into_iter().for_each(|id| self.bans.forget(id)),
            Some(_) => {}
        }
        Ok(())
    }

    /// A job is closed: whoever holds a session of it hears so.
    pub(super) fn tell_ended(&self, job: &JobName, reason: EndReason) -> Vec<LiveSession> {
        let struck = self.live.take_job(job);
        for one in &struck {
            self.ends.tell(&one.owner, one.id, reason);
        }
        if let Some(revoked) = &self.revoked {
            revoked.add(struck.iter().flat_map(|one| one.svids.iter().cloned()), reason);
        }
        struck
    }

    fn hear_closed(&self, key: &str, kept: &Stored) -> Result<(), StoreError> {
        let tombstone: Tombstone = parse(&kept.value)?;
        let Some(job) = JobName::of_key(key) else { return Ok(()) };
        if self.live.of_job(&job).iter().any(|one| tombstone.closes(&one.job_project_path)) {
            self.tell_ended(&job, tombstone.why.unwrap_or(EndReason::Revoked));
        }
        Ok(())
    }
}
