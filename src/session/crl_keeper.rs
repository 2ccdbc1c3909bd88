//! Keeps the revocation lists true: makes the set anew soon after an end, when there are other authorities, and long
//! before it runs out.

use super::Sessions;
use crate::audit::Ledger;
use crate::authority::{Authorities, CrlDraft, CrlIssuersChanged, Crls, Live, SignError};
use crate::clock::Clock;
use crate::store::{JournalError, StoreError};
use crate::telemetry::{Shutdown, chain, rfc3339};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// Ends come in bursts: a pipeline's jobs, an operator's revocation. Those of a moment stand on one set.
const GATHERED_FOR: Duration = Duration::from_millis(100);
/// And under a storm of them there are not more sets than this; with the above, an end is on a set within a second.
const APART: Duration = Duration::from_millis(500);
/// How often to look whether the last identity has left a tainted intermediate.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Whoever is reading a set may finish it while so many newer ones are made, or a slow reader would begin for ever.
const FORMER_SETS: usize = 8;
/// A set that could not be made is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Where the newest set is shown; none before the first.
pub type CrlsWatch = watch::Receiver<Option<Arc<Crls>>>;

/// How lists are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CrlPlan {
    /// A list is good for so long; the next one comes at half of it.
    pub lifetime: Duration,
}

impl CrlPlan {
    /// A day. Consumers refuse everybody when it is over, and what a consumer of an old list still believes ends with its
    /// ttl anyway, so a long life costs nothing and bridges every outage that the SVIDs do.
    pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);
}

/// Why there is no new set; the last one stands as long as it is complete.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// What was given before the start cannot be read.
    #[error("what was given before the start cannot be learnt from the journal")]
    Journal(#[from] JournalError),
    /// One of the lists cannot be signed.
    #[error("a revocation list cannot be signed, so none is delivered")]
    Sign(#[from] SignError),
    /// Nothing can be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See the file's opening words.
#[derive(Debug)]
pub struct CrlKeeper {
    sessions: Sessions,
    authorities: Arc<Authorities>,
    issuers: CrlIssuersChanged,
    ledger: Ledger,
    plan: CrlPlan,
    data_dir: PathBuf,
    /// What was given before the start is known; a part of it may be missing until then.
    complete_from: Option<OffsetDateTime>,
    made: watch::Sender<Option<Arc<Crls>>>,
    former: Vec<Arc<Crls>>,
    /// How many tainted intermediates the last set does not name, for live identities hang on them.
    spared: usize,
}

impl CrlKeeper {
    /// Lists for the ends of these sessions, whose SVIDs these authorities sign.
    pub fn new(
        sessions: Sessions,
        (authorities, ledger): (Arc<Authorities>, Ledger),
        plan: CrlPlan,
        data_dir: PathBuf,
    ) -> Self {
        let issuers = authorities.crl_issuers_changed();
        authorities.expect_lists();
        let made = watch::Sender::new(None);
        Self {
            sessions,
            authorities,
            issuers,
            ledger,
            plan,
            data_dir,
            complete_from: None,
            made,
            former: Vec::new(),
            spared: 0,
        }
    }

    /// Where sets are shown.
    pub fn watch(&self) -> CrlsWatch {
        self.made.subscribe()
    }

    /// Runs until shutdown.
    pub async fn run(mut self, clock: Arc<dyn Clock>, shutdown: Shutdown) {
        loop {
            let due_at = match self.turn(clock.now()).await {
                Ok(due_at) => due_at,
                Err(fault) => {
                    tracing::error!(fault = chain(&fault), "the revocation lists could not be made; trying again");
                    clock.now() + AGAIN_AFTER
                }
            };
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.due(&*clock, due_at) => {}
            }
        }
    }

    /// Makes a set now. When the next is due if nothing happens.
    ///
    /// # Errors
    /// See [`CrlError`].
    pub async fn turn(&mut self, now: OffsetDateTime) -> Result<OffsetDateTime, CrlError> {
        let complete_from = match self.complete_from {
            Some(at) => at,
            None => self.learn(now).await?,
        };
        if now < complete_from {
            return Ok(complete_from);
        }
        let last = self.made.borrow().as_ref().map(|last| last.made_at);
        let leaves = self.sessions.revoked.as_ref().map(|revoked| revoked.leaves(now, last)).unwrap_or_default();
        let live = live(&self.sessions, &self.authorities, now);
        let spared = self.authorities.tainted_in_use(&live);
        let set = match self.sign(CrlDraft::new((leaves, live), now, self.plan.lifetime)).await {
            Ok(set) => set,
            Err(fault) => {
                self.withdraw_if_incomplete();
                return Err(fault);
            }
        };
        tracing::debug!(number = set.number, revoked = set.revoked, "revocation lists made");
        self.spared = spared;
        let due_at = now + (set.next_update - now) / 2;
        let set = Arc::new(set);
        let former = self.made.send_replace(Some(Arc::clone(&set)));
        self.authorities.is_out(&set);
        self.former.extend(former);
        self.former.drain(..self.former.len().saturating_sub(FORMER_SETS));
        Ok(due_at)
    }

    /// From when on sets are complete.
    async fn learn(&mut self, now: OffsetDateTime) -> Result<OffsetDateTime, CrlError> {
        let (sessions, folder) = (self.sessions.clone(), self.data_dir.clone());
        // Files, and many of them: no work for a thread that serves others.
        let learning = tokio::task::spawn_blocking(move || sessions.learn_given(&folder, now));
        let gap = learning.await.map_err(|_stopped| JournalError::stopped(&self.data_dir))??;
        if let Some(until) = gap {
            tracing::warn!(
                until = rfc3339(until),
                "a young part of the journal is missing: there are no revocation lists until what it gave has ended"
            );
        }
        Ok(*self.complete_from.insert(gap.unwrap_or(now)))
    }

    async fn sign(&self, draft: CrlDraft) -> Result<Crls, CrlError> {
        let begun = self.authorities.begin_crls(self.ledger.admit_at_once(draft).await?).await?;
        let signing = tokio::task::spawn_blocking(move || begun.finish());
        Ok(signing.await.map_err(|_stopped| StoreError::Stopped)??)
    }

    /// A set without a list for each authority would make consumers refuse what that authority signs.
    fn withdraw_if_incomplete(&self) {
        self.made.send_if_modified(|made| {
            let incomplete = made.as_ref().is_some_and(|set| !self.authorities.all_listed(set));
            if incomplete {
                *made = None;
            }
            incomplete
        });
    }

    /// Waits for a reason to make the next set, and a moment longer for others that come with it.
    async fn due(&mut self, clock: &dyn Clock, at: OffsetDateTime) {
        let ended = async {
            match &self.sessions.revoked {
                Some(revoked) => revoked.news().await,
                None => std::future::pending().await,
            }
        };
        let vacated = vacated(&self.sessions, &self.authorities, self.spared, clock);
        tokio::select! {
            () = ended => {}
            () = self.issuers.wait() => {}
            () = vacated => {}
            () = clock.wait_until(at) => return,
        }
        let last = self.made.borrow().as_ref().map(|set| set.made_at + APART);
        let next = clock.now() + GATHERED_FOR;
        clock.wait_until(last.map_or(next, |last| last.max(next))).await;
    }
}

/// How many identities hang on each authority.
fn live(sessions: &Sessions, authorities: &Authorities, now: OffsetDateTime) -> Live {
    sessions.count_by_signer(&authorities.crl_issuer_names(), now)
}

/// Waits until the last identity has left one of so many tainted intermediates that the last set does not name.
async fn vacated(sessions: &Sessions, authorities: &Authorities, spared: usize, clock: &dyn Clock) {
    while spared == 0 || authorities.tainted_in_use(&live(sessions, authorities, clock.now())) >= spared {
        clock.wait_until(clock.now() + LOOK_EVERY).await;
    }
}
