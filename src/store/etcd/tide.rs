//! How far etcd has come, as this replica saw it: whether it went back, and whether the copy shows everything.

use super::error::WentBack;
use crate::store::Revision;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// See the file's opening words.
#[derive(Debug)]
pub(super) struct Tide {
    cluster: OnceLock<u64>,
    seen: AtomicU64,
    went_back: OnceLock<WentBack>,
    /// When the copy was last known to show everything; none before the first time.
    confirmed: watch::Sender<Option<Instant>>,
    answers: AtomicBool,
}

impl Tide {
    pub(super) fn new() -> Self {
        Self {
            cluster: OnceLock::new(),
            seen: AtomicU64::new(0),
            went_back: OnceLock::new(),
            confirmed: watch::Sender::new(None),
            answers: AtomicBool::new(true),
        }
    }

    /// Takes in where etcd stands; `before` is what we had seen when we asked.
    pub(super) fn judge(&self, header: Option<(u64, Revision)>, before: Revision) {
        let Some((cluster, revision)) = header else { return };
        let known = *self.cluster.get_or_init(|| cluster);
        if cluster != known || revision < before {
            self.goes_back(WentBack { seen: before, journalled: known, revision, cluster });
        }
        self.seen.fetch_max(revision, Ordering::Relaxed);
    }

    /// Holds what a journal has seen against what is there.
    pub(super) fn expect(&self, journalled: u64, seen: Revision) {
        let (cluster, revision) = (self.cluster(), self.seen());
        if cluster != journalled || revision < seen {
            self.goes_back(WentBack { seen, journalled, revision, cluster });
        }
    }

    fn goes_back(&self, went_back: WentBack) {
        if self.went_back.set(went_back).is_ok() {
            tracing::error!("{went_back}");
        }
    }

    /// Where etcd went back in time, if it did.
    pub(super) fn went_back(&self) -> Option<WentBack> {
        self.went_back.get().copied()
    }

    pub(super) fn cluster(&self) -> u64 {
        self.cluster.get().copied().unwrap_or_default()
    }

    pub(super) fn seen(&self) -> Revision {
        self.seen.load(Ordering::Relaxed)
    }

    /// The copy showed everything at that time.
    pub(super) fn confirm(&self, at: Instant) {
        self.answers.store(true, Ordering::Relaxed);
        self.confirmed.send_replace(Some(at));
    }

    /// Nobody answered for a quorum.
    pub(super) fn is_silent(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }

    pub(super) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// For how long it has not been known whether the copy shows everything.
    pub(super) fn behind(&self) -> Duration {
        self.confirmed.borrow().map_or(Duration::MAX, |at| at.elapsed())
    }
}
