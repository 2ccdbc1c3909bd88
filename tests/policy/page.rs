//! `docs/policy.md`: its policies are read out of the page, loaded, and asked what the cases beside them ask.

use super::root;
use lanyard::config::{KnownIssuer, Lifetimes, cases_file, check_policy, load_cases};
use lanyard::identity::TrustDomain;
use lanyard::policy::Policy;
use lanyard::token::{IssuerKind, IssuerName};
use std::collections::BTreeMap;
use std::fs;
use tempfile::TempDir;

const PAGE: &str = "docs/policy.md";

/// The page's policies, each in a file of its own with its cases beside it.
pub(super) struct Examples {
    page: String,
    folder: TempDir,
    /// The files' names, in the page's order, without `.toml`.
    pub(super) names: Vec<String>,
}

/// Every GitLab that the page speaks of.
pub(super) fn issuers() -> [KnownIssuer; 2] {
    let known = |(name, url): (&str, &str)| {
        let (name, url) = (IssuerName(name.into()), url.to_owned());
        KnownIssuer { name, kind: IssuerKind::GitLab, url, facts: vec!["job.state"], groups: None }
    };
    [("corp", "https://gitlab.example.com"), ("com", "https://gitlab.com")].map(known)
}

pub(super) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("ci.example.org").unwrap()
}

/// The blocks of TOML of a page, by the file name in their first lines.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let fenced = page.split("\n```toml\n").skip(1).map(|rest| rest.split_once("\n```\n").unwrap().0);
    fenced.map(|block| (block.lines().next().unwrap().strip_prefix("# ").unwrap(), block)).collect()
}

impl Examples {
    pub(super) fn read() -> Self {
        let page = fs::read_to_string(root().join(PAGE)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        for (file, text) in blocks(&page) {
            fs::write(folder.path().join(file), text).unwrap();
            if file.strip_suffix(".cases.toml").is_none() {
                names.push(file.strip_suffix(".toml").unwrap().to_owned());
            }
        }
        Self { page, folder, names }
    }

    /// A policy, and what it is warned of.
    fn check(&self, name: &str) -> (Policy, Vec<String>) {
        let file = self.folder.path().join(format!("{name}.toml"));
        let checked = check_policy(&file, &issuers(), Lifetimes::SVID).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
        (checked.policy, checked.warnings.into_iter().map(|warning| warning.found).collect())
    }

    pub(super) fn policy(&self, name: &str) -> Policy {
        self.check(name).0
    }
}

#[test]
fn the_page_has_twelve_policies_and_each_loads_without_a_word() {
    let examples = Examples::read();
    let said: BTreeMap<&str, Vec<String>> =
        examples.names.iter().map(|name| (name.as_str(), examples.check(name).1)).collect();
    assert_eq!(said.len(), 12, "{said:?}");
    assert_eq!(said.values().flatten().count(), 0, "{said:#?}");
}

#[test]
fn the_page_tells_every_warning_that_can_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let rule = "[[rule]]\nname = \"a\"\nid = \"/{project_path}/-/a\"\nwhen.issuer = \"corp\"\naccept.nothing = \"why\"";
    fs::write(&file, rule).unwrap();
    let problems = check_policy(&file, &issuers(), Lifetimes::SVID).unwrap_err();
    let (names, _) = problems[0].remedy.strip_prefix("warnings are ").unwrap().split_once(';').unwrap();
    let page = Examples::read().page;
    let told = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let told: Vec<&str> =
        told.map(|(name, _)| name).filter(|name| names.split(", ").any(|known| known == *name)).collect();
    assert_eq!(told.join(", "), names);
}

#[test]
fn every_case_on_the_page_holds() {
    let examples = Examples::read();
    let mut wrong = Vec::new();
    for name in &examples.names {
        let policy = examples.policy(name);
        let file = cases_file(&examples.folder.path().join(format!("{name}.toml")));
        let cases = load_cases(&file, &policy, &[]).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        assert!(cases.len() >= 2, "{name}: one case shows nothing of what a policy refuses");
        let judged = cases.iter().map(|case| case.judge(&policy, &trust_domain()));
        wrong.extend(judged.filter(|one| !one.holds()).map(|one| (name.clone(), one)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
