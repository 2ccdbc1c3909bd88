//! The live sessions, in memory: what operators select among, and how many there are. The store decides; this only finds.
//!
//! **Invariant**: whatever the store holds as live stands here, since a session is noted before it is committed, and again
//! at each renewal. What was noted and then did not come to be is withdrawn, or forgotten at its end.

use super::record::JobName;
use super::{Facets, Selector, SessionId};
use crate::audit::Job;
use crate::crypto::KeyId;
use crate::people::Form;
use crate::svid::Serial;
use crate::token::ClaimValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// A live session.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub owner: KeyId,
    /// Of which job.
    pub job: JobName,
    /// Whose code it is.
    pub project_id: u64,
    /// The project's path at the time.
    pub project_path: Arc<str>,
    /// The path of the project that the job runs in.
    pub job_project_path: Arc<str>,
    /// The namespace that holds the project.
    pub namespace_id: u64,
    /// The pipeline.
    pub pipeline_id: u64,
    /// `ref_path`.
    pub reference: Option<Arc<str>>,
    /// Who started the job.
    pub user_id: Option<u64>,
    /// The same person's login.
    pub user_login: Option<Arc<str>>,
    /// The runner.
    pub runner_id: Option<u64>,
    /// The rule that opened it.
    pub rule: Arc<str>,
    /// Which keys of ours have signed for it, the newest last.
    pub signers: Vec<Arc<str>>,
    /// Until when it is renewed.
    pub ends_at: OffsetDateTime,
    /// When its last SVID ends, at the latest.
    pub svids_end_at: OffsetDateTime,
    /// Until when its token is good.
    pub token_ends_at: OffsetDateTime,
    /// Its X.509-SVIDs that still live; none where nobody makes revocation lists.
    pub svids: Vec<LiveSvid>,
}

/// An X.509-SVID that lives.
#[derive(Clone, Debug)]
pub struct LiveSvid {
    /// Which.
    pub serial: Serial,
    /// Which key of ours signed it.
    pub signer: Arc<str>,
    /// Until when.
    pub ends_at: OffsetDateTime,
}

impl LiveSession {
    /// What the journal says of its job when it ends. The rest stands in the entries of its SVIDs; nothing is read for it,
    /// since a thousand may end at once.
    pub(super) fn job_shown(&self, form: Form) -> Job {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(|text| ClaimValue::Text(text.to_owned()));
        // The person stands, sealed, in the entries of its SVIDs.
        let in_the_clear = form == Form::Plain;
        let more = [
            ("ref_path", text(&self.reference)),
            ("user_login", text(&self.user_login).filter(|_| in_the_clear)),
            ("user_id", self.user_id.map(ClaimValue::Id).filter(|_| in_the_clear)),
            ("runner_id", self.runner_id.map(ClaimValue::Id)),
        ];
        Job {
            issuer: self.job.issuer.clone(),
            jti: String::new(),
            sub: String::new(),
            project_id: self.project_id,
            project_path: self.project_path.to_string(),
            pipeline_id: self.pipeline_id,
            job_id: self.job.job_id,
            namespace_id: self.namespace_id,
            token: None,
            person: None,
            more: more.into_iter().filter_map(|(name, value)| Some((Cow::Borrowed(name), value?))).collect(),
        }
    }

    /// What selectors look at.
    pub(super) fn facets(&self) -> Facets<'_> {
        Facets {
            issuer: &self.job.issuer.0,
            project_id: self.project_id,
            project_path: &self.project_path,
            namespace_id: self.namespace_id,
            pipeline_id: self.pipeline_id,
            job_id: self.job.job_id,
            reference: self.reference.as_deref(),
            user_id: self.user_id,
            user_login: self.user_login.as_deref(),
            runner_id: self.runner_id,
            rule: Some(&self.rule),
            signers: &self.signers,
        }
    }
}

/// A session as it is noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted<'a> {
    pub(super) id: SessionId,
    pub(super) owner: KeyId,
    pub(super) job: &'a JobName,
    pub(super) job_project_path: &'a str,
    pub(super) facets: Facets<'a>,
    pub(super) ends_at: OffsetDateTime,
    pub(super) svids_end_at: OffsetDateTime,
    pub(super) token_ends_at: OffsetDateTime,
    /// What it is about to be given, and now.
    pub(super) svid: Option<(&'a LiveSvid, OffsetDateTime)>,
}

/// See the file's opening words.
#[derive(Debug, Default)]
pub(super) struct LiveIndex(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    /// Most jobs have one session.
    jobs: HashMap<JobName, Vec<LiveSession>>,
    /// Paths, refs, logins and rules are the same for many.
    texts: HashSet<Arc<str>>,
}

impl LiveIndex {
    /// Notes a session, or what is new of it. Whether nothing was known of it.
    pub(super) fn note(&self, noted: &Noted<'_>) -> bool {
        let Facets { signers, .. } = noted.facets;
        let name = noted.job.clone();
        let mut inside = self.inside();
        if let Some(known) = inside.jobs.get_mut(&name).and_then(|all| all.iter_mut().find(|one| one.is(noted))) {
            known.svids_end_at = known.svids_end_at.max(noted.svids_end_at);
            // The newest stands last.
            if let Some(newest) = signers.last() {
                known.signers.retain(|signer| signer != newest);
                known.signers.push(Arc::clone(newest));
            }
            known.hold(noted.svid);
            return false;
        }
        let live = inside.live(noted, name.clone());
        inside.jobs.entry(name).and_modify(|all| all.push(live.clone())).or_insert_with(|| vec![live]);
        true
    }

    /// Takes one back that did not come to be.
    pub(super) fn withdraw(&self, job: &JobName, id: &SessionId, owner: &KeyId) {
        let mut inside = self.inside();
        let Some(all) = inside.jobs.get_mut(job) else { return };
        all.retain(|one| one.id != *id || one.owner != *owner);
        if all.is_empty() {
            inside.jobs.remove(job);
        }
    }

    /// The sessions of a job.
    pub(super) fn of_job(&self, job: &JobName) -> Vec<LiveSession> {
        self.inside().jobs.get(job).cloned().unwrap_or_default()
    }

    /// The sessions of a job, which has been closed.
    pub(super) fn take_job(&self, job: &JobName) -> Vec<LiveSession> {
        self.inside().jobs.remove(job).unwrap_or_default()
    }

    /// The live sessions that are meant; without a selector all.
    pub(super) fn select(&self, selector: Option<&Selector>, now: OffsetDateTime) -> Vec<LiveSession> {
        let meant = |one: &&LiveSession| selector.is_none_or(|selector| selector.fits(&one.facets()));
        let inside = self.inside();
        inside.jobs.values().flatten().filter(|one| one.ends_at > now).filter(meant).cloned().collect()
    }

    /// The keys that own the live sessions.
    pub(super) fn owners(&self, now: OffsetDateTime) -> HashSet<KeyId> {
        let inside = self.inside();
        inside.jobs.values().flatten().filter(|one| one.ends_at > now).map(|one| one.owner).collect()
    }

    /// How many live sessions have their newest SVID from each of these signers.
    pub(super) fn count_by_signer(&self, signers: &BTreeSet<String>, now: OffsetDateTime) -> BTreeMap<Arc<str>, usize> {
        // The last SVID of one that has ended is good for a while, too.
        let live = |one: &&LiveSession| one.ends_at.max(one.svids_end_at) > now;
        let newest = |one: &LiveSession| one.signers.iter().rev().find(|signer| signers.contains(&***signer)).cloned();
        let mut counts = BTreeMap::new();
        self.inside().jobs.values().flatten().filter(live).filter_map(newest).for_each(|signer| {
            *counts.entry(signer).or_default() += 1;
        });
        counts
    }

    /// Adds what a former run has given to the sessions that live; answers what was given to others.
    pub(super) fn adopt(&self, given: Vec<(SessionId, LiveSvid)>, now: OffsetDateTime) -> Vec<(SessionId, LiveSvid)> {
        let mut of_session: HashMap<SessionId, Vec<LiveSvid>> = HashMap::new();
        for (session, svid) in given {
            of_session.entry(session).or_default().push(svid);
        }
        for live in self.inside().jobs.values_mut().flatten() {
            for svid in of_session.remove(&live.id).unwrap_or_default() {
                live.hold(Some((&svid, now)));
            }
        }
        of_session.into_iter().flat_map(|(id, all)| all.into_iter().map(move |svid| (id, svid))).collect()
    }

    /// Forgets what has ended by its time, and says how many live.
    pub(super) fn sweep(&self, now: OffsetDateTime) -> usize {
        let mut inside = self.inside();
        inside.jobs.retain(|_, all| {
            all.retain(|one| one.ends_at > now);
            !all.is_empty()
        });
        inside.texts.retain(|text| Arc::strong_count(text) > 1);
        inside.jobs.values().map(Vec::len).sum()
    }

    /// A holder that panicked left whole sessions behind.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveSession {
    /// A token that two keys raced for stands here twice until one has lost.
    fn is(&self, noted: &Noted<'_>) -> bool {
        self.id == noted.id && self.owner == noted.owner
    }

    /// Remembers an SVID, once, and forgets those that have ended.
    fn hold(&mut self, svid: Option<(&LiveSvid, OffsetDateTime)>) {
        let Some((svid, now)) = svid else { return };
        self.svids.retain(|held| held.ends_at > now && held.serial != svid.serial);
        // There are a hundred thousand of these lists, and most stay this short.
        self.svids.reserve_exact(1);
        self.svids.push(svid.clone());
    }
}

impl Inside {
    fn live(&mut self, noted: &Noted<'_>, job: JobName) -> LiveSession {
        let of = noted.facets;
        LiveSession {
            id: noted.id,
            owner: noted.owner,
            job,
            project_id: of.project_id,
            project_path: self.text(of.project_path),
            job_project_path: self.text(noted.job_project_path),
            namespace_id: of.namespace_id,
            pipeline_id: of.pipeline_id,
            reference: of.reference.map(|text| self.text(text)),
            user_id: of.user_id,
            user_login: of.user_login.map(|text| self.text(text)),
            runner_id: of.runner_id,
            rule: self.text(of.rule.unwrap_or_default()),
            signers: of.signers.iter().map(|text| self.text(text)).collect(),
            ends_at: noted.ends_at,
            svids_end_at: noted.svids_end_at,
            token_ends_at: noted.token_ends_at,
            svids: noted.svid.map(|(svid, _now)| svid.clone()).into_iter().collect(),
        }
    }

    /// The one copy of a text.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let own: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&own));
        own
    }
}
