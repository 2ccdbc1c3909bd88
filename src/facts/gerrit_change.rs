//! What Gerrit says of a change, and what it takes for that to count as reviewed (Gerrit's REST API, "Change Endpoints").

use crate::policy::Seen;
use crate::telemetry::quotable;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What lets a change be submitted.
const MET: [&str; 3] = ["NOT_APPLICABLE", "OVERRIDDEN", "SATISFIED"];
/// Somebody with the right to pushed past what it takes.
const BYPASSED: &str = "FORCED";

/// What we read of a change.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    #[serde(rename = "_number")]
    number: u64,
    branch: String,
    #[serde(rename = "change_id")]
    id: String,
    current_revision: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, Label>,
    #[serde(default, rename = "_more_changes")]
    goes_on: bool,
    owner: Account,
    project: String,
    #[serde(default)]
    revisions: BTreeMap<String, Revision>,
    status: String,
    submit_requirements: Option<Vec<Requirement>>,
    #[serde(default)]
    work_in_progress: bool,
}

#[derive(Debug, Deserialize)]
struct Account {
    #[serde(rename = "_account_id")]
    id: u64,
}

#[derive(Debug, Deserialize)]
struct Revision {
    #[serde(rename = "_number")]
    number: u64,
    /// As all of Gerrit's times: UTC, and in an order that texts have too.
    created: String,
    /// Where somebody uploaded it in another's name.
    real_uploader: Option<Account>,
    uploader: Account,
}

#[derive(Debug, Deserialize)]
struct Label {
    /// Absent where only a summary was asked for.
    all: Option<Vec<Vote>>,
    #[serde(default)]
    values: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Vote {
    #[serde(rename = "_account_id")]
    voter: u64,
    date: Option<String>,
    #[serde(default)]
    value: i32,
}

#[derive(Debug, Deserialize)]
struct Requirement {
    name: String,
    status: String,
}

/// What a change must be to count.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) project: &'a str,
    pub(super) branch: &'a str,
    pub(super) labels: &'a BTreeMap<String, i32>,
    pub(super) allow_forced: bool,
}

/// A change that is the one which the commit belongs to, and how far its review has come.
#[derive(Debug)]
pub(super) struct Review {
    /// `abandoned`, `approved`, `merged` or `new`.
    pub(super) status: &'static str,
    /// Its number.
    pub(super) change: u64,
    /// For the journal.
    pub(super) seen: Vec<(&'static str, Seen)>,
}

/// The review of a commit among the changes that Gerrit finds for it; none where it is in no change of the branch.
///
/// # Errors
/// Why what was found is no review of this commit.
pub(super) fn review(changes: &[Change], commit: &str, wanted: &Wanted<'_>) -> Result<Option<Review>, String> {
    if changes.last().is_some_and(|change| change.goes_on) {
        return Err("Gerrit knows more changes with this commit than it told".to_owned());
    }
    let of_branch = |change: &&Change| change.project == wanted.project && change.branch == wanted.branch;
    let its: Vec<&Change> = changes.iter().filter(of_branch).collect();
    match its.as_slice() {
        [] => Ok(None),
        [one] => one.review(commit, wanted).map(Some),
        several => {
            let numbers: Vec<_> = several.iter().map(|change| change.number.to_string()).collect();
            Err(format!("the commit is in several changes of that branch: {}", numbers.join(", ")))
        }
    }
}

impl Change {
    fn review(&self, commit: &str, wanted: &Wanted<'_>) -> Result<Review, String> {
        let current =
            self.current_revision.as_deref().and_then(|current| Some((current, self.revisions.get(current)?)));
        let (current, revision) =
            current.ok_or_else(|| format!("Gerrit does not tell the patch sets of change {}", self.number))?;
        if current != commit {
            let old = self.revisions.get(commit).map_or(0, |old| old.number);
            let (number, newest) = (self.number, revision.number);
            return Err(format!("the commit is patch set {old} of change {number}, whose current one is {newest}"));
        }
        let bypassed = self.requirements().find(|requirement| requirement.status == BYPASSED);
        if let Some(requirement) = bypassed.filter(|_| !wanted.allow_forced) {
            let name = quotable(&requirement.name);
            return Err(format!("change {} was pushed past its submit requirement {name}", self.number));
        }
        let missing = match self.status.as_str() {
            "NEW" => self.missing(revision, wanted),
            "MERGED" => self.passed_over(revision, wanted),
            _ => Vec::new(),
        };
        let status = match self.status.as_str() {
            "ABANDONED" => "abandoned",
            "MERGED" if missing.is_empty() => "merged",
            "MERGED" => return Err(format!("change {} is merged, but {}", self.number, missing.join(", "))),
            "NEW" if missing.is_empty() => "approved",
            "NEW" => "new",
            other => return Err(format!("change {} has the unknown status {}", self.number, quotable(other))),
        };
        Ok(Review { status, change: self.number, seen: self.seen(current, revision, missing) })
    }

    fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.submit_requirements.iter().flatten()
    }

    /// What an open change lacks to be approved.
    fn missing(&self, revision: &Revision, wanted: &Wanted<'_>) -> Vec<String> {
        let mut missing = Vec::new();
        if self.work_in_progress {
            missing.push("it is work in progress".to_owned());
        }
        missing.extend(self.unvoted(revision, wanted));
        let vetoed = self.labels.iter().filter(|(_, label)| label.is_vetoed());
        missing.extend(vetoed.map(|(name, _)| format!("{} is vetoed", quotable(name))));
        missing.extend(self.unmet(wanted));
        if self.submit_requirements.is_none() {
            missing.push("Gerrit does not tell its submit requirements".to_owned());
        }
        missing
    }

    /// What a change was merged without: a push straight to the branch closes one as merged too.
    fn passed_over(&self, revision: &Revision, wanted: &Wanted<'_>) -> Vec<String> {
        let is_told = self.requirements().next().is_some();
        match (wanted.allow_forced, is_told) {
            (true, _) => Vec::new(),
            (false, true) => self.unmet(wanted).collect(),
            (false, false) => self.unvoted(revision, wanted).collect(),
        }
    }

    fn unvoted<'a>(&'a self, revision: &'a Revision, wanted: &'a Wanted<'_>) -> impl Iterator<Item = String> + 'a {
        wanted.labels.iter().filter_map(|(name, least)| {
            let votes = self.labels.get(name).and_then(|label| label.all.as_deref());
            match votes {
                None => Some(format!("{name} has no votes that Gerrit tells")),
                Some(votes) if votes.iter().any(|vote| vote.value >= *least && self.counts(vote, revision)) => None,
                Some(_) => Some(format!(
                    "{name} has no {least:+} for this patch set by anybody but the change's owner and its uploaders"
                )),
            }
        })
    }

    fn unmet(&self, wanted: &Wanted<'_>) -> impl Iterator<Item = String> {
        let accepted = |status: &str| MET.contains(&status) || (wanted.allow_forced && status == BYPASSED);
        let unmet = self.requirements().filter(move |requirement| !accepted(&requirement.status));
        unmet.map(|requirement| {
            format!("submit requirement {} is {}", quotable(&requirement.name), quotable(&requirement.status))
        })
    }

    /// Whether a vote is somebody else's, and on this very patch set: Gerrit carries some votes over to later ones.
    fn counts(&self, vote: &Vote, revision: &Revision) -> bool {
        let uploaders =
            self.revisions.values().flat_map(|revision| [Some(&revision.uploader), revision.real_uploader.as_ref()]);
        let is_own = uploaders.flatten().chain([&self.owner]).any(|own| own.id == vote.voter);
        !is_own && vote.date.as_ref().is_some_and(|date| *date >= revision.created)
    }

    fn seen(&self, current: &str, revision: &Revision, missing: Vec<String>) -> Vec<(&'static str, Seen)> {
        let all = self.labels.iter().flat_map(|(name, label)| label.all.iter().flatten().map(move |vote| (name, vote)));
        let given = all.filter(|(_, vote)| vote.value != 0);
        let votes =
            given.map(|(name, vote)| format!("{} {:+} by {}", quotable(name), vote.value, vote.voter)).collect();
        let mut seen = vec![
            ("gerrit.change", Seen::Count(self.number)),
            ("gerrit.change_id", Seen::Text(quotable(&self.id))),
            ("gerrit.patch_set", Seen::Count(revision.number)),
            ("gerrit.revision", Seen::Text(quotable(current))),
            ("gerrit.votes", Seen::Texts(votes)),
        ];
        if !missing.is_empty() {
            seen.push(("gerrit.missing", Seen::Texts(missing)));
        }
        seen
    }
}

impl Label {
    /// Whether somebody gave the lowest value that there is.
    fn is_vetoed(&self) -> bool {
        let values = self.values.keys().filter_map(|value| value.trim().parse::<i32>().ok());
        let lowest = values.min().filter(|lowest| *lowest < 0);
        lowest.is_some_and(|lowest| self.all.iter().flatten().any(|vote| vote.value <= lowest))
    }
}

impl Review {
    /// With something more for the journal.
    pub(super) fn with(mut self, more: (&'static str, Seen)) -> Self {
        self.seen.push(more);
        self
    }
}
