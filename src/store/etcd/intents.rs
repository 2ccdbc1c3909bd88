//! What is done in etcd and perhaps told by no journal, as it stands there: asked for by whoever needs it. No watch brings it,
//! since nearly all of it is told a moment later.

use super::Etcd;
use super::error::Fault;
use super::mark::{INTENTS, Intent, intent_of};
use super::proto::RangeRequest;
use super::request::{found, revision};
use crate::store::Revision;
use std::time::Duration;
use tokio::time::Instant;

/// Nobody waits for the answer; more than a hundred pages of names.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Values of one answer: some kilobytes for each commit, of which one may tell of fifty.
pub(super) const AT_ONCE: usize = 16;

/// That an intent stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) key: String,
    /// When what it tells of was done.
    pub(super) revision: Revision,
}

impl Etcd {
    /// All that stand of a replica, or of all.
    pub(super) async fn standing(&self, of: Option<&str>) -> Result<Vec<Standing>, Fault> {
        let names = of.map_or(INTENTS.to_owned(), |replica| format!("{INTENTS}{replica}/"));
        let (key, range_end) = (self.prefix.key(&names), self.prefix.end_of(&names));
        let range = RangeRequest { key, range_end, keys_only: true, ..RangeRequest::default() };
        let (_, all) = self.all_of(range, Instant::now() + ANSWERED_WITHIN).await?;
        let found = all.iter().filter_map(|kv| Some((self.prefix.name(&kv.key)?, revision(kv.mod_revision))));
        // Another's name may begin as this one does.
        let is_of = |key: &str| intent_of(key).is_some_and(|(whose, ..)| of.is_none_or(|of| of == whose));
        let all = found.filter(|(key, _)| is_of(key));
        Ok(all.map(|(key, revision)| Standing { key: key.to_owned(), revision }).collect())
    }

    /// What they say, of those that stand there still; `AT_ONCE` at most.
    pub(super) async fn said(&self, some: &[Standing]) -> Result<Vec<(Standing, Intent)>, Fault> {
        let keys: Vec<_> = some.iter().map(|one| one.key.clone()).collect();
        let answer = self.client.txn(self.prefix.values(&keys)).await?;
        let mut all = Vec::new();
        for (one, kvs) in some.iter().zip(found(answer)) {
            let Some(kv) = kvs.first() else { continue };
            match serde_json::from_slice(&kv.value) {
                Ok(intent) => all.push((one.clone(), intent)),
                Err(odd) => tracing::error!(key = one.key, %odd, "an intent cannot be read, and stays"),
            }
        }
        Ok(all)
    }
}
