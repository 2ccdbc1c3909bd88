//! What commands print, against tables that a reviewer can read.

use super::render;
use super::replay::{HEAD, rows};
use super::walk::Look;
use crate::config::{Lifetimes, load_policy};
use crate::identity::TrustDomain;
use crate::policy::{Answer, Answers, Before, Policy, Replay, Ruling, Seen, Walk};
use crate::token::VerifiedClaims;
use crate::token::tests::claims_of;
use serde_json::{Value, json};
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
    let told = Look { all: false, coloured }.story(&serde_json::to_value(walk).unwrap());
    is_golden(&told, &format!("explain/{name}"));
}

fn is_golden(told: &str, name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    golden::hold(&file, &format!("{told}\n"));
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
fn a_rule_that_would_match_after_the_one_that_speaks_is_not_reached() {
    let rule = |name: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nid = \"/{{project_path}}/-/{name}\"\nwhen = {{ issuer = \"corp\", project_id = 4711 }}\n"
        )
    };
    let claims = claims("deploy_production_protected", &[]);
    let walk = policy(&[rule("first"), rule("second")].concat()).unwrap().walk(claims.claims(), &trust_domain());
    let told = Look { all: false, coloured: false }.story(&serde_json::to_value(walk).unwrap());
    assert!(told.contains("rule \"first\" matches\n"), "{told}");
    assert!(told.contains("rule \"second\" matches, and is not reached: \"first\" comes first"), "{told}");
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

#[test]
fn a_replay_on_a_terminal_is_a_table_of_who_loses_first() {
    let granted = |rule: &str, id: &str| Ruling::Granted {
        rule: rule.to_owned(),
        spiffe_id: format!("spiffe://ci.example.org/{id}"),
        ttl_seconds: 900,
    };
    let denied = |code: &str| Ruling::Denied { code: code.to_owned(), rule: None, reason: "no".to_owned() };
    let id = "spiffe://ci.example.org/acme/api/-/ci";
    let mut replay = Replay::default();
    for (request, granted_by, code, now) in [
        ("0123456789abcdef", Some("everybody"), "", denied("no_rule_matches")),
        ("1123456789abcdef", Some("everybody"), "", denied("no_rule_matches")),
        ("2123456789abcdef", None, "no_rule_matches", granted("tags", "acme/api/-/tags")),
        ("3123456789abcdef", Some("everybody"), "", granted("tags", "acme/api/-/tags")),
        ("4123456789abcdef", None, "refused_by_rule", denied("no_rule_matches")),
        ("5123456789abcdef", Some("everybody"), "", granted("everybody", "acme/api/-/ci")),
    ] {
        let granted = granted_by.map(|rule| (rule, id));
        replay.add(Before { request, project: "acme/api", granted, code }, &now, || {
            Some("\"tags\": when ref_type".to_owned())
        });
    }
    is_golden(&render::table(&HEAD, rows(&replay, true)), "replay.txt");
}
