//! `approvals.merge_request`: how many others approved the merge request by which the commit that a job runs on came into its
//! branch. What was pushed straight to a branch came by none.

use super::api::Question;
use super::approvals::{People, User, numbers, person_of};
use super::{Api, FactSource, Silence};
use crate::policy::{Answer, Seen};
use crate::token::Claims;
use serde::Deserialize;
use std::time::Duration;
use time::OffsetDateTime;

/// What is merged stays merged, but an approval can be taken back.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(15);

/// The merge requests of one GitLab.
#[derive(Debug)]
pub(super) struct GitlabReview(pub(super) Api);

/// Of which commit, and in which branch.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct About {
    project: u64,
    commit: String,
    branch: String,
}

/// What we read of a merge request (GitLab's commits and merge requests API).
#[derive(Debug, Deserialize)]
struct MergeRequest {
    author: User,
    iid: u64,
    merge_commit_sha: Option<String>,
    merge_user: Option<User>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    merged_at: Option<OffsetDateTime>,
    merged_by: Option<User>,
    project_id: u64,
    sha: Option<String>,
    squash_commit_sha: Option<String>,
    state: String,
    target_branch: String,
}

/// What we read of its approvals (GitLab's merge request approvals API).
#[derive(Debug, Deserialize)]
struct Approvals {
    approvals_left: Option<u64>,
    #[serde(default)]
    approved_by: Vec<Approval>,
}

#[derive(Debug, Deserialize)]
struct Approval {
    /// An older GitLab does not tell it.
    #[serde(default, with = "time::serde::rfc3339::option")]
    approved_at: Option<OffsetDateTime>,
    user: User,
}

/// What was pushed to it, and when (GitLab's merge request versions).
#[derive(Debug, Deserialize)]
struct Push {
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

/// How a project treats approvals.
#[derive(Debug, Deserialize)]
struct Settings {
    #[serde(default)]
    reset_approvals_on_push: bool,
}

/// The merge request that a commit came by.
#[derive(Debug)]
pub(super) struct Review {
    request: MergeRequest,
    approvals: Approvals,
    people: People,
    /// When it was last pushed to.
    pushed_at: Option<OffsetDateTime>,
    /// Whether a push takes approvals back.
    resets: bool,
}

impl FactSource for GitlabReview {
    type About = About;
    /// Or why there is no review.
    type Known = Result<Review, String>;

    fn about(&self, claims: &Claims) -> Result<Self::About, Answer> {
        let text = |name: &str| claims.view(name).map(|value| value.to_string()).filter(|text| !text.is_empty());
        if text("ref_type").as_deref() != Some("branch") || text("pipeline_source").as_deref() == Some(OF_REQUEST) {
            return Err(Answer::No(
                "the job does not run on a branch, into which something could be merged".to_owned(),
            ));
        }
        let (Some(commit), Some(branch)) = (text("sha").filter(|sha| is_hex(sha)), text("ref")) else {
            return Err(Answer::No("the token names no commit in a branch".to_owned()));
        };
        Ok(About { project: claims.job_project_id(), commit, branch })
    }

    fn has_answered_since(&self, then: OffsetDateTime) -> bool {
        self.0.has_answered_since(then)
    }

    async fn look(&self, about: &Self::About) -> Result<Self::Known, Silence> {
        let About { project, commit, branch } = about;
        let path = format!("/projects/{project}/repository/commits/{commit}/merge_requests?per_page=100");
        let gitlab = self.0.question();
        let listed = gitlab.find::<Vec<MergeRequest>>(&path, "list of merge requests").await?.unwrap_or_default();
        let mut its = listed.into_iter().filter(|request| request.brought(about));
        let (first, second) = (its.next(), its.next());
        let request = match (first, second) {
            (Some(one), None) => one,
            (None, _) => {
                return Ok(Err(format!(
                    "no merge request brought the commit into {branch}: it was pushed, or is in the midst of one"
                )));
            }
            (Some(_), Some(_)) => return Ok(Err("several merge requests brought the commit in".to_owned())),
        };
        let Some(review) = gitlab.review(request).await? else {
            return Ok(Err("GitLab shows no approvals of it".to_owned()));
        };
        Ok(Ok(review))
    }

    fn tell(&self, _fact: &'static str, review: &Self::Known, claims: &Claims) -> Answer {
        let approved = match review {
            Ok(review) => review.approved_for(claims),
            Err(why) => Err(why.clone()),
        };
        approved.map_or_else(Answer::No, |count| Answer::Is(Seen::Count(count)))
    }

    fn beside(&self, review: &Self::Known) -> Vec<(&'static str, Seen)> {
        let seen = |review: &Review| {
            let by = numbers(review.counting().map(|one| &one.user));
            vec![("approvals.merge_request.iid", Seen::Count(review.request.iid)), ("approvals.merge_request.by", by)]
        };
        review.as_ref().map(seen).unwrap_or_default()
    }

    fn is_of_project(&self, about: &Self::About, project_id: u64) -> bool {
        about.project == project_id
    }
}

impl Question<'_> {
    async fn review(&self, request: MergeRequest) -> Result<Option<Review>, Silence> {
        let MergeRequest { project_id, iid, .. } = &request;
        let path = format!("/projects/{project_id}/merge_requests/{iid}");
        let Some(approvals) = self.find::<Approvals>(&format!("{path}/approvals"), "approvals").await? else {
            return Ok(None);
        };
        let pushes = self.find::<Vec<Push>>(&format!("{path}/versions?per_page=100"), "list of versions").await?;
        let pushed_at = pushes.unwrap_or_default().iter().map(|push| push.created_at).max();
        let is_timeless = approvals.approved_by.iter().any(|one| one.approved_at.is_none());
        let resets = is_timeless && self.resets_on_push(*project_id).await?;
        let users = approvals.approved_by.iter().map(|one| &one.user).chain([&request.author]);
        let people = People::of(self, users).await?;
        Ok(Some(Review { request, approvals, people, pushed_at, resets }))
    }

    async fn resets_on_push(&self, project_id: u64) -> Result<bool, Silence> {
        let settings = self.find::<Settings>(&format!("/projects/{project_id}/approvals"), "approval settings").await?;
        Ok(settings.is_some_and(|settings| settings.reset_approvals_on_push))
    }
}

/// A pipeline of a merge request runs on what is not merged yet.
const OF_REQUEST: &str = "merge_request_event";

impl MergeRequest {
    /// Whether this very commit is what the branch had once it was merged: a commit in the midst of a merge request was
    /// approved by nobody as it stands.
    fn brought(&self, about: &About) -> bool {
        let results = [&self.merge_commit_sha, &self.squash_commit_sha, &self.sha];
        self.state == "merged"
            && self.project_id == about.project
            && self.target_branch == about.branch
            && results.into_iter().flatten().any(|sha| *sha == about.commit)
    }
}

impl Review {
    /// Approvals of what was merged: given after the last push, and before the merge.
    fn counting(&self) -> impl Iterator<Item = &Approval> {
        let is_of_it = |one: &&Approval| match one.approved_at {
            Some(at) => {
                self.pushed_at.is_some_and(|pushed| pushed <= at)
                    && self.request.merged_at.is_some_and(|merged| at <= merged)
            }
            None => self.resets,
        };
        self.approvals.approved_by.iter().filter(is_of_it)
    }

    /// How many approved who neither wrote nor merged it nor run the job.
    fn approved_for(&self, claims: &Claims) -> Result<u64, String> {
        let MergeRequest { author, iid, merge_user, merged_by, .. } = &self.request;
        let job_s = person_of(claims)?;
        if !self.people.has(author) {
            return Err(format!(
                "the author of merge request !{iid} is no person, so that nobody is known to be another"
            ));
        }
        if let Some(left) = self.approvals.approvals_left.filter(|left| *left > 0) {
            return Err(format!("merge request !{iid} was merged without {left} of its approvals"));
        }
        let own: Vec<u64> =
            merge_user.iter().chain(merged_by).chain([author]).map(|user| user.id).chain([job_s]).collect();
        Ok(self.people.independent(self.counting().map(|one| &one.user), &own))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
