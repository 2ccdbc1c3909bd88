//! How sessions end before their time: a job is closed, its sessions are struck out, and their owners hear it.

use super::bans::Ban;
use super::keeper::{Sessions, parse, text};
use super::record::{JobName, Tombstone};
use super::{LiveSession, Selector, SessionError, SessionId};
use crate::audit::{Cause, Changes, Entry, Job, Ledger};
use crate::crypto::KeyId;
use crate::hooks::Scope;
use crate::store::{Committed, Condition, Version, Write};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::task::Poll;
use time::OffsetDateTime;

/// As many ends as a batch of the store takes.
const AT_ONCE: usize = 256;

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The agent of this job alone was told to stop.
    AgentStopped,
    /// An operator wants none of its kind.
    Banned,
    /// The agent of a host sees no process of the job any more.
    CgroupEmpty,
    /// The person who started the job is erased.
    Erased,
    /// The command of `exec --end` has ended.
    ExecEnd,
    /// The CI system says that the job is over.
    JobOver,
    /// The job itself said that it is over.
    Logout,
    /// Another system says that what the rule needs is so no longer.
    NeedFailed,
    /// Another key came with its token.
    Replayed,
    /// An operator ended it.
    Revoked,
}

impl EndReason {
    /// As entries and answers say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentStopped => "agent_stopped",
            Self::Banned => "banned",
            Self::CgroupEmpty => "cgroup_empty",
            Self::Erased => "erased",
            Self::ExecEnd => "exec_end",
            Self::JobOver => "job_over",
            Self::Logout => "logout",
            Self::NeedFailed => "need_failed",
            Self::Replayed => "replayed",
            Self::Revoked => "revoked",
        }
    }

    /// Whose word it was.
    const fn by(self) -> &'static str {
        match self {
            Self::AgentStopped | Self::CgroupEmpty | Self::ExecEnd | Self::Logout => "agent",
            Self::Banned | Self::Erased | Self::Revoked => "operator",
            Self::JobOver => "issuer",
            Self::NeedFailed | Self::Replayed => "server",
        }
    }
}

/// An operator's wish that sessions end.
#[derive(Clone, Copy, Debug)]
pub struct Revocation<'a> {
    /// Which.
    pub selector: &'a Selector,
    /// The operator's user id.
    pub uid: u32,
    /// Why, in the operator's words.
    pub reason: &'a str,
}

/// What ended, or would.
#[derive(Clone, Debug, Default)]
pub struct Struck {
    /// The sessions: each is one live identity.
    pub sessions: Vec<LiveSession>,
}

impl Struck {
    /// Of how many jobs.
    pub fn jobs(&self) -> usize {
        self.sessions.iter().map(|one| &one.job).collect::<HashSet<_>>().len()
    }

    /// When the last SVID ends that was given to one of them; none where there were none.
    pub fn svids_end_at(&self) -> Option<OffsetDateTime> {
        self.sessions.iter().map(|one| one.svids_end_at.min(one.ends_at)).max()
    }
}

/// An end, and who wanted it.
#[derive(Clone, Copy, Debug)]
struct End<'a> {
    reason: EndReason,
    uid: Option<u32>,
    say: Option<&'a str>,
    /// Whose jobs the one who wants it may end; none means all.
    within: Option<&'a Scope>,
}

impl<'a> End<'a> {
    const fn of(reason: EndReason) -> Self {
        Self { reason, uid: None, say: None, within: None }
    }

    /// As the journal says it.
    const fn cause(self) -> Cause<'a> {
        let Self { reason, uid, say, within: _ } = self;
        Cause { why: reason.as_str(), by: reason.by(), uid, say }
    }

    const fn of_operator(reason: EndReason, uid: u32, say: &'a str) -> Self {
        Self { reason, uid: Some(uid), say: Some(say), within: None }
    }
}

impl Sessions {
    /// Ends a session for its owner, and closes its job: no token of it opens anything any more. How many sessions ended.
    ///
    /// # Errors
    /// See [`SessionError`]; ending an ended session is no error.
    pub async fn end(
        &self,
        ledger: &Ledger,
        id: &SessionId,
        connection: KeyId,
        reason: EndReason,
    ) -> Result<usize, SessionError> {
        let (record, _) = self.record(id)?.ok_or(SessionError::Unknown)?;
        if record.owner != connection {
            return Err(SessionError::NotOwner);
        }
        if record.ended.is_some() {
            return Ok(0);
        }
        self.close_job(ledger, &JobName::of(&record.claims), reason, record.claims.expires_at).await
    }

    /// Closes a job, whether it has a session or not, until its tokens cannot be used any more. How many sessions ended.
    ///
    /// # Errors
    /// `Store`.
    pub async fn close_job(
        &self,
        ledger: &Ledger,
        job: &JobName,
        reason: EndReason,
        until: OffsetDateTime,
    ) -> Result<usize, SessionError> {
        self.close(ledger, job, until, End::of(reason)).await.map(|struck| struck.len())
    }

    /// Closes jobs that the CI system says are over, as far as they are in the scope of who said so. Which sessions ended.
    ///
    /// # Errors
    /// `Store`; then some may be closed, and hearing it again closes the rest.
    pub async fn close_jobs(
        &self,
        ledger: &Ledger,
        jobs: &[JobName],
        (within, until): (&Scope, OffsetDateTime),
    ) -> Result<usize, SessionError> {
        let end = End { within: Some(within), ..End::of(EndReason::JobOver) };
        let mut struck = 0;
        for jobs in jobs.chunks(AT_ONCE) {
            for closed in all(jobs.iter().map(|job| self.close(ledger, job, until, end))).await {
                struck += closed?.len();
            }
        }
        Ok(struck)
    }

    /// The live sessions that are meant; without a selector all.
    pub fn select(&self, selector: Option<&Selector>, now: OffsetDateTime) -> Struck {
        Struck { sessions: self.live.select(selector, now) }
    }

    /// What a revocation would end: a job ends whole, so the other sessions of its jobs too.
    pub fn would_strike(&self, selector: &Selector, now: OffsetDateTime) -> Struck {
        let jobs: HashSet<_> = self.live.select(Some(selector), now).into_iter().map(|one| one.job).collect();
        Struck { sessions: jobs.iter().flat_map(|job| self.live.of_job(job)).collect() }
    }

    /// Ends what lives and is meant, and closes its jobs.
    ///
    /// # Errors
    /// `Store`; then some may have ended, and asking again ends the rest.
    pub async fn revoke(
        &self,
        ledger: &Ledger,
        wish: &Revocation<'_>,
        now: OffsetDateTime,
    ) -> Result<Struck, SessionError> {
        let Revocation { selector, uid, reason } = *wish;
        self.know_all().await?; // others may have opened some just now
        let meant = self.would_strike(selector, now);
        let shown = selector.to_string();
        let sessions = meant.sessions.len();
        let entry = Entry::SessionsRevoked { selector: &shown, uid, say: reason, sessions };
        ledger.take_away(&entry, Changes::default()).await?;
        self.strike(ledger, meant, End::of_operator(EndReason::Revoked, uid, reason)).await
    }

    /// Ends what lives of a person who is erased; no entry says who that is.
    ///
    /// # Errors
    /// `Store`; what is left can be renewed by nobody.
    pub async fn end_erased(
        &self,
        ledger: &Ledger,
        wish: &Revocation<'_>,
        now: OffsetDateTime,
    ) -> Result<Struck, SessionError> {
        self.know_all().await?;
        let meant = self.would_strike(wish.selector, now);
        self.strike(ledger, meant, End::of_operator(EndReason::Erased, wish.uid, wish.reason)).await
    }

    /// Refuses whoever is meant from now on, and ends what lives of it.
    ///
    /// # Errors
    /// `Store`; where the ban itself was recorded, none is renewed, and asking again ends the rest.
    pub async fn ban(&self, ledger: &Ledger, ban: &Ban, now: OffsetDateTime) -> Result<Struck, SessionError> {
        self.bans.add(&*self.store, ledger, ban).await?;
        self.know_all().await?;
        self.strike_banned(ledger, ban, now).await
    }

    /// Ends what lives under a ban that is in force.
    pub(super) async fn strike_banned(
        &self,
        ledger: &Ledger,
        ban: &Ban,
        now: OffsetDateTime,
    ) -> Result<Struck, SessionError> {
        let end = End::of_operator(EndReason::Banned, ban.uid, &ban.reason);
        self.strike(ledger, self.would_strike(&ban.selector, now), end).await
    }

    /// Closes the jobs of these sessions, many at once.
    async fn strike(&self, ledger: &Ledger, meant: Struck, end: End<'_>) -> Result<Struck, SessionError> {
        let jobs: HashMap<_, _> = meant.sessions.into_iter().map(|one| (one.job, one.ends_at)).collect();
        let jobs: Vec<_> = jobs.into_iter().collect();
        let mut struck = Struck::default();
        for jobs in jobs.chunks(AT_ONCE) {
            let closing = jobs.iter().map(|(job, until)| self.close(ledger, job, *until, end));
            for closed in all(closing).await {
                struck.sessions.extend(closed?);
            }
        }
        Ok(struck)
    }

    /// Lays the tombstone; then nothing of the job can be committed, and whatever was is struck out and told. It stands
    /// until a time, and no shorter than a token that is known.
    async fn close(
        &self,
        ledger: &Ledger,
        job: &JobName,
        until: OffsetDateTime,
        end: End<'_>,
    ) -> Result<Vec<LiveSession>, SessionError> {
        loop {
            let first = self.live.of_job(job).into_iter().next();
            let may =
                |one: &LiveSession| end.within.is_none_or(|scope| scope.holds(job.project_id, &one.job_project_path));
            if first.as_ref().is_some_and(|one| !may(one)) {
                return Ok(Vec::new());
            }
            let written = first.as_ref().map(|one| one.id);
            let Grave { changes, in_doubt } = match self.grave(job, (first.as_ref(), until), end)? {
                Ground::Open(grave) => grave,
                // Whoever is still here was left by an end that broke off, or is just being told of it.
                Ground::Closed(why) => {
                    let first_end = why.filter(|why| *why != end.reason).map_or(end, End::of);
                    return first.map_or(Ok(Vec::new()), |_left| self.strike_out(ledger, job, (None, first_end)));
                }
            };
            let committed = match &first {
                Some(one) => {
                    let job = one.job_shown(self.people.form());
                    ledger.take_away(&ended(&one.id.to_string(), &job, end), changes).await?
                }
                None => ledger.commit_if_room(&closed(job, end), changes).await?,
            };
            let done = matches!(committed, Committed::Done(_));
            if done && !in_doubt {
                return self.strike_out(ledger, job, (written, end));
            }
            // Whoever was admitted just before is known by now.
            if done && self.live.of_job(job).is_empty() {
                return Ok(Vec::new());
            }
        }
    }

    /// What lays the tombstone, unless one stands that says as much.
    fn grave(
        &self,
        job: &JobName,
        (known, until): (Option<&LiveSession>, OffsetDateTime),
        end: End<'_>,
    ) -> Result<Ground, SessionError> {
        let until = known.map_or(until, |one| one.token_ends_at.max(until));
        let within = match (known, end.within) {
            (None, Some(Scope::Group(group))) => vec![group.clone()],
            (None, Some(Scope::Project(_)) | None) | (Some(_), _) => Vec::new(),
        };
        let mut tombstone = Tombstone { v: Version, until, why: Some(end.reason), within };
        let key = job.key();
        let mut condition = Condition::Absent(key.clone());
        if let Some(kept) = self.store.read(&key)? {
            condition = Condition::Unchanged(key.clone(), kept.revision);
            let old: Tombstone = parse(&kept.value)?;
            let why = old.why;
            let Some(both) = tombstone.beside(old, known.is_some()) else { return Ok(Ground::Closed(why)) };
            tombstone = both;
        }
        let in_doubt = !tombstone.within.is_empty();
        let changes = Changes { conditions: vec![condition], writes: vec![Write::Put(key, text(&tombstone)?)] };
        Ok(Ground::Open(Grave { changes, in_doubt }))
    }

    /// Owners first: they must hear it whatever becomes of the record.
    fn strike_out(
        &self,
        ledger: &Ledger,
        job: &JobName,
        (written, end): (Option<SessionId>, End<'_>),
    ) -> Result<Vec<LiveSession>, SessionError> {
        let struck = self.tell_ended(job, end.reason);
        for one in struck.iter().filter(|one| Some(one.id) != written) {
            ledger.note(&ended(&one.id.to_string(), &one.job_shown(self.people.form()), end))?;
        }
        Ok(struck)
    }
}

/// Where a tombstone would be laid.
enum Ground {
    /// Nothing stands that says as much.
    Open(Grave),
    /// The job is closed, for this reason where it is known.
    Closed(Option<EndReason>),
}

/// What lays a tombstone, and whether it closes the job only if it is one of some groups.
struct Grave {
    changes: Changes,
    in_doubt: bool,
}

fn ended<'a>(session: &'a str, job: &'a Job, end: End<'a>) -> Entry<'a> {
    Entry::SessionEnded { session, cause: end.cause(), job }
}

fn closed<'a>(job: &'a JobName, end: End<'a>) -> Entry<'a> {
    let JobName { issuer, project_id, job_id } = job;
    Entry::JobClosed { issuer: &issuer.0, project_id: *project_id, job_id: *job_id, cause: end.cause() }
}

/// Waits for all, in any order; answers in theirs.
async fn all<T, F: Future<Output = T>>(futures: impl Iterator<Item = F>) -> Vec<T> {
    let mut waiting: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut answers: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut ready = true;
        for (future, answer) in waiting.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(said) => *answer = Some(said),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}
