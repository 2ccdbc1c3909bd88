//! Equal refusals are folded, so that a job in a loop cannot fill the disk.

use super::Job;
use crate::crypto::Digest;
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
}

/// Equal refusals within this span make one entry.
const FOLDED_FOR: Duration = Duration::from_secs(60);
/// How many different refusals are remembered; past that all are written.
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
        let job = refused.job;
        let name = Digest::of_parts(&[
            refused.code.as_bytes(),
            job.issuer.0.as_bytes(),
            &job.project_id.to_be_bytes(),
            &job.job_id.to_be_bytes(),
        ]);
        fold(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), name, now)
    }
}

fn fold(seen: &mut HashMap<Digest, Seen>, name: Digest, now: OffsetDateTime) -> Option<u64> {
    if let Some(last) = seen.get_mut(&name) {
        if now - last.since < FOLDED_FOR {
            last.silent += 1;
            return None;
        }
        let silent = last.silent;
        *last = Seen { since: now, silent: 0 };
        return Some(silent);
    }
    if seen.len() >= REMEMBERED_MAX {
        seen.retain(|_, last| now - last.since < FOLDED_FOR);
    }
    if seen.len() < REMEMBERED_MAX {
        seen.insert(name, Seen { since: now, silent: 0 });
    }
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::IssuerName;
    use std::collections::BTreeMap;

    #[test]
    fn a_job_in_a_loop_makes_one_entry_a_minute() {
        let job = Job {
            issuer: IssuerName("corp".into()),
            jti: "j".to_owned(),
            sub: "s".to_owned(),
            project_id: 1,
            project_path: "a/b".to_owned(),
            pipeline_id: 2,
            job_id: 3,
            more: BTreeMap::new(),
        };
        let refused = Refused { request_id: "r", code: "no_rule_matches", why: "none".to_owned(), job: &job };
        let folding = Folding::default();
        let now = OffsetDateTime::UNIX_EPOCH;
        assert_eq!(folding.fold(&refused, now), Some(0));
        assert_eq!(folding.fold(&refused, now + Duration::from_secs(1)), None);
        assert_eq!(folding.fold(&refused, now + Duration::from_secs(59)), None);
        assert_eq!(folding.fold(&refused, now + Duration::from_secs(60)), Some(2));
    }
}
