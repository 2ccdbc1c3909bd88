//! What is equal within a minute is folded into one entry, so that a job in a loop cannot fill the disk.

use super::Job;
use crate::crypto::Digest;
use crate::people::Keeping;
use crate::policy::{Answers, Wish};
use crate::token::Claims;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// A no to a bearer whose token was genuine.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    /// Names the request.
    pub request_id: &'a str,
    /// The stable code.
    pub code: &'static str,
    /// Why, for operators.
    pub why: String,
    /// Who asked.
    pub job: &'a Job,
    /// The policy that decided, or would have.
    pub policy: Digest,
    /// What was asked, where policy said no.
    pub asked: Option<(&'a Claims, &'a Wish, &'a Keeping)>,
    /// What other systems had said, where they were asked.
    pub facts: Option<&'a Answers>,
}

/// What a rule on trial would have done.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Names the request.
    pub request_id: &'a str,
    /// The rule on trial.
    pub rule: &'a str,
    /// Of which policy.
    pub policy: Digest,
    /// The identity that it would give, or the code of its no.
    pub would: &'a str,
    /// Who asked.
    pub job: &'a Job,
}

/// Equal refusals within this span make one entry.
const FOLDED_FOR: Duration = Duration::from_secs(60);
/// How many different refusals are remembered; past that those of an issuer are folded together, whoever they are of.
const REMEMBERED_MAX: usize = 4096;

/// What was refused lately.
#[derive(Debug, Default)]
pub(super) struct Folding(Mutex<HashMap<Digest, Seen>>);

#[derive(Debug)]
struct Seen {
    since: OffsetDateTime,
    silent: u64,
}

impl Folding {
    /// How many were folded into this one; none if it is folded itself.
    pub(super) fn fold(&self, refused: &Refused<'_>, now: OffsetDateTime) -> Option<u64> {
        self.fold_by([refused.code, ""], (refused.job, &refused.policy), now)
    }

    /// The same for a rule on trial.
    pub(super) fn fold_trial(&self, observed: &Observed<'_>, now: OffsetDateTime) -> Option<u64> {
        self.fold_by([observed.rule, observed.would], (observed.job, &observed.policy), now)
    }

    /// The same for a delivery of the CI system.
    pub(super) fn fold_delivery(&self, issuer: &str, code: &str, now: OffsetDateTime) -> Option<u64> {
        let name = Digest::of_parts(&[b"delivery", code.as_bytes(), issuer.as_bytes()]);
        fold(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), [name; 2], now)
    }

    /// What two policies say is never equal: each entry names the one that all behind it are of.
    fn fold_by(&self, [what, more]: [&str; 2], (job, policy): (&Job, &Digest), now: OffsetDateTime) -> Option<u64> {
        let (what, more, issuer) = (what.as_bytes(), more.as_bytes(), job.issuer.0.as_bytes());
        let (project, id) = (job.project_id.to_be_bytes(), job.job_id.to_be_bytes());
        let name = Digest::of_parts(&[what, more, policy.as_bytes(), issuer, &project, &id]);
        let names = [name, Digest::of_parts(&[what, policy.as_bytes(), issuer])];
        fold(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), names, now)
    }
}

/// Folds by the first name, or by the second when no more of the first kind are remembered.
fn fold(seen: &mut HashMap<Digest, Seen>, [name, coarse]: [Digest; 2], now: OffsetDateTime) -> Option<u64> {
    if seen.len() >= REMEMBERED_MAX && !seen.contains_key(&name) {
        seen.retain(|_, last| now - last.since < FOLDED_FOR);
    }
    // As many more as there are codes, rules on trial and issuers.
    let name = if seen.len() < REMEMBERED_MAX || seen.contains_key(&name) { name } else { coarse };
    if let Some(last) = seen.get_mut(&name) {
        if now - last.since < FOLDED_FOR {
            last.silent += 1;
            return None;
        }
        let silent = last.silent;
        *last = Seen { since: now, silent: 0 };
        return Some(silent);
    }
    seen.insert(name, Seen { since: now, silent: 0 });
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{ClaimMap, IssuerName};

    fn job(job_id: u64) -> Job {
        Job {
            issuer: IssuerName("corp".into()),
            jti: "j".to_owned(),
            sub: "s".to_owned(),
            project_id: 1,
            project_path: "a/b".to_owned(),
            pipeline_id: 2,
            job_id,
            namespace_id: 0,
            token: None,
            person: None,
            more: ClaimMap::default(),
        }
    }

    fn refused(job: &Job) -> Refused<'_> {
        let (why, policy) = ("none".to_owned(), Digest::of(b"a policy"));
        Refused { request_id: "r", code: "no_rule_matches", why, job, policy, asked: None, facts: None }
    }

    #[test]
    fn a_job_in_a_loop_makes_one_entry_a_minute() {
        let (folding, now, job) = (Folding::default(), OffsetDateTime::UNIX_EPOCH, job(3));
        let refused = refused(&job);
        assert_eq!(folding.fold(&refused, now), Some(0));
        assert_eq!(folding.fold(&refused, now + Duration::from_secs(1)), None);
        assert_eq!(folding.fold(&refused, now + Duration::from_secs(59)), None);
        assert_eq!(folding.fold(&refused, now + Duration::from_secs(60)), Some(2));
    }

    #[test]
    fn what_another_policy_says_is_an_entry_of_its_own() {
        let (folding, now, job) = (Folding::default(), OffsetDateTime::UNIX_EPOCH, job(3));
        let after = Refused { policy: Digest::of(b"another"), ..refused(&job) };
        assert_eq!([folding.fold(&refused(&job), now), folding.fold(&refused(&job), now)], [Some(0), None]);
        assert_eq!([folding.fold(&after, now), folding.fold(&after, now)], [Some(0), None]);
    }

    #[test]
    fn more_jobs_than_are_remembered_do_not_write_more_entries() {
        let (folding, now) = (Folding::default(), OffsetDateTime::UNIX_EPOCH);
        let jobs = 2 * u64::try_from(REMEMBERED_MAX).unwrap();
        let entries = || (0..jobs).filter(|id| folding.fold(&refused(&job(*id)), now).is_some()).count();
        assert_eq!(entries(), REMEMBERED_MAX + 1);
        assert_eq!(entries(), 0);
    }
}
