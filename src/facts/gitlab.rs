//! The API of an issuer's own GitLab, and what can be asked of it.

use super::asker::Asker;
use super::gitlab_job::{self, GitlabJob};
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
    pub const FACTS: [&'static str; 1] = ["job.state"];
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
        let jobs = Asker::of(GitlabJob(api()), (&name("gitlab_job"), gitlab_job::FRESH_FOR), self.limits, world);
        vec![("job.state", jobs)]
    }
}

/// Where a GitLab's API is unless it was moved.
pub fn api_of(gitlab: &str) -> String {
    format!("{}/api/v4", gitlab.strip_suffix('/').unwrap_or(gitlab))
}
