//! `job.state`: what GitLab's jobs API says of the very job that the token is of.
//!
//! The job is asked for where it runs, which for a fork's merge request is not whose code it is. An answer counts only if it
//! agrees with the token in everything that both tell. One job's answer is shared for a few seconds; what a
//! `Retry-After` says holds for all of the issuer's jobs.

use super::flights::Flights;
use super::{Asking, FactSource};
use crate::clock::Clock;
use crate::discovery::{Fetch, FetchError, Secret, read_token, wait_of};
use crate::policy::{Answer, Seen};
use crate::telemetry::{chain, quotable};
use crate::token::{ClaimView, Claims, IssuerName};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// The header of GitLab's access tokens.
pub const TOKEN_HEADER: &str = "PRIVATE-TOKEN";
/// GitLab's limits are per minute; a longer wait is somebody's mistake, and would silence the needs of all jobs.
const QUIET_FOR_MAX: Duration = Duration::from_secs(300);

/// Where an issuer's API is, and what lets us in.
#[derive(Clone, Debug)]
pub struct GitlabApi {
    /// Whose jobs it knows.
    pub issuer: IssuerName,
    /// Up to its version, without a slash behind it: see [`api_of`].
    pub url: String,
    /// A token with the scope `read_api`.
    pub token_file: PathBuf,
    /// The only CA trusted for it, PEM; none for the system's.
    pub ca_pem: Option<Vec<u8>>,
}

impl GitlabApi {
    /// What can be asked of it.
    pub const FACTS: [&'static str; 1] = ["job.state"];
}

/// Where a GitLab's API is unless it was moved.
pub fn api_of(gitlab: &str) -> String {
    format!("{}/api/v4", gitlab.strip_suffix('/').unwrap_or(gitlab))
}

/// The jobs of one GitLab.
#[derive(Debug)]
pub(super) struct GitlabJob {
    api: GitlabApi,
    clock: Arc<dyn Clock>,
    fetch: Arc<dyn Fetch>,
    /// By project and job.
    flights: Flights<(u64, u64), Told>,
    quiet: Mutex<Option<Quiet>>,
}

/// What GitLab said of a job; shared.
type Told = Arc<Result<Job, Silence>>;

/// Why it said nothing of use.
#[derive(Debug)]
enum Silence {
    /// It knows no such job, or shows it to somebody else.
    NoSuchJob,
    /// It could not be asked.
    Away { why: String, retry_after: Option<u64> },
}

/// GitLab wants to be left alone.
#[derive(Clone, Debug)]
struct Quiet {
    until: OffsetDateTime,
    why: String,
}

/// What we read of its answer (GitLab's jobs API, "Get a single job").
#[derive(Debug, Deserialize)]
struct Job {
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

impl GitlabJob {
    pub(super) fn new(api: GitlabApi, fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        Self { api, flights: Flights::new(Arc::clone(&clock)), clock, fetch, quiet: Mutex::default() }
    }

    async fn state(&self, claims: &Claims) -> Answer {
        let about = (project_of(claims), claims.job_id);
        let Some(told) = self.flights.of(about, self.look(about)).await else {
            let why = "too many jobs are asked about at once".to_owned();
            return Answer::Unavailable { why, retry_after: None };
        };
        match &*told {
            Ok(job) => job.answer(claims),
            Err(Silence::NoSuchJob) => Answer::No(
                "GitLab shows no such job: it is gone, or the token_file's token may not see its project".to_owned(),
            ),
            Err(Silence::Away { why, retry_after }) => {
                Answer::Unavailable { why: why.clone(), retry_after: *retry_after }
            }
        }
    }

    async fn look(&self, (project, job): (u64, u64)) -> Told {
        let outcome = match self.quiet() {
            Some(quiet) => Err(quiet),
            None => self.fetch(project, job).await,
        };
        Arc::new(outcome)
    }

    async fn fetch(&self, project: u64, job: u64) -> Result<Job, Silence> {
        let away = |why| Silence::Away { why, retry_after: None };
        let token = read_token(&self.api.token_file).map_err(|error| away(chain(&error)))?;
        let url = format!("{}/projects/{project}/jobs/{job}", self.api.url);
        let secret = Secret { header: TOKEN_HEADER, value: &token };
        let body = self.fetch.ask(&url, self.api.ca_pem.as_deref(), secret).await;
        let body = body.map_err(|error| self.silence(&error))?;
        let no_job =
            |error: serde_json::Error| format!("{url} answered with no job ({})", quotable(&error.to_string()));
        serde_json::from_slice(&body).map_err(|error| away(no_job(error)))
    }

    /// What an answer other than 200 means. That it does not take our token is our fault, not the job's.
    fn silence(&self, error: &FetchError) -> Silence {
        let why = chain(error);
        let FetchError::Status { status, retry_after, .. } = error else {
            return Silence::Away { why, retry_after: None };
        };
        match status.as_u16() {
            404 => Silence::NoSuchJob,
            401 | 403 => {
                let why = format!("{why}: the token_file's token is not taken; it needs the scope read_api");
                Silence::Away { why, retry_after: None }
            }
            _ => {
                let wait = retry_after.as_deref().and_then(|text| wait_of(text, self.clock.now()));
                Silence::Away { retry_after: wait.map(|wait| self.be_quiet(wait, &why)), why }
            }
        }
    }

    /// Asks nothing more of this GitLab for so long; gives the seconds.
    fn be_quiet(&self, wait: Duration, why: &str) -> u64 {
        let wait = wait.min(QUIET_FOR_MAX);
        let quiet = Quiet { until: self.clock.now() + wait, why: why.to_owned() };
        *self.quiet.lock().unwrap_or_else(PoisonError::into_inner) = Some(quiet);
        wait.as_secs()
    }

    fn quiet(&self) -> Option<Silence> {
        let (now, quiet) = (self.clock.now(), self.quiet.lock().unwrap_or_else(PoisonError::into_inner).clone());
        // Further away than any wait: the clock was put back.
        let Quiet { until, why } = quiet.filter(|quiet| now < quiet.until && quiet.until - now <= QUIET_FOR_MAX)?;
        let seconds = u64::try_from((until - now).whole_seconds()).unwrap_or(0) + 1;
        let why = format!("{why}; it is not asked again before it wants to be");
        Some(Silence::Away { why, retry_after: Some(seconds) })
    }
}

impl FactSource for GitlabJob {
    fn ask<'a>(&'a self, _fact: &'static str, claims: &'a Claims) -> Asking<'a> {
        Box::pin(self.state(claims))
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

/// Where the job is: GitLab's API knows it there and nowhere else.
fn project_of(claims: &Claims) -> u64 {
    match claims.view("job_project_id") {
        Some(ClaimView::Id(project)) => project,
        _ => claims.project_id,
    }
}
