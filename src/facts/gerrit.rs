//! `gerrit.status`: how far the commit that a job runs on has come in Gerrit's review.
//!
//! Which of Gerrit's projects and branches is meant is the configuration's to say, by GitLab's number of the project, and
//! never the token's by a name. A commit counts as the current patch set of one change in that branch; a merge that Gerrit
//! made itself belongs to no change, and counts as merged if all that it brought in does.

use super::asker::Asker;
use super::gerrit_change::{Change, Review, review};
use super::gerrit_merge::{Commit, Step, Walk};
use super::{Api, Configured, FactSource, Limits, Place, Silence, Source, World, api};
use crate::policy::{Answer, Seen};
use crate::telemetry::quotable;
use crate::token::{Claims, IssuerName};
use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

/// A merged change stays merged; how old a withdrawn vote may be that still counts.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// Keeps pages of other origins from reading the JSON behind it (Gerrit's REST API, "Output Format").
const PREFIX: &[u8] = b")]}'";
/// More than one merge of Gerrit's brings in, and each is a question.
const BROUGHT_IN_MAX: usize = 16;

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

/// What a change must be to count.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) project: &'a str,
    pub(super) branch: &'a str,
    pub(super) labels: &'a BTreeMap<String, i32>,
    pub(super) allow_forced: bool,
}

impl GerritApi {
    /// What can be asked of it.
    pub const FACTS: [&'static str; 1] = ["gerrit.status"];

    fn wanted<'a>(&'a self, project: &'a GerritProject) -> Wanted<'a> {
        let GerritProject { name, branch } = project;
        Wanted { project: name, branch, labels: &self.labels, allow_forced: self.allow_forced }
    }
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

    async fn look(&self, (project, commit): &Self::About) -> Result<Self::Known, Silence> {
        let Some(project) = self.settings.projects.get(project) else {
            return Err(Silence::Unclear("the project is not configured".to_owned()));
        };
        Ok(match self.review(project, commit).await? {
            Ok(Some(review)) => Ok(review),
            Ok(None) => self.review_of_merge(project, commit).await?,
            Err(why) => Err(why),
        })
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

impl Gerrit {
    /// What the changes with this commit come to.
    async fn review(&self, project: &GerritProject, commit: &str) -> Result<Result<Option<Review>, String>, Silence> {
        let GerritProject { name, branch } = project;
        let options = ["ALL_REVISIONS", "DETAILED_ACCOUNTS", "DETAILED_LABELS", "SUBMIT_REQUIREMENTS"];
        let options = options.map(|option| format!("&o={option}")).concat();
        let query = format!("/a/changes/?q=commit:{commit}+project:{name}+branch:{branch}{options}&n=10");
        let url = self.api.url(&query);
        let answered = self.api.ask(&url).await?.ok_or_else(|| Silence::down(format!("{url} answered 404")))?;
        let changes: Vec<Change> = read(&url, &answered.body, "list of changes")?;
        Ok(review(&changes, commit, &self.settings.wanted(project)))
    }

    /// A commit of no change may be a merge that Gerrit made itself.
    async fn review_of_merge(&self, project: &GerritProject, commit: &str) -> Result<Result<Review, String>, Silence> {
        let Some(merge) = self.commit(project, commit).await? else {
            let GerritProject { name, .. } = project;
            return Ok(Err(format!(
                "gerrit_no_change: Gerrit's project {name} has no such commit, or does not show it"
            )));
        };
        let by_gerrit = self.settings.server_email.as_ref().is_some_and(|email| *email == merge.committer.email);
        let [ours, theirs] = match merge.parents.as_slice() {
            [ours, theirs] if by_gerrit => [&ours.commit, &theirs.commit],
            [_, _] => {
                return Ok(Err(
                    "gerrit_no_change: no change has this merge, and server_email does not say that Gerrit made it"
                        .to_owned(),
                ));
            }
            _ => return Ok(Err("gerrit_no_change: no change of the branch has this commit".to_owned())),
        };
        let brought_in = match self.brought_in(project, Walk::from(ours, theirs)).await? {
            Some(brought_in) if brought_in.len() <= BROUGHT_IN_MAX => brought_in,
            Some(_) | None => {
                return Ok(Err("gerrit_no_change: the merge brought in more than is looked at".to_owned()));
            }
        };
        let mut tip = None;
        for one in &brought_in {
            let found = match self.review(project, one).await? {
                Ok(Some(review)) if review.status == "merged" => review,
                Ok(Some(review)) => {
                    let (change, status) = (review.change, review.status);
                    return Ok(Err(format!("the merge brought in change {change}, which is {status}")));
                }
                Ok(None) => {
                    return Ok(Err(format!("gerrit_no_change: the merge brought in {one}, which is in no change")));
                }
                Err(why) => return Ok(Err(format!("the merge brought in {one}: {why}"))),
            };
            if one == theirs {
                tip = Some(found);
            }
        }
        let tip = tip.ok_or_else(|| "gerrit_no_change: the merge brought in nothing".to_owned());
        Ok(tip.map(|tip| tip.with(("gerrit.brought_in", Seen::Texts(brought_in)))))
    }

    async fn brought_in(&self, project: &GerritProject, mut walk: Walk) -> Result<Option<Vec<String>>, Silence> {
        loop {
            match walk.step() {
                Step::Done(brought_in) => return Ok(Some(brought_in)),
                Step::TooFar => return Ok(None),
                Step::Fetch(sha) => match self.commit(project, &sha).await? {
                    Some(commit) if commit.sha == sha => walk.learn(commit),
                    Some(_) | None => {
                        return Err(Silence::Unclear(format!("Gerrit does not show the commit {}", quotable(&sha))));
                    }
                },
            }
        }
    }

    async fn commit(&self, project: &GerritProject, commit: &str) -> Result<Option<Commit>, Silence> {
        if !is_commit(commit) {
            return Err(Silence::Unclear(format!("Gerrit names a commit {}", quotable(commit))));
        }
        let name = project.name.replace('/', "%2F");
        let url = self.api.url(&format!("/a/projects/{name}/commits/{commit}"));
        let answered = self.api.ask(&url).await?;
        answered.map(|answered| read(&url, &answered.body, "commit")).transpose()
    }
}

/// JSON behind Gerrit's prefix: what comes without it is somebody's login page.
fn read<T: serde::de::DeserializeOwned>(url: &str, body: &[u8], what: &str) -> Result<T, Silence> {
    let json = body.strip_prefix(PREFIX).ok_or_else(|| {
        Silence::down(format!(
            "{url} did not answer as Gerrit does, which begins its JSON with )]}}': is it a login page?"
        ))
    })?;
    api::read(url, json, what)
}

/// SHA-1 or SHA-256, as git writes them.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
