//! The live sessions, in memory: what operators select among, and how many there are. The store decides; this only finds.
//!
//! **Invariant**: whatever the store holds as live stands here, since a session is noted before it is committed, and again
//! at each renewal. What was noted and then did not come to be is withdrawn, unless others still try for the same session,
//! or forgotten at its end.

use super::record::JobName;
use super::{Facets, Selector, SessionId};
use crate::audit::Job;
use crate::crypto::KeyId;
use crate::people::Form;
use crate::svid::Serial;
use crate::token::{ClaimValue, IssuerName};
use std::borrow::Cow;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// A session renews each of its few SVIDs at half its life. Who asks for many more fills memory and every consumer's list.
pub(super) const SVIDS_MAX: usize = 256;

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

/// Sessions with their owners' keys, by the user who started their jobs.
pub type ByUser = BTreeMap<(IssuerName, u64), Vec<(SessionId, KeyId)>>;

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
    /// Most jobs have one session. In order, so that those of one project stand together.
    jobs: BTreeMap<JobName, Vec<Entry>>,
    /// Jobs that run in another project than their code is of, by that one: a fork's merge requests. Those that have ended stand
    /// here until the next sweep.
    forks: BTreeSet<(u64, JobName)>,
    /// Paths, refs, logins and rules are the same for many.
    texts: HashSet<Arc<str>>,
}

#[derive(Debug)]
struct Entry {
    session: LiveSession,
    /// How many admissions of it are under way.
    coming: u32,
    /// Whether one of it was committed.
    stands: bool,
}

impl Entry {
    fn comes_again(&mut self, noted: &Noted<'_>) {
        self.coming += 1;
        let session = &mut self.session;
        session.svids_end_at = session.svids_end_at.max(noted.svids_end_at);
        // The newest stands last.
        if let Some(newest) = noted.facets.signers.last() {
            session.signers.retain(|signer| signer != newest);
            session.signers.push(Arc::clone(newest));
        }
        session.hold(noted.svid);
    }
}

impl LiveIndex {
    /// Notes that an admission of a session is under way, and what is new of it.
    pub(super) fn note(&self, noted: &Noted<'_>) {
        let mut inside = self.inside();
        match inside.find(noted.job, (&noted.id, &noted.owner)) {
            Some(known) => known.comes_again(noted),
            None => inside.add(noted, (1, false)),
        }
    }

    /// Whether this session may be given one more SVID that stands on a list when it is taken back.
    pub(super) fn has_room(&self, job: &JobName, id: &SessionId, now: OffsetDateTime) -> bool {
        let lives = |one: &Entry| one.session.svids.iter().filter(|svid| svid.ends_at > now).count();
        let of_session = |all: &Vec<Entry>| all.iter().find(|one| one.session.id == *id).map(lives);
        let held = self.inside().jobs.get(job).and_then(of_session);
        held.is_none_or(|held| held < SVIDS_MAX)
    }

    /// Takes up what the store has. What is known already may have got other signers elsewhere.
    pub(super) fn restore(&self, noted: &Noted<'_>) {
        let mut inside = self.inside();
        let signers: Vec<_> = noted.facets.signers.iter().map(|text| inside.text(text)).collect();
        match inside.find(noted.job, (&noted.id, &noted.owner)) {
            Some(known) => (known.session.signers, known.stands) = (signers, true),
            None => inside.add(noted, (0, true)),
        }
    }

    /// An admission was committed.
    pub(super) fn settle(&self, job: &JobName, session: (&SessionId, &KeyId)) {
        if let Some(known) = self.inside().find(job, session) {
            (known.coming, known.stands) = (known.coming.saturating_sub(1), true);
        }
    }

    /// An admission did not come to be.
    pub(super) fn withdraw(&self, job: &JobName, session: (&SessionId, &KeyId)) {
        let mut inside = self.inside();
        let Some(known) = inside.find(job, session) else { return };
        known.coming = known.coming.saturating_sub(1);
        let Some(all) = inside.jobs.get_mut(job) else { return };
        all.retain(|one| one.stands || one.coming > 0);
        if all.is_empty() {
            inside.jobs.remove(job);
        }
    }

    /// The sessions of a job.
    pub(super) fn of_job(&self, job: &JobName) -> Vec<LiveSession> {
        self.inside().jobs.get(job).into_iter().flatten().map(|one| one.session.clone()).collect()
    }

    /// The sessions of a job, which has been closed.
    pub(super) fn take_job(&self, job: &JobName) -> Vec<LiveSession> {
        self.inside().jobs.remove(job).into_iter().flatten().map(|one| one.session).collect()
    }

    /// The live sessions that are meant; without a selector all.
    pub(super) fn select(&self, selector: Option<&Selector>, now: OffsetDateTime) -> Vec<LiveSession> {
        let meant = |one: &&LiveSession| selector.is_none_or(|selector| selector.fits(&one.facets()));
        let inside = self.inside();
        inside
            .jobs
            .values()
            .flatten()
            .map(|one| &one.session)
            .filter(|one| one.ends_at > now)
            .filter(meant)
            .cloned()
            .collect()
    }

    /// The keys that own the live sessions.
    pub(super) fn owners(&self, now: OffsetDateTime) -> HashSet<KeyId> {
        let inside = self.inside();
        inside.jobs.values().flatten().filter(|one| one.session.ends_at > now).map(|one| one.session.owner).collect()
    }

    /// The live sessions that these rules opened, by whose they are.
    pub(super) fn by_user(&self, rules: &BTreeSet<&str>, now: OffsetDateTime) -> ByUser {
        let mut all = ByUser::new();
        for one in self.inside().jobs.values().flatten().map(|one| &one.session) {
            let user = one.user_id.filter(|_| one.ends_at > now && rules.contains(&*one.rule));
            if let Some(user_id) = user {
                all.entry((one.job.issuer.clone(), user_id)).or_default().push((one.id, one.owner));
            }
        }
        all
    }

    /// The live sessions of jobs that run in a project, or of its code.
    pub(super) fn of_project(
        &self,
        issuer: &IssuerName,
        project_id: u64,
        now: OffsetDateTime,
    ) -> Vec<(SessionId, KeyId)> {
        let inside = self.inside();
        let live = inside.of_project(issuer, project_id).filter(|one| one.ends_at > now);
        let found = live.map(|one| (one.id, one.owner)).collect();
        drop(inside);
        found
    }

    /// How many sessions have a live SVID whose newest is from each of these signers. One that has ended counts until its
    /// last SVID is over, and one that nobody renews any more does not.
    pub(super) fn count_by_signer(&self, signers: &BTreeSet<String>, now: OffsetDateTime) -> BTreeMap<Arc<str>, usize> {
        let live = |one: &&LiveSession| one.svids_end_at > now;
        let newest = |one: &LiveSession| one.signers.iter().rev().find(|signer| signers.contains(&***signer)).cloned();
        let mut counts = BTreeMap::new();
        self.inside().jobs.values().flatten().map(|one| &one.session).filter(live).filter_map(newest).for_each(
            |signer| {
                *counts.entry(signer).or_default() += 1;
            },
        );
        counts
    }

    /// Adds what a former run has given to the sessions that live; answers what was given to others.
    pub(super) fn adopt(&self, given: Vec<(SessionId, LiveSvid)>, now: OffsetDateTime) -> Vec<(SessionId, LiveSvid)> {
        let mut of_session: HashMap<SessionId, Vec<LiveSvid>> = HashMap::new();
        for (session, svid) in given {
            of_session.entry(session).or_default().push(svid);
        }
        for live in self.inside().jobs.values_mut().flatten() {
            for svid in of_session.remove(&live.session.id).unwrap_or_default() {
                live.session.hold(Some((&svid, now)));
            }
        }
        of_session.into_iter().flat_map(|(id, all)| all.into_iter().map(move |svid| (id, svid))).collect()
    }

    /// Forgets what has ended by its time, and says how many live.
    pub(super) fn sweep(&self, now: OffsetDateTime) -> usize {
        let mut inside = self.inside();
        inside.jobs.retain(|_, all| {
            all.retain(|one| one.session.ends_at > now);
            !all.is_empty()
        });
        inside.texts.retain(|text| Arc::strong_count(text) > 1);
        let Inside { jobs, forks, .. } = &mut *inside;
        forks.retain(|(_, job)| jobs.contains_key(job));
        inside.jobs.values().map(Vec::len).sum()
    }

    /// A holder that panicked left whole sessions behind.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveSession {
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
    /// A token that two keys raced for stands here twice until one has lost.
    fn find(&mut self, job: &JobName, (id, owner): (&SessionId, &KeyId)) -> Option<&mut Entry> {
        self.jobs.get_mut(job)?.iter_mut().find(|one| one.session.id == *id && one.session.owner == *owner)
    }

    fn add(&mut self, noted: &Noted<'_>, (coming, stands): (u32, bool)) {
        let entry = Entry { session: self.live(noted), coming, stands };
        if noted.facets.project_id != noted.job.project_id {
            self.forks.insert((noted.facets.project_id, noted.job.clone()));
        }
        match self.jobs.entry(noted.job.clone()) {
            Occupied(mut all) => all.get_mut().push(entry),
            Vacant(none) => drop(none.insert(vec![entry])),
        }
    }

    /// The sessions of jobs that run in a project, or of its code. No others are looked at.
    fn of_project(&self, issuer: &IssuerName, project_id: u64) -> impl Iterator<Item = &LiveSession> {
        let job = |project_id, job_id| JobName { issuer: issuer.clone(), project_id, job_id };
        let here = self.jobs.range(job(project_id, 0)..=job(project_id, u64::MAX)).map(|(_, all)| all);
        let forks = self.forks.range((project_id, job(0, 0))..=(project_id, job(u64::MAX, u64::MAX)));
        let elsewhere = forks.filter_map(|(_, job)| self.jobs.get(job));
        here.chain(elsewhere).flatten().map(|one| &one.session)
    }

    fn live(&mut self, noted: &Noted<'_>) -> LiveSession {
        let of = noted.facets;
        LiveSession {
            id: noted.id,
            owner: noted.owner,
            job: noted.job.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn job(project_id: u64, job_id: u64) -> JobName {
        JobName { issuer: IssuerName("corp".into()), project_id, job_id }
    }

    fn id_of(job: &JobName) -> SessionId {
        format!("{:032x}{:032x}", job.project_id, job.job_id).parse().unwrap()
    }

    /// A session of a job whose code is of a project, for an hour.
    fn noted(job: &JobName, project_id: u64) -> Noted<'_> {
        let facets = Facets {
            issuer: "corp",
            project_id,
            project_path: "acme/api",
            namespace_id: 1,
            pipeline_id: 2,
            job_id: job.job_id,
            reference: None,
            user_id: None,
            user_login: None,
            runner_id: None,
            rule: None,
            signers: &[],
        };
        let (owner, ends_at) = (KeyId::of_spki(b"key"), NOW + time::Duration::HOUR);
        let (svids_end_at, token_ends_at, job_project_path) = (ends_at, ends_at, "acme/api");
        let id = id_of(job);
        Noted { id, owner, job, job_project_path, facets, ends_at, svids_end_at, token_ends_at, svid: None }
    }

    #[test]
    fn what_happens_in_a_project_has_its_own_sessions_looked_at_and_no_others() {
        let live = LiveIndex::default();
        for project in 1..=100 {
            for at in 0..100 {
                live.note(&noted(&job(project, at), project));
            }
        }
        let fork = job(7, 1000);
        live.note(&noted(&fork, 4711));
        let looked_at = |project: u64| live.inside().of_project(&job(0, 0).issuer, project).count();
        assert_eq!((looked_at(7), looked_at(4711), looked_at(101)), (101, 1, 0), "of 10,001 sessions");
        assert_eq!(live.of_project(&fork.issuer, 4711, NOW), [(id_of(&fork), KeyId::of_spki(b"key"))]);
        assert!(live.of_project(&IssuerName("other".into()), 4711, NOW).is_empty());
        live.take_job(&fork);
        assert_eq!((looked_at(7), looked_at(4711)), (100, 0));
        live.sweep(NOW);
        assert!(live.inside().forks.is_empty());
    }

    #[test]
    fn a_session_that_two_requests_try_for_is_found_until_the_last_has_failed() {
        let (live, job) = (LiveIndex::default(), job(4711, 1977));
        let (id, owner, noted) = (id_of(&job), KeyId::of_spki(b"key"), noted(&job, 4711));
        for _twin in 0..2 {
            live.note(&noted);
        }
        live.withdraw(&job, (&id, &owner));
        assert_eq!(live.of_job(&job).len(), 1, "the other may still be admitted");
        live.settle(&job, (&id, &owner));
        live.note(&noted);
        live.withdraw(&job, (&id, &owner));
        assert_eq!(live.of_job(&job).len(), 1, "it was admitted");
        live.take_job(&job);
        live.note(&noted);
        live.withdraw(&job, (&id, &owner));
        assert!(live.of_job(&job).is_empty());
    }
}
