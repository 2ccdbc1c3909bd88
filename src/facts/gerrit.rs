//! `gerrit.status`: how far the commit that a job runs on has come in Gerrit's review.
//!
//! Which of Gerrit's projects and branches is meant is the configuration's to say, by GitLab's number of the project, and
//! never the token's by a name. A commit counts as the current patch set of one change in that branch; a merge that Gerrit
//! made itself belongs to no change, and counts as merged if all that it brought in does.

use super::asker::Asker;
use super::gerrit_change::Review;
use super::gerrit_review::{InProject, NoReview, is_commit};
use super::{Api, Configured, FactSource, Limits, Place, Silence, Source, World};
use crate::policy::{Answer, Seen};
use crate::token::{Claims, IssuerName};
use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// A merged change stays merged; how old a withdrawn vote may be that still counts.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// A Gerrit, as configured for the jobs of one issuer.
#[derive(Clone, Debug)]
pub struct GerritApi {
    /// About whose jobs it is asked.
    pub issuer: IssuerName,
    /// Where it is, and a user's HTTP password.
    pub place: Place,
    /// How long it is waited for, and how long its answers count.
    pub limits: Limits,
    /// Its projects, by GitLab's number of the project that mirrors them.
    pub projects: BTreeMap<u64, GerritProject>,
    /// The labels that an open change needs, with the least vote.
    pub labels: BTreeMap<String, i32>,
    /// Whether submit requirements may have been bypassed.
    pub allow_forced: bool,
    /// By which address Gerrit's own merge commits are told; none where none counts.
    pub server_email: Option<String>,
}

/// Where a project's changes are.
#[derive(Clone, Debug)]
pub struct GerritProject {
    /// Its name in Gerrit.
    pub name: String,
    /// The branch whose reviews count.
    pub branch: String,
}

impl GerritApi {
    /// What can be asked of it.
    pub const FACTS: [&'static str; 1] = ["gerrit.status"];
}

impl Configured for GerritApi {
    fn issuers(&self) -> &[IssuerName] {
        slice::from_ref(&self.issuer)
    }

    fn facts(&self) -> &'static [&'static str] {
        &Self::FACTS
    }

    fn open(&self, world: &World) -> Vec<(&'static str, Arc<dyn Source>)> {
        let gerrit = Gerrit { api: Api::at(self.place.clone(), world), settings: self.clone() };
        let name = format!("{}/gerrit", self.issuer);
        vec![("gerrit.status", Asker::of(gerrit, (&name, FRESH_FOR), self.limits, world))]
    }
}

/// The reviews of one Gerrit.
#[derive(Debug)]
struct Gerrit {
    api: Api,
    settings: GerritApi,
}

impl FactSource for Gerrit {
    /// By project and commit.
    type About = (u64, String);
    /// Or why there is no review.
    type Known = Result<Review, String>;

    fn about(&self, claims: &Claims) -> Result<Self::About, Answer> {
        let project = claims.project_id;
        if !self.settings.projects.contains_key(&project) {
            let why = format!("no [[issuer.gerrit.project]] of the configuration is for GitLab's project {project}");
            return Err(Answer::No(why));
        }
        let commit = claims.view("sha").map(|sha| sha.to_string()).filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| Answer::No("the token names no commit".to_owned()))?;
        Ok((project, commit))
    }

    fn has_answered_since(&self, then: OffsetDateTime) -> bool {
        self.api.has_answered_since(then)
    }

    async fn look(&self, (project, commit): &Self::About) -> Result<Self::Known, Silence> {
        let Some(project) = self.settings.projects.get(project) else {
            return Err(Silence::Unclear("the project is not configured".to_owned()));
        };
        match InProject::new(self.api.question(), &self.settings, project).review_of(commit).await {
            Ok(review) => Ok(Ok(review)),
            Err(NoReview::Known(why)) => Ok(Err(why)),
            Err(NoReview::Silent(silence)) => Err(silence),
        }
    }

    fn tell(&self, _fact: &'static str, known: &Self::Known, _claims: &Claims) -> Answer {
        match known {
            Ok(review) => Answer::Is(Seen::Text(review.status.to_owned())),
            Err(why) => Answer::No(why.clone()),
        }
    }

    fn beside(&self, known: &Self::Known) -> Vec<(&'static str, Seen)> {
        known.as_ref().map(|review| review.seen.clone()).unwrap_or_default()
    }

    fn is_of_project(&self, (project, _commit): &Self::About, project_id: u64) -> bool {
        *project == project_id
    }
}
