//! Policies put to the server's own reading, and how many went which way.

use super::model::Policy;
use crate::proportion::{in_proportion, trying};
use lanyard::config::{CheckedPolicy, Problem, check_policy};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

/// As the server reads it.
pub(crate) fn load(policy: &Policy) -> Result<CheckedPolicy, Vec<Problem>> {
    thread_local!(static FOLDER: TempDir = TempDir::new().unwrap());
    FOLDER.with(|folder| {
        let file = folder.path().join("policy.toml");
        fs::write(&file, policy.text()).unwrap();
        check_policy(&file, &[], Duration::from_secs(900))
    })
}

/// All problems in words.
pub(crate) fn words(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// How often what came out.
#[derive(Debug, Default)]
pub(crate) struct Tally(RefCell<BTreeMap<&'static str, u64>>);

impl Tally {
    pub(crate) fn count(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.borrow().get(what).copied().unwrap_or_default()
    }

    /// Tells all counts, and fails where one is lower than these in proportion: then the generator has gone blind.
    pub(crate) fn at_least(&self, least: &[(&str, u64)]) {
        println!("{:?}", self.0.borrow());
        for (what, least) in least {
            let least = in_proportion(*least);
            assert!(self.of(what) >= least, "only {} {what}, of {least} wanted: {:?}", self.of(what), self.0.borrow());
        }
    }
}

/// Holds a law against so many things of chance, in proportion.
pub(crate) fn try_all<S: Strategy>(cases: u32, strategy: &S, law: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    if let Err(broken) = TestRunner::new(trying(cases)).run(strategy, law) {
        panic!("{broken}");
    }
}
