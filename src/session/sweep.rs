//! Drops what is of no use any more: sessions and tombstones whose tokens have expired.

use super::SessionError;
use super::keeper::{Sessions, later, parse};
use super::record::{Record, Tombstone};
use crate::audit::{Entry, Ledger};
use crate::store::{StoreError, Write};
use crate::telemetry::chain;
use std::time::Duration;
use time::OffsetDateTime;

/// A record is kept this long after its token's `exp`, which is more than the leeway given to clocks.
const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(120);

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Live sessions.
    pub live: usize,
    /// Keys dropped.
    pub dropped: usize,
}

impl Sessions {
    /// Walks through all records, a 256th at a time, so that neither memory nor others' work depends on how many there
    /// are. A record that cannot be read is left and logged.
    ///
    /// # Errors
    /// `Store`.
    pub async fn sweep(&self, ledger: &Ledger, now: OffsetDateTime) -> Result<Swept, SessionError> {
        let mut swept = Swept::default();
        for first in 0..=u8::MAX {
            let expired = self.expired_sessions(&format!("session/{first:02x}"), now, &mut swept.live)?;
            swept.dropped += drop_all(ledger, expired).await?;
            tokio::task::yield_now().await;
        }
        let tombstones = self.store.list("job/")?.into_iter();
        let expired = tombstones.filter(|(key, kept)| {
            let tombstone = parse::<Tombstone>(&kept.value).inspect_err(|fault| unreadable(key, fault));
            tombstone.is_ok_and(|tombstone| later(tombstone.until, KEPT_AFTER_EXPIRY) < now)
        });
        swept.dropped += drop_all(ledger, expired.map(|(key, _)| Write::Delete(key)).collect()).await?;
        Ok(swept)
    }

    /// The expired sessions under a prefix, to be deleted; counts the live ones.
    fn expired_sessions(
        &self,
        prefix: &str,
        now: OffsetDateTime,
        live: &mut usize,
    ) -> Result<Vec<Write>, SessionError> {
        let mut writes = Vec::new();
        for (key, kept) in self.store.list(prefix)? {
            let Ok(record) = parse::<Record<'_>>(&kept.value).inspect_err(|fault| unreadable(&key, fault)) else {
                continue;
            };
            if later(record.claims.expires_at, KEPT_AFTER_EXPIRY) < now {
                writes.push(Write::Delete(key));
            } else if record.ended.is_none() && record.ends_at > now {
                *live += 1;
            }
        }
        Ok(writes)
    }
}

fn unreadable(key: &str, fault: &StoreError) {
    tracing::error!(key, fault = %chain(fault), "a record cannot be read, and stays");
}

async fn drop_all(ledger: &Ledger, writes: Vec<Write>) -> Result<usize, SessionError> {
    let records = writes.len();
    if records > 0 {
        ledger.put_away(&Entry::Swept { records }, writes).await?;
    }
    Ok(records)
}
