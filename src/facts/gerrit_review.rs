//! Asks Gerrit how far the review of a commit has come, in one of its projects.

use super::Silence;
use super::api::{self, Question};
use super::gerrit::{GerritApi, GerritProject};
use super::gerrit_change::{Change, Review, Wanted, review};
use super::gerrit_merge::{Commit, Step, Walk};
use crate::policy::Seen;
use crate::telemetry::quotable;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;

/// Keeps pages of other origins from reading the JSON behind it (Gerrit's REST API, "Output Format").
const PREFIX: &[u8] = b")]}'";
/// More than one merge of Gerrit's brings in, and each is a question.
const BROUGHT_IN_MAX: usize = 16;

/// Why there is no review.
#[derive(Debug)]
pub(super) enum NoReview {
    /// Gerrit says so.
    Known(String),
    /// Gerrit does not say.
    Silent(Silence),
}

impl From<Silence> for NoReview {
    fn from(silence: Silence) -> Self {
        Self::Silent(silence)
    }
}

/// What has a commit (Gerrit's REST API, "Get Included In").
#[derive(Debug, Deserialize)]
struct IncludedIn {
    branches: Vec<String>,
}

/// A question about commits of one project.
#[derive(Debug)]
pub(super) struct InProject<'a> {
    gerrit: Question<'a>,
    project: &'a GerritProject,
    /// What a change must be to count.
    wanted: Wanted<'a>,
    /// By which address Gerrit's own merges are told.
    server_email: Option<&'a str>,
}

impl<'a> InProject<'a> {
    pub(super) fn new(gerrit: Question<'a>, settings: &'a GerritApi, project: &'a GerritProject) -> Self {
        let GerritProject { name, branch } = project;
        let wanted = Wanted { project: name, branch, labels: &settings.labels, allow_forced: settings.allow_forced };
        Self { gerrit, project, wanted, server_email: settings.server_email.as_deref() }
    }

    /// The review of a commit, or of what it brought in if it is a merge that Gerrit made itself.
    pub(super) async fn review_of(&self, commit: &str) -> Result<Review, NoReview> {
        match self.review_of_change(commit).await? {
            Some(review) => Ok(review),
            None => self.review_of_merge(commit).await,
        }
    }

    /// What the changes with this commit come to.
    async fn review_of_change(&self, commit: &str) -> Result<Option<Review>, NoReview> {
        let GerritProject { name, branch } = self.project;
        let options = ["ALL_REVISIONS", "DETAILED_ACCOUNTS", "DETAILED_LABELS", "SUBMIT_REQUIREMENTS"];
        let options = options.map(|option| format!("&o={option}")).concat();
        let query = format!("/a/changes/?q=commit:{commit}+project:{name}+branch:{branch}{options}&n=10");
        let changes: Option<Vec<Change>> = self.find(&query, "list of changes").await?;
        let changes = changes.ok_or_else(|| Silence::down(format!("{} answered 404", self.gerrit.url(&query))))?;
        review(&changes, commit, &self.wanted).map_err(NoReview::Known)
    }

    /// A commit of no change may be a merge that Gerrit made itself.
    async fn review_of_merge(&self, commit: &str) -> Result<Review, NoReview> {
        let GerritProject { name, branch } = self.project;
        let merge = self.commit(commit).await?;
        let merge = merge
            .ok_or_else(|| no_change(format!("Gerrit's project {name} has no such commit, or does not show it")))?;
        let [ours, theirs] = match merge.parents.as_slice() {
            [ours, theirs] if self.server_email == Some(&*merge.committer.email) => [&ours.commit, &theirs.commit],
            [_, _] => {
                return Err(no_change("no change has this merge, and server_email does not say that Gerrit made it"));
            }
            _ => return Err(no_change("no change of the branch has this commit")),
        };
        if !self.is_in_branch(commit).await? {
            return Err(no_change(format!("the merge is not in {branch}")));
        }
        let brought_in = self.brought_in(Walk::from(ours, theirs)).await?;
        let brought_in = brought_in.filter(|commits| commits.len() <= BROUGHT_IN_MAX);
        let brought_in = brought_in.ok_or_else(|| no_change("the merge brought in more than is looked at"))?;
        let mut tip = None;
        for one in &brought_in {
            let review = self.merged(one).await?;
            if one == theirs {
                tip = Some(review);
            }
        }
        let tip = tip.ok_or_else(|| no_change("the merge brought in nothing"))?;
        Ok(tip.with(("gerrit.brought_in", Seen::Texts(brought_in))))
    }

    /// The review of a commit that a merge brought in.
    async fn merged(&self, commit: &str) -> Result<Review, NoReview> {
        match self.review_of_change(commit).await {
            Ok(Some(review)) if review.status == "merged" => Ok(review),
            Ok(Some(Review { change, status, .. })) => {
                Err(NoReview::Known(format!("the merge brought in change {change}, which is {status}")))
            }
            Ok(None) => Err(no_change(format!("the merge brought in {commit}, which is in no change"))),
            Err(NoReview::Known(why)) => Err(NoReview::Known(format!("the merge brought in {commit}: {why}"))),
            Err(silent) => Err(silent),
        }
    }

    /// Whether a merge is one of the branch's: what was merged into another was not reviewed for this one.
    async fn is_in_branch(&self, commit: &str) -> Result<bool, Silence> {
        let including: Option<IncludedIn> = self.find(&self.path_of(commit, "/in"), "list of branches").await?;
        Ok(including.is_some_and(|including| including.branches.contains(&self.project.branch)))
    }

    async fn brought_in(&self, mut walk: Walk) -> Result<Option<Vec<String>>, Silence> {
        loop {
            match walk.step() {
                Step::Done(brought_in) => return Ok(Some(brought_in)),
                Step::TooFar => return Ok(None),
                Step::Fetch(sha) => match self.commit(&sha).await? {
                    Some(commit) if commit.sha == sha => walk.learn(commit),
                    Some(_) | None => {
                        return Err(Silence::Unclear(format!("Gerrit does not show the commit {}", quotable(&sha))));
                    }
                },
            }
        }
    }

    async fn commit(&self, commit: &str) -> Result<Option<Commit>, Silence> {
        if !is_commit(commit) {
            return Err(Silence::Unclear(format!("Gerrit names a commit {}", quotable(commit))));
        }
        self.find(&self.path_of(commit, ""), "commit").await
    }

    fn path_of(&self, commit: &str, more: &str) -> String {
        format!("/a/projects/{}/commits/{commit}{more}", self.project.name.replace('/', "%2F"))
    }

    /// JSON behind Gerrit's prefix: what comes without it is somebody's login page.
    async fn find<T: DeserializeOwned>(&self, path: &str, what: &str) -> Result<Option<T>, Silence> {
        let url = self.gerrit.url(path);
        let Some(answered) = self.gerrit.ask(&url).await? else { return Ok(None) };
        let json = answered.body.strip_prefix(PREFIX).ok_or_else(|| {
            Silence::down(format!(
                "{url} did not answer as Gerrit does, which begins its JSON with )]}}': is it a login page?"
            ))
        })?;
        api::read(&url, json, what).map(Some)
    }
}

fn no_change(why: impl Display) -> NoReview {
    NoReview::Known(format!("gerrit_no_change: {why}"))
}

/// SHA-1 or SHA-256, as git writes them.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
