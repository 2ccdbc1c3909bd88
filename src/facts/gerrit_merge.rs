//! What a merge brought into a branch: the commits that its second parent has and its first does not.
//!
//! Colours run from both parents to theirs, newest commit first, until all that is left has both. A commit that shows only
//! the second parent's colour counts as brought in, so that clocks that went wrong can add to what must be reviewed and
//! take nothing away. Pure: whoever walks fetches what is wanted.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const OURS: u8 = 1;
const THEIRS: u8 = 2;
/// A branch that far behind is not merged by Gerrit every day, and each commit is a question.
const COMMITS_MAX: usize = 64;

/// What we read of a commit (Gerrit's REST API, "Commit Endpoints").
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Commit {
    pub(super) committer: Person,
    pub(super) parents: Vec<Parent>,
    #[serde(rename = "commit")]
    pub(super) sha: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Person {
    /// In an order that texts have too.
    pub(super) date: String,
    pub(super) email: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Parent {
    pub(super) commit: String,
}

/// A walk from a merge's parents to where they meet.
#[derive(Debug)]
pub(super) struct Walk {
    colours: BTreeMap<String, u8>,
    known: BTreeMap<String, Commit>,
    /// What is still to be looked at, by age.
    ahead: BTreeSet<(String, String)>,
}

/// What a walk comes to.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// These commits were brought in.
    Done(Vec<String>),
    /// It goes on once this commit is known.
    Fetch(String),
    /// The branches meet too far back.
    TooFar,
}

impl Walk {
    /// From the two parents of a merge.
    pub(super) fn from(ours: &str, theirs: &str) -> Self {
        let colours = BTreeMap::from([(ours.to_owned(), OURS), (theirs.to_owned(), THEIRS)]);
        Self { colours, known: BTreeMap::new(), ahead: BTreeSet::new() }
    }

    /// Takes what was fetched.
    pub(super) fn learn(&mut self, commit: Commit) {
        self.ahead.insert((commit.committer.date.clone(), commit.sha.clone()));
        self.known.insert(commit.sha.clone(), commit);
    }

    /// What is next.
    pub(super) fn step(&mut self) -> Step {
        loop {
            match self.colours.keys().find(|sha| !self.known.contains_key(*sha)) {
                Some(_) if self.known.len() >= COMMITS_MAX => return Step::TooFar,
                Some(unknown) => return Step::Fetch(unknown.clone()),
                None => {}
            }
            let is_both = |sha: &String| self.colours.get(sha) == Some(&(OURS | THEIRS));
            if self.ahead.iter().all(|(_, sha)| is_both(sha)) {
                let brought = self.colours.iter().filter(|(_, colour)| **colour == THEIRS);
                return Step::Done(brought.map(|(sha, _)| sha.clone()).collect());
            }
            let Some((_, newest)) = self.ahead.pop_last() else { continue };
            self.pass_on(&newest);
        }
    }

    /// Gives a commit's colours to its parents; one that gains some is looked at again.
    fn pass_on(&mut self, sha: &str) {
        let colour = self.colours.get(sha).copied().unwrap_or_default();
        let parents = self.known.get(sha).map(|commit| commit.parents.clone()).unwrap_or_default();
        for Parent { commit: parent } in parents {
            let former = self.colours.insert(parent.clone(), colour).unwrap_or_default();
            self.colours.insert(parent.clone(), former | colour);
            if let Some(known) = self.known.get(&parent).filter(|_| former | colour != former) {
                self.ahead.insert((known.committer.date.clone(), parent));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits as "name date parent parent".
    fn history(text: &str) -> BTreeMap<String, Commit> {
        let commit = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let (sha, date) = (words.next().unwrap(), words.next().unwrap());
            let parents = words.map(|commit| Parent { commit }).collect();
            (sha.clone(), Commit { sha, committer: Person { date, email: "g@x".to_owned() }, parents })
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(commit).collect()
    }

    fn brought(history: &BTreeMap<String, Commit>, ours: &str, theirs: &str) -> Option<String> {
        let mut walk = Walk::from(ours, theirs);
        loop {
            match walk.step() {
                Step::Done(brought) => return Some(brought.concat()),
                Step::Fetch(sha) => walk.learn(history[&sha].clone()),
                Step::TooFar => return None,
            }
        }
    }

    #[test]
    fn what_only_the_second_parent_has_was_brought_in() {
        let plain = history("r 00\n a 01 r\n b 02 a\n x 03 a\n y 04 x\n c 05 b");
        assert_eq!(brought(&plain, "c", "y").unwrap(), "xy");
        assert_eq!(brought(&plain, "b", "x").unwrap(), "x");
        assert_eq!(brought(&plain, "c", "a").unwrap(), "", "nothing that was not there");
        let crossed = history("r 00\n a 01 r\n x 02 r\n b 03 a x\n y 04 x a\n z 05 y");
        assert_eq!(brought(&crossed, "b", "z").unwrap(), "yz");
        let strangers = history("r 00\n s 01\n x 02 s");
        assert_eq!(brought(&strangers, "r", "x").unwrap(), "sx");
    }

    #[test]
    fn clocks_that_went_wrong_hide_nothing() {
        let skewed = history("r 90\n a 01 r\n b 02 a\n x 99 a\n y 00 x\n c 05 b");
        assert_eq!(brought(&skewed, "c", "y").unwrap(), "xy");
        let old = history("r 50\n a 60 r\n x 10 r\n y 09 x");
        assert_eq!(brought(&old, "a", "y").unwrap(), "xy");
    }

    #[test]
    fn a_branch_that_is_too_far_behind_is_not_walked() {
        let line: Vec<String> = (1..100).map(|at| format!("m{at:03} {at:03} m{:03}\n", at - 1)).collect();
        let long = history(&format!("m000 000\n{}x 100 m010", line.concat()));
        assert_eq!(brought(&long, "m099", "x"), None);
        assert_eq!(brought(&long, "m060", "x").unwrap(), "x");
    }
}
