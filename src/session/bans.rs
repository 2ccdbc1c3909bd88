//! Who gets no identity until an operator says otherwise.
//!
//! **No gap**: an admission is noted among the live sessions, then judged, then committed; a ban is in force here, then
//! committed, and then looks through the live sessions. So an admission sees the ban, or the ban sees the admission and
//! closes its job: then it is not committed, or it is ended. What is noted nowhere (a token alone) is judged again after
//! its commit and before a key is used.

use super::keeper::{Sessions, parse, text};
use super::{Facets, Selector, SessionError};
use crate::audit::{Changes, Entry, Ledger};
use crate::crypto::Digest;
use crate::store::{Committed, Condition, Revision, Store, StoreError, Version, Write};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;

/// How the names of bans begin.
pub(super) const PREFIX: &str = "ban/";
/// Enough to tell bans apart, and short enough to type.
const ID_BYTES: usize = 12;

/// Nobody who fits gets an identity.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ban {
    v: Version<1>,
    /// Names it: the beginning of the digest of whom it means, so that saying it again changes the one that is there.
    pub id: String,
    /// Whom it means.
    pub selector: Selector,
    /// Why, in the operator's words.
    pub reason: String,
    /// The operator's user id.
    pub uid: u32,
    /// Since when.
    #[serde(with = "time::serde::timestamp")]
    pub since: OffsetDateTime,
    /// Until when; none means until somebody removes it.
    #[serde(with = "time::serde::timestamp::option")]
    pub until: Option<OffsetDateTime>,
}

/// The bans in force, few and in memory.
#[derive(Debug, Default)]
pub(super) struct Bans {
    now: ArcSwap<Vec<Ban>>,
    /// Changed by one at a time.
    hand: Mutex<()>,
}

impl Ban {
    /// A ban that begins now.
    pub fn new(
        selector: Selector,
        (uid, reason): (u32, String),
        (since, until): (OffsetDateTime, Option<OffsetDateTime>),
    ) -> Self {
        let digest = Digest::of(selector.to_string().as_bytes()).to_string();
        let id = digest.get(..ID_BYTES).unwrap_or_default().to_owned();
        Self { v: Version, id, selector, reason, uid, since, until }
    }

    fn key(id: &str) -> String {
        format!("{PREFIX}{id}")
    }

    fn in_force(&self, now: OffsetDateTime) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

impl Sessions {
    /// Lifts a ban; none where there is no such. What it has ended stays ended.
    ///
    /// # Errors
    /// `Store`.
    pub async fn lift_ban(&self, ledger: &Ledger, id: &str, by: (u32, &str)) -> Result<Option<Ban>, SessionError> {
        self.bans.remove(ledger, id, by).await
    }

    /// The bans in force, the oldest first.
    pub fn bans(&self, now: OffsetDateTime) -> Vec<Ban> {
        self.bans.all(now)
    }
}

impl Bans {
    /// Those that a store keeps.
    pub(super) fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let kept = store.list(PREFIX)?.into_iter().map(|(_key, kept)| parse::<Ban>(&kept.value));
        Ok(Self { now: ArcSwap::from_pointee(kept.collect::<Result<_, _>>()?), hand: Mutex::default() })
    }

    /// Lets through whom no ban means.
    ///
    /// # Errors
    /// `Banned`.
    pub(super) fn judge(&self, of: &Facets<'_>, now: OffsetDateTime) -> Result<(), SessionError> {
        let bans = self.now.load();
        match bans.iter().find(|ban| ban.in_force(now) && ban.selector.fits(of)) {
            Some(ban) => Err(SessionError::Banned { ban: ban.id.clone() }),
            None => Ok(()),
        }
    }

    /// Those in force, the oldest first.
    pub(super) fn all(&self, now: OffsetDateTime) -> Vec<Ban> {
        let mut all: Vec<_> = self.now.load().iter().filter(|ban| ban.in_force(now)).cloned().collect();
        all.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        all
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Ban>)) {
        let _hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bans = Vec::clone(&self.now.load());
        change(&mut bans);
        self.now.store(Arc::new(bans));
    }

    fn find(&self, id: &str) -> Option<Ban> {
        self.now.load().iter().find(|ban| ban.id == id).cloned()
    }

    /// In force from now on.
    pub(super) fn put(&self, ban: Ban) {
        self.change(|bans| {
            bans.retain(|other| other.id != ban.id);
            bans.push(ban);
        });
    }

    /// Records a ban. It is in force before it is durable: whoever asks meanwhile is refused rather than let through.
    pub(super) async fn add(&self, store: &dyn Store, ledger: &Ledger, ban: &Ban) -> Result<(), SessionError> {
        self.put(ban.clone());
        match self.record(ledger, ban).await {
            Ok(()) => Ok(()),
            Err(fault) => {
                // What it could not record may be done all the same, or be another's by now: what the store shows counts.
                let kept = store.read(&Ban::key(&ban.id))?.map(|kept| parse::<Ban>(&kept.value)).transpose()?;
                self.change(|bans| {
                    bans.retain(|other| other.id != ban.id);
                    bans.extend(kept);
                });
                Err(fault)
            }
        }
    }

    async fn record(&self, ledger: &Ledger, ban: &Ban) -> Result<(), SessionError> {
        let until = ban.until.map(OffsetDateTime::unix_timestamp);
        let selector = ban.selector.to_string();
        let entry = Entry::BanAdded { ban: &ban.id, selector: &selector, say: &ban.reason, uid: ban.uid, until };
        let writes = vec![Write::Put(Ban::key(&ban.id), text(ban)?)];
        ledger.take_away(&entry, Changes { conditions: Vec::new(), writes }).await?;
        Ok(())
    }

    /// Lifts a ban; none where there is no such. What it has ended stays ended.
    pub(super) async fn remove(
        &self,
        ledger: &Ledger,
        id: &str,
        (uid, say): (u32, &str),
    ) -> Result<Option<Ban>, SessionError> {
        let Some(ban) = self.find(id) else { return Ok(None) };
        let selector = ban.selector.to_string();
        let entry = Entry::BanRemoved { ban: id, selector: &selector, say, uid };
        let key = Ban::key(id);
        let changes = Changes { conditions: vec![Condition::Present(key.clone())], writes: vec![Write::Delete(key)] };
        let gone = matches!(ledger.commit(&entry, changes).await?, Committed::Conflict { .. });
        self.change(|bans| bans.retain(|other| other.id != id));
        Ok((!gone).then_some(ban))
    }

    /// Another replica has lifted it.
    pub(super) fn forget(&self, id: &str) {
        self.change(|bans| bans.retain(|other| other.id != id));
    }

    /// Forgets those whose time is over, and names what the store keeps of them.
    pub(super) fn over(&self, store: &dyn Store, now: OffsetDateTime) -> Result<Vec<(String, Revision)>, StoreError> {
        let over: Vec<_> = self.now.load().iter().filter(|ban| !ban.in_force(now)).map(|ban| ban.id.clone()).collect();
        if !over.is_empty() {
            self.change(|bans| bans.retain(|ban| ban.in_force(now)));
        }
        let mut kept_of = Vec::new();
        for key in over.iter().map(|id| Ban::key(id)) {
            let kept = store.read(&key)?;
            // Somebody may have said it again meanwhile.
            if let Some(kept) = kept
                && !parse::<Ban>(&kept.value)?.in_force(now)
            {
                kept_of.push((key, kept.revision));
            }
        }
        Ok(kept_of)
    }
}
