//! `approvals.deployment`: how many others approved the deployment that a job carries out to a protected environment.

use super::approvals::{People, User, numbers, person_of};
use super::{Api, FactSource, Silence};
use crate::discovery::path_segment;
use crate::policy::{Answer, Seen};
use crate::telemetry::quotable;
use crate::token::{ClaimView, Claims};
use serde::Deserialize;
use std::time::Duration;
use time::OffsetDateTime;

/// An approval that is taken back is known to be that soon, also where no webhook tells it.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(15);

/// The deployments of one GitLab.
#[derive(Debug)]
pub(super) struct GitlabDeployment(pub(super) Api);

/// Of which job, and to where.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct About {
    project: u64,
    job: u64,
    environment: String,
}

/// What we read of a deployment (GitLab's deployments API).
#[derive(Debug, Deserialize)]
pub(super) struct Deployment {
    id: u64,
    /// Absent below Premium, and where no rule asks for approvals.
    approvals: Option<Vec<Approval>>,
    approval_summary: Option<Summary>,
    deployable: Option<Deployable>,
    environment: Environment,
    pending_approval_count: Option<u64>,
    sha: String,
    status: String,
    user: Option<User>,
}

#[derive(Debug, Deserialize)]
struct Approval {
    status: String,
    user: User,
}

#[derive(Debug, Deserialize)]
struct Deployable {
    id: u64,
    user: Option<User>,
}

#[derive(Debug, Deserialize)]
struct Environment {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Summary {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    #[serde(default)]
    deployment_approvals: Vec<Approval>,
}

impl FactSource for GitlabDeployment {
    type About = About;
    /// None: no deployment under way is this job's.
    type Known = Option<(Deployment, People)>;

    fn about(&self, claims: &Claims) -> Result<Self::About, Answer> {
        let Some(ClaimView::Text(environment)) = claims.view("environment") else {
            return Err(Answer::No("the job deploys to no environment".to_owned()));
        };
        Ok(About { project: claims.job_project_id(), job: claims.job_id, environment: environment.to_owned() })
    }

    fn has_answered_since(&self, then: OffsetDateTime) -> bool {
        self.0.has_answered_since(then)
    }

    async fn look(&self, about: &Self::About) -> Result<Self::Known, Silence> {
        let (project, environment) = (about.project, path_segment(&about.environment));
        // The newest hundred: no environment has more under way.
        let query = format!("environment={environment}&status=running&order_by=id&sort=desc&per_page=100");
        let gitlab = self.0.question();
        let listed =
            gitlab.find::<Vec<Deployment>>(&format!("/projects/{project}/deployments?{query}"), "list").await?;
        let Some(id) = listed.unwrap_or_default().iter().find(|one| one.is_of(about.job)).map(|one| one.id) else {
            return Ok(None);
        };
        let path = format!("/projects/{project}/deployments/{id}");
        let Some(deployment) = gitlab.find::<Deployment>(&path, "deployment").await? else { return Ok(None) };
        let users = deployment.approvals().map(|one| &one.user).chain(deployment.deployers());
        let people = People::of(&gitlab, users).await?;
        Ok(Some((deployment, people)))
    }

    fn tell(&self, _fact: &'static str, deployment: &Self::Known, claims: &Claims) -> Answer {
        let Some((deployment, people)) = deployment else {
            return Answer::No("GitLab shows no deployment under way that is this job's".to_owned());
        };
        let approved = deployment.disagreement(claims).map_or_else(|| deployment.approved_for(claims, people), Err);
        approved.map_or_else(Answer::No, |count| Answer::Is(Seen::Count(count)))
    }

    fn beside(&self, deployment: &Self::Known) -> Vec<(&'static str, Seen)> {
        let seen = |(deployment, _): &(Deployment, People)| {
            let by = numbers(deployment.approvals().filter(|one| one.status == APPROVED).map(|one| &one.user));
            vec![("approvals.deployment.id", Seen::Count(deployment.id)), ("approvals.deployment.by", by)]
        };
        deployment.as_ref().map(seen).unwrap_or_default()
    }

    fn is_of_project(&self, about: &Self::About, project_id: u64) -> bool {
        about.project == project_id
    }
}

const APPROVED: &str = "approved";
const REJECTED: &str = "rejected";

impl Deployment {
    fn is_of(&self, job: u64) -> bool {
        self.deployable.as_ref().is_some_and(|deployable| deployable.id == job)
    }

    /// All of them: those of several rules stand in the summary as well.
    fn approvals(&self) -> impl Iterator<Item = &Approval> {
        let of_rules = self.approval_summary.iter().flat_map(|summary| &summary.rules);
        self.approvals.iter().flatten().chain(of_rules.flat_map(|rule| &rule.deployment_approvals))
    }

    fn deployers(&self) -> impl Iterator<Item = &User> {
        self.user.iter().chain(self.deployable.iter().filter_map(|deployable| deployable.user.as_ref()))
    }

    /// The first thing that GitLab says otherwise than the token.
    fn disagreement(&self, claims: &Claims) -> Option<String> {
        let told = |claim: &str| claims.view(claim).map(|value| value.to_string());
        let (environment, status) = (quotable(&self.environment.name), quotable(&self.status));
        match () {
            () if !self.is_of(claims.job_id) => Some("GitLab says that the deployment is another job's".to_owned()),
            () if told("environment").as_ref() != Some(&self.environment.name) => {
                Some(format!("GitLab says that the job deploys to {environment}, and the token otherwise"))
            }
            () if told("sha").is_none_or(|sha| sha != self.sha) => {
                Some("GitLab says that the job deploys another commit than the token's".to_owned())
            }
            () if self.status != "running" => Some(format!("GitLab says that the deployment is {status}")),
            () => None,
        }
    }

    /// How many approved who neither deploy nor run the job.
    fn approved_for(&self, claims: &Claims, people: &People) -> Result<u64, String> {
        let job_s = person_of(claims)?;
        if !self.deployers().all(|user| people.has(user)) {
            return Err("whoever deploys is no person, so that nobody is known to be another".to_owned());
        }
        let (Some(pending), Some(_)) = (self.pending_approval_count, &self.approvals) else {
            return Err(
                "GitLab tells of no approvals: it asks for some where a protected environment has approval rules, \
                        which need GitLab Premium"
                    .to_owned(),
            );
        };
        if self.approvals().any(|one| one.status == REJECTED) {
            return Err("somebody rejected the deployment".to_owned());
        }
        if pending > 0 {
            return Err(format!("GitLab waits for {pending} more approvals of the deployment"));
        }
        let own: Vec<u64> = self.deployers().map(|user| user.id).chain([job_s]).collect();
        let approved = self.approvals().filter(|one| one.status == APPROVED).map(|one| &one.user);
        Ok(people.independent(approved, &own))
    }
}
