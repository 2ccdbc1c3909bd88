//! The X.509-SVIDs that were taken back and still live: what revocation lists say.
//!
//! Nothing of it is stored. After a start it is read out of the journal again (`given`).

use super::{EndReason, LiveSvid};
use crate::authority::RevokedLeaf;
use crate::svid::{RevokedBecause, RevokedCertificate, Serial};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use tokio::sync::Notify;

/// See the file's opening words.
#[derive(Debug, Default)]
pub(super) struct RevokedSvids {
    all: Mutex<BTreeMap<Serial, Taken>>,
    news: Notify,
}

#[derive(Debug)]
struct Taken {
    signer: Arc<str>,
    ends_at: OffsetDateTime,
    /// None until a list says it for the first time.
    at: Option<OffsetDateTime>,
    reason: Option<RevokedBecause>,
}

impl RevokedSvids {
    /// These have just been taken back.
    pub(super) fn add(&self, svids: impl Iterator<Item = LiveSvid>, reason: EndReason) {
        self.insert(svids.map(|svid| (svid, None, Some(reason))));
    }

    /// These were taken back before: when and why, as far as that is known.
    pub(super) fn insert(&self, svids: impl Iterator<Item = (LiveSvid, Option<OffsetDateTime>, Option<EndReason>)>) {
        let mut any = false;
        let mut all = self.all();
        for (LiveSvid { serial, signer, ends_at }, at, reason) in svids {
            any = true;
            let reason = reason.and_then(because);
            all.entry(serial).or_insert(Taken { signer, ends_at, at, reason });
        }
        drop(all);
        if any {
            self.news.notify_one();
        }
    }

    /// What a set made now says, when the last one was made at that time. What has ended stays until a set of a later time
    /// has said it (RFC 5280 §3.3).
    pub(super) fn leaves(&self, now: OffsetDateTime, last: Option<OffsetDateTime>) -> Vec<RevokedLeaf> {
        let mut all = self.all();
        all.retain(|_, taken| taken.ends_at >= last.unwrap_or(now));
        let leaf = |(serial, taken): (&Serial, &mut Taken)| {
            let at = *taken.at.get_or_insert(now);
            let certificate = RevokedCertificate { serial: *serial, at, reason: taken.reason };
            RevokedLeaf { signer: Arc::clone(&taken.signer), certificate }
        };
        all.iter_mut().map(leaf).collect()
    }

    /// When something was taken back since this was last waited for.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Serial, Taken>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a list says of an end; nothing of one that was to be expected.
const fn because(reason: EndReason) -> Option<RevokedBecause> {
    match reason {
        EndReason::AgentStopped
        | EndReason::CgroupEmpty
        | EndReason::ExecEnd
        | EndReason::JobOver
        | EndReason::Logout => None,
        EndReason::Banned | EndReason::Erased | EndReason::NeedFailed | EndReason::Revoked => {
            Some(RevokedBecause::PrivilegeWithdrawn)
        }
        EndReason::Replayed => Some(RevokedBecause::KeyCompromise),
    }
}
