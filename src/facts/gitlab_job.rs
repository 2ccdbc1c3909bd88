//! `job.state`: what GitLab's jobs API says of the very job that the token is of.
//!
//! The job is asked for where it runs, which for a fork's merge request is not whose code it is. An answer counts only if it
//! agrees with the token in everything that both tell.

use super::{Api, FactSource, Silence};
use crate::policy::{Answer, Seen};
use crate::telemetry::quotable;
use crate::token::{ClaimView, Claims};
use serde::Deserialize;
use std::time::Duration;
use time::OffsetDateTime;

/// The SVIDs of one job share an answer; and a job that has ended is known to have ended that soon.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(5);

/// The jobs of one GitLab.
#[derive(Debug)]
pub(super) struct GitlabJob(pub(super) Api);

/// What we read of its answer (GitLab's jobs API, "Get a single job").
#[derive(Debug, Deserialize)]
pub(super) struct Job {
    id: u64,
    pipeline: Pipeline,
    #[serde(rename = "ref")]
    reference: String,
    runner: Option<Runner>,
    status: String,
    tag: bool,
    user: Option<User>,
}

#[derive(Debug, Deserialize)]
struct Pipeline {
    id: u64,
    sha: String,
}

#[derive(Debug, Deserialize)]
struct Runner {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct User {
    id: u64,
    state: String,
}

impl FactSource for GitlabJob {
    /// By project and job.
    type About = (u64, u64);
    /// None: it knows no such job, or shows it to somebody else.
    type Known = Option<Job>;

    fn about(&self, claims: &Claims) -> Result<Self::About, Answer> {
        Ok((claims.job_project_id(), claims.job_id))
    }

    fn is_of_project(&self, (project, _job): &Self::About, project_id: u64) -> bool {
        *project == project_id
    }

    fn has_answered_since(&self, then: OffsetDateTime) -> bool {
        self.0.has_answered_since(then)
    }

    async fn look(&self, (project, job): &Self::About) -> Result<Self::Known, Silence> {
        self.0.question().find(&format!("/projects/{project}/jobs/{job}"), "job").await
    }

    fn tell(&self, _fact: &'static str, job: &Self::Known, claims: &Claims) -> Answer {
        job.as_ref().map_or_else(
            || {
                Answer::No(
                    "GitLab shows no such job: it is gone, or the token_file's token may not see its project"
                        .to_owned(),
                )
            },
            |job| job.answer(claims),
        )
    }
}

impl Job {
    fn answer(&self, claims: &Claims) -> Answer {
        match self.disagreement(claims) {
            Some(why) => Answer::No(why),
            None => Answer::Is(Seen::Text(quotable(&self.status))),
        }
    }

    /// The first thing that GitLab says otherwise than the token; of whom it says it, is not told: persons may be sealed
    /// in the journal, where this text goes. What a token of an older GitLab leaves out is not held
    /// against the job; what GitLab leaves out and the token says, is.
    fn disagreement(&self, claims: &Claims) -> Option<String> {
        let told = |claim: &str| claims.view(claim).map(|value| value.to_string());
        let differs = |name: &str, got: Option<String>, claim: &str| {
            let wanted = told(claim).filter(|wanted| got.as_ref() != Some(wanted))?;
            let got = got.map_or_else(|| "none".to_owned(), |got| quotable(&got));
            Some(format!("GitLab says that its {name} is {got}, and the token that {claim} is {}", quotable(&wanted)))
        };
        let (user, runner) = (self.user.as_ref(), self.runner.as_ref());
        let is_tag = claims.view("ref_type").map(|kind| kind == ClaimView::Text("tag"));
        differs("id", Some(self.id.to_string()), "job_id")
            .or_else(|| differs("pipeline", Some(self.pipeline.id.to_string()), "pipeline_id"))
            .or_else(|| differs("commit", Some(self.pipeline.sha.clone()), "sha"))
            .or_else(|| {
                (!self.is_of_merge_request(claims)).then(|| differs("ref", Some(self.reference.clone()), "ref"))?
            })
            .or_else(|| {
                let is_otherwise = is_tag.is_some_and(|is_tag| is_tag != self.tag);
                is_otherwise.then(|| format!("GitLab says tag = {}, and the token otherwise", self.tag))
            })
            .or_else(|| {
                let is_otherwise =
                    told("user_id").is_some_and(|wanted| user.is_none_or(|user| user.id.to_string() != wanted));
                is_otherwise.then(|| "GitLab does not say that its user is the token's".to_owned())
            })
            .or_else(|| differs("runner", runner.map(|runner| runner.id.to_string()), "runner_id"))
            .or_else(|| {
                let user = user.filter(|user| user.state != "active")?;
                Some(format!("GitLab says that its user is {}", quotable(&user.state)))
            })
    }

    /// A merge request's job has the ref `refs/merge-requests/7/head`, and a token that names the source branch.
    fn is_of_merge_request(&self, claims: &Claims) -> bool {
        let of_merge_request = claims.view("pipeline_source") == Some(ClaimView::Text("merge_request_event"));
        let inner = self.reference.strip_prefix("refs/merge-requests/").and_then(|rest| rest.split_once('/'));
        of_merge_request
            && inner.is_some_and(|(number, kind)| {
                number.parse::<u64>().is_ok() && matches!(kind, "head" | "merge" | "train")
            })
    }
}
