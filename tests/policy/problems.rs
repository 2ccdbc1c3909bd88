//! Policies with something wrong, each with all that is said of it, word for word.

use super::{golden, root};
use lanyard::config::{KnownIssuer, Lifetimes, Problem, check_policy};
use lanyard::token::{IssuerKind, IssuerName};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const TABLE: &str = "tests/tables/policy/problems.txt";

/// All that is said of a policy, a line each.
fn said_of(policy: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, policy).unwrap();
    let issuers = ["corp", "com"].map(|name| {
        let url = format!("https://gitlab.{name}.example");
        KnownIssuer { name: IssuerName(name.into()), kind: IssuerKind::GitLab, url, facts: Vec::new(), groups: None }
    });
    let line = |problem: Problem| Problem { file: Path::new("policy.toml").to_owned(), ..problem }.to_string();
    match check_policy(&file, &issuers, Lifetimes::SVID) {
        Ok(checked) => checked.warnings.into_iter().map(|warning| format!("warning: {}", line(warning))).collect(),
        Err(problems) => problems.into_iter().map(line).collect(),
    }
}

/// The head of the table explains its form.
#[test]
fn every_problem_of_a_file_is_told_at_once_with_its_line() {
    let table = fs::read_to_string(root().join(TABLE)).unwrap();
    let (head, blocks) = table.split_once("\n=== ").unwrap();
    let mut found = head.to_owned();
    let mut policies = 0;
    for block in blocks.split("\n=== ") {
        let (title, body) = block.split_once('\n').unwrap();
        let (policy, _said) = body.split_once("\n---\n").unwrap();
        let said = said_of(policy);
        assert!(!said.is_empty(), "{title}: nothing is said of it");
        let warns = said.iter().all(|line| line.starts_with("warning: "));
        assert_eq!(warns, title.starts_with("warning: "), "{title}: {said:#?}");
        writeln!(found, "\n=== {title}\n{policy}\n---\n{}", said.join("\n")).unwrap();
        policies += 1;
    }
    golden::hold(&root().join(TABLE), &found);
    assert!(policies >= 40, "forty policies can be read aloud");
}
