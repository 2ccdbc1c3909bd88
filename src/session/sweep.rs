//! Drops what is of no use any more: sessions and tombstones whose tokens have expired.

use super::SessionError;
use super::keeper::{Sessions, later, parse};
use super::record::{JOB_PREFIX, SESSION_PREFIX, Tombstone};
use crate::audit::{Changes, Entry, Ledger};
use crate::store::{APART_MAX, CLOCK_STEP_MAX, Committed, Condition, Revision, StoreError, Version, Write};
use crate::telemetry::chain;
use crate::token::Expectations;
use serde::Deserialize;
use std::time::Duration;
use time::OffsetDateTime;

/// A record is kept this long after its token's `exp`: more than the leeway given to clocks, a step that is believed, and
/// what two replicas' clocks may be apart, so that whoever drops it is not ahead of whoever still takes the token.
const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(120);
const _: () = assert!(
    KEPT_AFTER_EXPIRY.as_secs() > Expectations::LEEWAY.as_secs() + CLOCK_STEP_MAX.as_secs() + 2 * APART_MAX.as_secs()
);
/// Tombstones read, and records dropped in one commit.
const TOMBSTONES_AT_ONCE: usize = 100;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Live sessions.
    pub live: usize,
    /// Keys dropped.
    pub dropped: usize,
}

/// What a sweep reads of a session's record; of a hundred thousand, all else would take it a second.
#[derive(Deserialize)]
struct Expiring {
    #[serde(rename = "v")]
    _version: Version<1>,
    claims: Expiry,
}

#[derive(Deserialize)]
struct Expiry {
    #[serde(with = "time::serde::timestamp")]
    expires_at: OffsetDateTime,
}

impl Sessions {
    /// Walks through all records, a 256th at a time, so that neither memory nor others' work depends on how many there
    /// are. A record that cannot be read is left and logged.
    ///
    /// # Errors
    /// `Store`.
    pub async fn sweep(&self, ledger: &Ledger, now: OffsetDateTime) -> Result<Swept, SessionError> {
        let now = ledger.believed(now);
        let mut swept = Swept { live: self.live.sweep(now), dropped: 0 };
        if !self.store.leads() {
            return Ok(swept);
        }
        for prefix in session_prefixes() {
            let expired = self.expired_sessions(&prefix, now)?;
            swept.dropped += drop_all(ledger, expired).await?;
            tokio::task::yield_now().await;
        }
        swept.dropped += self.sweep_tombstones(ledger, now).await?;
        swept.dropped += drop_all(ledger, self.bans.over(&*self.store, now)?).await?;
        Ok(swept)
    }

    /// A page at a time: webhooks lay one for each job of a group, and a commit stands in one line of the journal.
    async fn sweep_tombstones(&self, ledger: &Ledger, now: OffsetDateTime) -> Result<usize, SessionError> {
        let (mut dropped, mut last) = (0, String::new());
        loop {
            let page = self.store.page(JOB_PREFIX, &last, TOMBSTONES_AT_ONCE)?;
            let Some((key, _)) = page.last() else { return Ok(dropped) };
            last.clone_from(key);
            let expired = page.into_iter().filter(|(key, kept)| {
                let tombstone = parse::<Tombstone>(&kept.value).inspect_err(|fault| unreadable(key, fault));
                tombstone.is_ok_and(|tombstone| later(tombstone.until, KEPT_AFTER_EXPIRY) < now)
            });
            dropped += drop_all(ledger, expired.map(|(key, kept)| (key, kept.revision)).collect()).await?;
            tokio::task::yield_now().await;
        }
    }

    /// The expired sessions under a prefix, to be deleted.
    fn expired_sessions(&self, prefix: &str, now: OffsetDateTime) -> Result<Vec<(String, Revision)>, SessionError> {
        let mut expired = Vec::new();
        for (key, kept) in self.store.list(prefix)? {
            let Ok(record) = parse::<Expiring>(&kept.value).inspect_err(|fault| unreadable(&key, fault)) else {
                continue;
            };
            if later(record.claims.expires_at, KEPT_AFTER_EXPIRY) < now {
                expired.push((key, kept.revision));
            }
        }
        Ok(expired)
    }
}

/// The beginnings of sessions' names, each of a 256th of them.
pub(super) fn session_prefixes() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|first| format!("{SESSION_PREFIX}{first:02x}"))
}

pub(super) fn unreadable(key: &str, fault: &StoreError) {
    tracing::error!(key, fault = %chain(fault), "a record cannot be read, and stays");
}

/// Drops these as they were read, a hundred in a commit: etcd takes no more than 128. Where one was written again
/// meanwhile all of its commit stay, until the next sweep.
async fn drop_all(ledger: &Ledger, read: Vec<(String, Revision)>) -> Result<usize, SessionError> {
    let mut dropped = 0;
    for read in read.chunks(TOMBSTONES_AT_ONCE) {
        dropped += drop_some(ledger, read.to_vec()).await?;
    }
    Ok(dropped)
}

async fn drop_some(ledger: &Ledger, read: Vec<(String, Revision)>) -> Result<usize, SessionError> {
    let records = read.len();
    let writes = read.iter().map(|(key, _)| Write::Delete(key.clone())).collect();
    let conditions = read.into_iter().map(|(key, revision)| Condition::Unchanged(key, revision)).collect();
    let done = ledger.commit_if_room(&Entry::Swept { records }, Changes { conditions, writes }).await?;
    Ok(if matches!(done, Committed::Done(_)) { records } else { 0 })
}
