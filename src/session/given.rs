//! What was given before the start and may still live, read out of the journal: of each SVID its session, and of each
//! session that ended before its time when and why.
//!
//! An exchange pays nothing for it. The cost is a reader of the last ttl of the journal, once, beside a server that serves.

use super::admission::Admission;
use super::keeper::{SessionError, Sessions};
use super::record::JobName;
use super::revoked::RevokedSvids;
use super::{EndReason, LiveSvid, SessionId};
use crate::crypto::KeyId;
use crate::store::{Completeness, JournalError, Record, records_since};
use crate::svid::Serial;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use time::OffsetDateTime;

/// What stands in the lines that count, and in few others.
const PIECES: [&str; 2] = [r#""svid":{"type":"x509""#, r#""kind":"session_ended""#];

/// A record is a little older than what it says: the clock is read before and after.
const SLACK: time::Duration = time::Duration::minutes(1);

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Told<'a> {
    Intent {
        #[serde(borrow)]
        session: Option<Cow<'a, str>>,
        svid: Given,
    },
    SessionEnded {
        #[serde(borrow)]
        session: Cow<'a, str>,
        #[serde(default)]
        why: Option<EndReason>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Given {
    X509 {
        serial: Serial,
        #[serde(with = "time::serde::timestamp")]
        not_after: OffsetDateTime,
        signer: KeyId,
    },
    #[serde(other)]
    Other,
}

#[derive(Default)]
struct Found {
    svids: Vec<(SessionId, LiveSvid)>,
    ends: HashMap<SessionId, (OffsetDateTime, Option<EndReason>)>,
    signers: HashSet<Arc<str>>,
}

impl Sessions {
    /// From now on it is kept which SVIDs live, so that those that are taken back can stand on revocation lists.
    #[must_use]
    pub fn keeping_svids(mut self) -> Self {
        self.revoked = Some(Arc::<RevokedSvids>::default());
        self
    }

    /// Whether one more SVID could stand on a list.
    pub(super) fn room_for(&self, admission: &Admission<'_>) -> Result<(), SessionError> {
        if self.revoked.is_none() || admission.serial.is_none() {
            return Ok(());
        }
        let (job, id) = (JobName::of(admission.claims), SessionId::of(admission.claims));
        let has_room = self.live.has_room(&job, &id, admission.now);
        if has_room { Ok(()) } else { Err(SessionError::TooManySvids) }
    }

    /// Learns what a former run has given, from the journal in this folder. Until when something may be missing from the
    /// lists all the same, because a part of the journal is; none if all was there.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn learn_given(&self, folder: &Path, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, JournalError> {
        let Some(revoked) = &self.revoked else { return Ok(None) };
        let (since, mut found) = (now - self.given_lives_for - SLACK, Found::default());
        let completeness = records_since(folder, since, &PIECES, |record| found.read(&record, now))?;
        let ends = found.ends;
        // A session that lives is known as such; whoever is not, and whose SVID could live, ended before its time.
        let ended = self.live.adopt(found.svids, now).into_iter().map(|(session, svid)| {
            let (at, why) = ends.get(&session).copied().map_or((None, None), |(at, why)| (Some(at), why));
            (svid, at, why)
        });
        revoked.insert(ended);
        let gap = (completeness == Completeness::Gap).then_some(now + self.given_lives_for);
        Ok(gap.max(self.loss.map(|loss| loss.lives_until())).filter(|until| *until > now))
    }
}

impl Found {
    fn read(&mut self, record: &Record, now: OffsetDateTime) {
        match serde_json::from_str(record.entry.get()) {
            Ok(Told::Intent { session: Some(session), svid: Given::X509 { serial, not_after: ends_at, signer } })
                if ends_at > now =>
            {
                if let Ok(session) = session.parse() {
                    let signer = self.signer(&signer.to_string());
                    self.svids.push((session, LiveSvid { serial, signer, ends_at }));
                }
            }
            Ok(Told::SessionEnded { session, why }) => {
                if let Ok(session) = session.parse() {
                    self.ends.insert(session, (record.at, why));
                }
            }
            Ok(Told::Intent { .. } | Told::Other) | Err(_) => {}
        }
    }

    /// The one copy of a name.
    fn signer(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.signers.get(name) {
            return Arc::clone(known);
        }
        let own: Arc<str> = name.into();
        self.signers.insert(Arc::clone(&own));
        own
    }
}
