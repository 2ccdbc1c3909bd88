//! What `explain` prints, against tables that a reviewer can read; and that it never disagrees with the road.

use super::walk::Look;
use crate::config::{Lifetimes, load_policy};
use crate::identity::TrustDomain;
use crate::policy::{Answer, Answers, Kind, Policy, Seen, Verdict, Walk, Wish};
use crate::token::VerifiedClaims;
use crate::token::tests::claims_of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fmt::Write as _;
use std::path::Path;

#[path = "../../tests/support/golden.rs"]
mod golden;

const POLICY: &str = include_str!("../../tests/golden/explain/policy.toml");

fn policy(text: &str) -> Option<Policy> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, text).unwrap();
    load_policy(&file, &[], Lifetimes::SVID).ok()
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("ci.example.org").unwrap()
}

fn claims(sample: &str, changes: &[(&str, Value)]) -> VerifiedClaims {
    let changes: Vec<_> = changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    claims_of(sample, &changes).unwrap()
}

fn walk(sample: &str, changes: &[(&str, Value)]) -> Walk {
    policy(POLICY).unwrap().walk(claims(sample, changes).claims(), &trust_domain())
}

/// Whether a walk is printed as the file says.
fn is_told(walk: &impl serde::Serialize, coloured: bool, name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/explain").join(name);
    golden::hold(&file, &(Look { all: false, coloured }.story(&serde_json::to_value(walk).unwrap()) + "\n"));
}

#[test]
fn a_grant_is_told_with_its_id_its_rule_and_its_lifetime() {
    is_told(&walk("deploy_production_protected", &[]), false, "granted.txt");
}

#[test]
fn a_refusal_is_told_with_the_nearest_rule_first() {
    let staging = [("environment", json!("review/7"))];
    is_told(&walk("deploy_production_protected", &staging), false, "nearest_first.txt");
}

#[test]
fn a_refusing_rule_that_spoke_stands_first() {
    is_told(&walk("mr_fork_in_parent_fixed", &[]), false, "fork.txt");
}

#[test]
fn the_bearer_reads_no_rule_and_no_name_of_another_project() {
    let walk = walk("branch_protected_main", &[]).for_bearer();
    assert!(!serde_json::to_string(&walk).unwrap().contains("secret"));
    is_told(&walk, false, "bearer.txt");
}

const NEEDING: &str = r#"
[[rule]]
name = "released and running"
id = "/{project_path}/-/released/pipelines/{pipeline_id}"
when = { issuer = "corp", project_id = 4711 }
[rule.need]
"job.state" = "running"
any = [{ "job.state" = "running" }]
"#;

fn walk_hearing(facts: &Answers) -> Walk {
    let claims = claims("deploy_production_protected", &[]);
    policy(NEEDING).unwrap().walk_hearing(claims.claims(), facts, &trust_domain())
}

#[test]
fn what_a_rule_needs_is_told_and_that_nobody_was_asked_for_it() {
    is_told(&walk_hearing(&Answers::NONE), false, "not_asked.txt");
}

#[test]
fn operators_read_what_other_systems_said_and_the_bearer_whether_it_passed() {
    let facts = [("job.state".into(), Answer::Is(Seen::Text("success".to_owned())))].into_iter().collect();
    let walk = walk_hearing(&facts);
    is_told(&walk, false, "need_failed.txt");
    let walk = walk.for_bearer();
    assert!(!serde_json::to_string(&walk).unwrap().contains("success"));
    is_told(&walk, false, "need_failed_for_bearer.txt");
}

#[test]
fn what_the_journal_did_not_keep_is_said_and_counts_as_no_miss() {
    let walk = walk("branch_protected_main", &[]).knowing_only(|claim| claim != "namespace_id" && claim != "fork");
    is_told(&walk, false, "not_kept.txt");
}

#[test]
fn a_terminal_reads_colours_and_obeys_nothing_that_a_token_says() {
    let hostile = [("environment", json!("\u{1b}[2J\u{202e}\nok"))];
    let walk = walk("deploy_production_protected", &hostile);
    is_told(&walk, true, "coloured.txt");
}

const SAMPLES: [&str; 6] = [
    "branch_protected_main",
    "branch_unprotected_feature",
    "tag_protected_release",
    "deploy_production_protected",
    "mr_fork_in_parent_fixed",
    "mr_fork_in_parent_before_fix",
];
const TERMS: [&str; 12] = [
    "ref = \"main\"",
    "ref_protected = true",
    "ref_protected = false",
    "environment = \"production\"",
    "environment = \"*\"",
    "environment_protected = true",
    "project_id = 4711",
    "project_id = [1, 4711]",
    "ref_type = \"tag\"",
    "fork = false",
    "namespace_id = 812",
    "any = [{ ref = \"main\" }, { ref_type = \"tag\" }]",
];

/// A rule of its own place, with some terms and flags.
fn rule() -> impl Strategy<Value = String> {
    let terms = || prop::collection::btree_set(select(&TERMS[..]), 0..3);
    (terms(), terms(), any::<u8>()).prop_map(|(when, unless, dice)| {
        let one_each = |terms: std::collections::BTreeSet<&'static str>, head: &str| {
            let mut claims = std::collections::BTreeMap::new();
            for term in terms {
                claims.insert(term.split(' ').next().unwrap().to_owned(), term);
            }
            let lines: Vec<&str> = claims.into_values().collect();
            format!("{head}\n{}\n", lines.join("\n"))
        };
        let mut text = String::new();
        if dice % 2 == 1 {
            text.push_str("kinds = [\"jwt\"]\naudiences = [\"https://a.test\"]\n");
        }
        if dice % 8 == 7 {
            text.push_str("observe = true\n");
        }
        if dice % 4 == 2 {
            text.push_str("need = { \"job.state\" = \"running\" }\n");
        }
        writeln!(text, "ttl = \"{}m\"", 5 + u32::from(dice % 7)).unwrap();
        text.push_str(&one_each(when, "path_only = \"a test\"\n[rule.when]\nissuer = \"corp\""));
        if dice >= 128 {
            text.push_str(&one_each(unless, "[rule.unless]"));
        }
        text
    })
}

fn policies() -> impl Strategy<Value = String> {
    (prop::collection::vec(rule(), 1..6), any::<bool>()).prop_map(|(rules, refuses)| {
        let mut text = String::new();
        if refuses {
            text.push_str("[[refuse]]\nname = \"forks\"\nsay = \"no\"\nwhen = { issuer = \"corp\", fork = true }\n");
        }
        for (n, rule) in rules.iter().enumerate() {
            let id = format!("/{{project_path}}/-/r{n}/{{ref}}/pipelines/{{pipeline_id}}");
            let id = if n % 2 == 0 { id.replace("/{ref}", "") } else { id };
            writeln!(text, "[[rule]]\nname = \"r{n}\"\nid = \"{id}\"\n{rule}").unwrap();
        }
        text
    })
}

/// What the road says, in the walk's words.
fn road(policy: &Policy, claims: &VerifiedClaims, facts: &Answers) -> Verdict {
    let granted = policy.choose(claims.claims()).and_then(|rule| {
        let wish = if rule.kinds.contains(&Kind::X509) {
            Wish::X509 { profile: None }
        } else {
            Wish::Jwt { profile: None, audiences: rule.audiences.clone(), has_key: true }
        };
        rule.hear(facts.clone())?.grant(claims, &wish, &trust_domain())
    });
    match granted {
        Ok(grant) => Verdict::Granted {
            rule: grant.rule().to_owned(),
            spiffe_id: grant.spiffe_id().to_string(),
            ttl_seconds: grant.ttl().as_secs(),
            build_claims: !grant.build_claims().is_empty(),
            not_asked: Vec::new(),
        },
        Err(denial) => Verdict::Denied { code: denial.code().to_owned(), reason: denial.to_string(), nearest: None },
    }
}

/// What other systems say in the words of a case, or that they could not be asked.
fn facts() -> impl Strategy<Value = Answers> {
    let unavailable = Answer::Unavailable { why: "away".to_owned(), retry_after: Some(7) };
    let said = ["running", "success"].map(|state| Answer::Is(Seen::Text(state.to_owned())));
    let all: Vec<Answer> = said.into_iter().chain([Answer::No("another job".to_owned()), unavailable]).collect();
    select(all).prop_map(|answer| [("job.state".into(), answer)].into_iter().collect())
}

/// The bearer reads another reason than operators, where other systems were asked.
fn without_reason(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Denied { code, .. } => Verdict::Denied { code, reason: String::new(), nearest: None },
        granted @ Verdict::Granted { .. } => granted,
    }
}

fn without_nearest(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Denied { code, reason, .. } => Verdict::Denied { code, reason, nearest: None },
        granted @ Verdict::Granted { .. } => granted,
    }
}

#[test]
fn the_walk_and_the_road_never_disagree() {
    let environments = select(vec![json!(null), json!("production"), json!("prod uction"), json!("review/1")]);
    let references = select(vec![json!("main"), json!("feature"), json!("a b"), json!("ns")]);
    let cases = (policies(), select(&SAMPLES[..]), environments, references, (any::<bool>(), facts()));
    let (granted, denied) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let judged = runner.run(&cases, |(text, sample, environment, reference, (protected, facts))| {
        let changes = [
            ("environment".to_owned(), environment),
            ("ref".to_owned(), reference),
            ("ref_protected".to_owned(), json!(protected.to_string())),
        ];
        let Some(policy) = policy(&text) else { return Ok(()) }; // the linter takes one in six
        let Ok(claims) = claims_of(sample, &changes) else { return Ok(()) };
        let walk = policy.walk_hearing(claims.claims(), &facts, &trust_domain());
        let road = road(&policy, &claims, &facts);
        let count = if matches!(road, Verdict::Granted { .. }) { &granted } else { &denied };
        count.set(count.get() + 1);
        prop_assert_eq!(&without_nearest(walk.verdict.clone()), &road);
        prop_assert_eq!(without_reason(walk.clone().for_bearer().verdict), without_reason(road));
        for rule in walk.refusals.iter().chain(&walk.rules) {
            prop_assert_eq!(rule.matches, rule.misses == 0);
        }
        prop_assert_eq!(walk.clone().knowing_only(|_every| true), walk);
        Ok(())
    });
    judged.unwrap();
    assert!(granted.get() > 40 && denied.get() > 40, "{} granted, {} denied", granted.get(), denied.get());
}
