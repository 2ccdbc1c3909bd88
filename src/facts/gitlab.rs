//! The API of an issuer's own GitLab, and what can be asked of it.

use super::asker::Asker;
use super::gitlab_deployment::{self, GitlabDeployment};
use super::gitlab_job::{self, GitlabJob};
use super::gitlab_review::{self, GitlabReview};
use super::{Api, Configured, Limits, Place, Source, World};
use crate::token::IssuerName;
use std::slice;
use std::sync::Arc;

/// Where an issuer's API is, and what lets us in: a token with the scope `read_api`.
#[derive(Clone, Debug)]
pub struct GitlabApi {
    /// Whose jobs it knows.
    pub issuer: IssuerName,
    /// Up to its version: see [`api_of`].
    pub place: Place,
    /// How long it is waited for, and how long its answers count.
    pub limits: Limits,
}

impl GitlabApi {
    /// What can be asked of it.
    pub const FACTS: [&'static str; 3] = ["approvals.deployment", "approvals.merge_request", "job.state"];
}

impl Configured for GitlabApi {
    fn issuers(&self) -> &[IssuerName] {
        slice::from_ref(&self.issuer)
    }

    fn facts(&self) -> &'static [&'static str] {
        &Self::FACTS
    }

    fn gitlab(&self) -> Option<&Self> {
        Some(self)
    }

    fn open(&self, world: &World) -> Vec<(&'static str, Arc<dyn Source>)> {
        let api = || Api::at(self.place.clone(), world);
        let name = |part: &str| format!("{}/{part}", self.issuer);
        let (job, deployment, review) = (name("gitlab_job"), name("gitlab_deployment"), name("gitlab_review"));
        let deployments = (deployment.as_str(), gitlab_deployment::FRESH_FOR);
        let reviews = (review.as_str(), gitlab_review::FRESH_FOR);
        vec![
            ("approvals.deployment", Asker::of(GitlabDeployment(api()), deployments, self.limits, world)),
            ("approvals.merge_request", Asker::of(GitlabReview(api()), reviews, self.limits, world)),
            ("job.state", Asker::of(GitlabJob(api()), (&job, gitlab_job::FRESH_FOR), self.limits, world)),
        ]
    }
}

/// Where a GitLab's API is unless it was moved.
pub fn api_of(gitlab: &str) -> String {
    format!("{}/api/v4", gitlab.strip_suffix('/').unwrap_or(gitlab))
}
