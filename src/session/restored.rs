//! What a server that starts finds in its store: the live sessions and the bans, read once.
//!
//! Of a session only what selectors look at is read: a start must not take longer for the other claims.

use super::bans::Bans;
use super::ends::Ends;
use super::keeper::{Sessions, later, parse};
use super::live::{LiveIndex, Noted};
use super::record::{JOB_PREFIX, JobName, SESSION_PREFIX, Tombstone};
use super::sweep::{session_prefixes, unreadable};
use super::{EndReason, Facets, Loss, SessionId};
use crate::crypto::KeyId;
use crate::people::{People, Personal, Sealed};
use crate::store::{Store, StoreError, Stored};
use crate::token::IssuerName;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, available_parallelism};
use std::time::Duration;
use time::OffsetDateTime;

/// No rule gives more; records of older versions do not say what theirs gave.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// A session's record, as far as it is read here.
#[derive(Deserialize)]
struct Kept<'a> {
    owner: KeyId,
    #[serde(with = "time::serde::timestamp")]
    ends_at: OffsetDateTime,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(default)]
    ttl: Option<u64>,
    #[serde(default)]
    signers: Vec<Arc<str>>,
    ended: Option<EndReason>,
    #[serde(borrow)]
    claims: KeptClaims<'a>,
    person: Option<Sealed>,
}

#[derive(Deserialize)]
struct KeptClaims<'a> {
    issuer: IssuerName,
    #[serde(with = "time::serde::timestamp")]
    issued_at: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    expires_at: OffsetDateTime,
    project_id: u64,
    #[serde(borrow)]
    project_path: Cow<'a, str>,
    namespace_id: u64,
    pipeline_id: u64,
    job_id: u64,
    #[serde(borrow)]
    more: More<'a>,
}

#[derive(Deserialize)]
struct More<'a> {
    #[serde(borrow)]
    ref_path: Option<Cow<'a, str>>,
    user_id: Option<u64>,
    #[serde(borrow)]
    user_login: Option<Cow<'a, str>>,
    runner_id: Option<u64>,
    job_project_id: Option<u64>,
    #[serde(borrow)]
    job_project_path: Option<Cow<'a, str>>,
}

/// What the records of the past come to.
struct Restored<'a> {
    live: &'a LiveIndex,
    people: &'a People,
    loss: Option<Loss>,
    /// Whether others give to these sessions, too.
    is_shared: bool,
    /// The longest that an SVID of theirs may live, in seconds.
    longest: AtomicU64,
}

impl Sessions {
    /// The sessions of a store.
    ///
    /// # Errors
    /// When the store cannot be read, or holds a ban that cannot: nobody may slip through it.
    pub fn open(store: Arc<dyn Store>, people: People, now: OffsetDateTime) -> Result<Self, StoreError> {
        let bans = Bans::load(&*store)?;
        let closed: HashMap<_, _> = store.list(JOB_PREFIX)?.into_iter().collect();
        let prefixes: Vec<_> = session_prefixes().collect();
        let loss = Loss::of(&*store)?;
        let live = LiveIndex::default();
        let is_shared = store.is_shared();
        let into = Restored { live: &live, people: &people, loss, is_shared, longest: AtomicU64::new(0) };
        // Reading is all in memory and parsing by then, so each core takes its part.
        let part = prefixes.len().div_ceil(available_parallelism().map_or(1, NonZero::get));
        thread::scope(|scope| {
            let read = |prefixes| restore_all(&*store, &into, prefixes, (&closed, now));
            let readers: Vec<_> = prefixes.chunks(part).map(|prefixes| scope.spawn(move || read(prefixes))).collect();
            readers.into_iter().try_for_each(|reader| reader.join().unwrap_or(Err(StoreError::Stopped)))
        })?;
        let given_lives_for = Duration::from_secs(into.longest.into_inner());
        let (live, bans, ends) = (Arc::new(live), Arc::new(bans), Ends::default());
        Ok(Self { store, live, bans, ends, people, revoked: None, given_lives_for, loss })
    }
}

impl Sessions {
    /// Takes up a session that another replica has admitted, or has learned something of.
    pub(super) fn take_up(&self, key: &str, kept: &Stored, now: OffsetDateTime) -> Result<(), StoreError> {
        let (longest, is_shared) = (AtomicU64::new(0), true);
        let into = Restored { live: &self.live, people: &self.people, loss: self.loss, is_shared, longest };
        restore(&into, key, kept, (&|job| self.store.read(job), now))
    }
}

fn restore_all(
    store: &dyn Store,
    into: &Restored<'_>,
    prefixes: &[String],
    (closed, now): (&HashMap<String, Stored>, OffsetDateTime),
) -> Result<(), StoreError> {
    for prefix in prefixes {
        for (key, kept) in store.list(prefix)? {
            let tombstone = |job: &str| Ok(closed.get(job).cloned());
            restore(into, &key, &kept, (&tombstone, now)).unwrap_or_else(|fault| unreadable(&key, &fault));
        }
    }
    Ok(())
}

/// What is kept of a job's end, by the job's key.
type Tombstones<'a> = &'a dyn Fn(&str) -> Result<Option<Stored>, StoreError>;

fn restore(
    into: &Restored<'_>,
    key: &str,
    kept: &Stored,
    (tombstone, now): (Tombstones<'_>, OffsetDateTime),
) -> Result<(), StoreError> {
    let Kept { owner, ends_at, rule, ttl, signers, ended, claims, person } = parse(&kept.value)?;
    into.longest.fetch_max(ttl.unwrap_or(TTL_MAX.as_secs()), Ordering::Relaxed);
    let KeptClaims { issuer, issued_at, expires_at, project_id, project_path, namespace_id, pipeline_id, job_id, more } =
        claims;
    let job = JobName { issuer, project_id: more.job_project_id.unwrap_or(project_id), job_id };
    let path = more.job_project_path.as_ref().unwrap_or(&project_path);
    let tombstone = tombstone(&job.key())?.map(|kept| parse::<Tombstone>(&kept.value)).transpose()?;
    let is_lost = into.loss.is_some_and(|loss| loss.covers(issued_at));
    if is_lost || ended.is_some() || ends_at <= now || tombstone.is_some_and(|tombstone| tombstone.closes(path)) {
        return Ok(());
    }
    let name = key.strip_prefix(SESSION_PREFIX).unwrap_or_default();
    let id: SessionId = name.parse().map_err(|_odd| StoreError::Index(std::io::ErrorKind::InvalidData.into()))?;
    let person = person.and_then(|sealed| into.people.open_sealed(&sealed));
    let (sealed_id, sealed_login) = person.as_ref().map(Personal::user).unwrap_or_default();
    let facets = Facets {
        issuer: &job.issuer.0,
        project_id,
        project_path: &project_path,
        namespace_id,
        pipeline_id,
        job_id,
        reference: more.ref_path.as_deref(),
        user_id: more.user_id.or(sealed_id),
        user_login: more.user_login.as_deref().or(sealed_login),
        runner_id: more.runner_id,
        rule: Some(&rule),
        signers: &signers,
    };
    // Renewals leave no trace in the record: the last SVID may have been given just before the stop.
    let given_before = ttl.filter(|_| !into.is_shared);
    let svids_end_at = given_before.map_or(ends_at, |ttl| ends_at.min(later(now, Duration::from_secs(ttl))));
    let (token_ends_at, job_project_path, svid) = (expires_at, &**path, None);
    into.live.restore(&Noted {
        id,
        owner,
        job: &job,
        job_project_path,
        facets,
        ends_at,
        svids_end_at,
        token_ends_at,
        svid,
    });
    Ok(())
}
