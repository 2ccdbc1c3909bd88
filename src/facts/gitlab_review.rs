//! `approvals.merge_request`: how many others approved the merge request by which the commit that a job runs on came into its
//! branch. What was pushed straight to a branch came by none.

use super::approvals::{User, independent, numbers};
use super::{Api, FactSource, Silence};
use crate::policy::{Answer, Seen};
use crate::token::{ClaimView, Claims};
use serde::Deserialize;
use std::time::Duration;

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
    merged_at: Option<String>,
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
    /// UTC, in an order that texts have too; an older GitLab does not tell it.
    approved_at: Option<String>,
    user: User,
}

/// The merge request that a commit came by.
#[derive(Debug)]
pub(super) struct Review {
    request: MergeRequest,
    approvals: Approvals,
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

    async fn look(&self, about: &Self::About) -> Result<Self::Known, Silence> {
        let About { project, commit, branch } = about;
        let path = format!("/projects/{project}/repository/commits/{commit}/merge_requests?per_page=100");
        let listed = self.0.find::<Vec<MergeRequest>>(&path, "list of merge requests").await?.unwrap_or_default();
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
        let path = format!("/projects/{project}/merge_requests/{}/approvals", request.iid);
        let approvals = self.0.find(&path, "approvals").await?;
        Ok(approvals
            .map(|approvals| Review { request, approvals })
            .ok_or_else(|| "GitLab shows no approvals of it".to_owned()))
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
    /// Approvals from before the merge.
    fn counting(&self) -> impl Iterator<Item = &Approval> {
        let in_time = |one: &&Approval| match (&one.approved_at, &self.request.merged_at) {
            (Some(approved), Some(merged)) => approved <= merged,
            (None, _) | (_, None) => true,
        };
        self.approvals.approved_by.iter().filter(in_time)
    }

    /// How many approved who neither wrote it nor run the job.
    fn approved_for(&self, claims: &Claims) -> Result<u64, String> {
        let Some(ClaimView::Id(job_s)) = claims.view("user_id") else {
            return Err("the token names no user, so that nobody is known to be another".to_owned());
        };
        let iid = self.request.iid;
        match self.approvals.approvals_left {
            Some(left) if left > 0 => Err(format!("merge request !{iid} was merged without {left} of its approvals")),
            Some(_) | None => Ok(independent(self.counting().map(|one| &one.user), &[self.request.author.id, job_s])),
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
