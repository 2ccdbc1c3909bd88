//! Ten thousand rules for a thousand projects: how long they take to load, what memory they take, and a decision among them.

use lanyard::clock::{Clock, SystemClock};
use lanyard::config::load_policy;
use lanyard::policy::Policy;
use lanyard::token::{Claims, IssuerName};
use serde_json::json;
use std::fmt::Write;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

/// A rule of these takes 302 bytes, of which 136 are the rule itself; without what rules have in common it was 2,977.
const HELD_BYTES_MAX: i64 = 400;
/// While they are read a rule takes 1,400 bytes, of which 230 are its text; with the tree of all rules it was 5,700.
const READING_BYTES_MAX: u64 = 1_900;

/// Ten rules a project, each for an environment of it; each pins the project's path and id.
fn written(projects: u64) -> TempDir {
    let (folder, mut text) = (TempDir::new().unwrap(), String::new());
    for (project, at) in (1..=projects).flat_map(|project| (0..10).map(move |at| (project, at))) {
        write!(
            text,
            "[[rule]]\nname = \"g{project} e{at}\"\nid = \"/{{project_path}}/-/environments/e{at}/pipelines/{{pipeline_id}}\"\n\
             when = {{ issuer = \"corp\", project_id = {project}, project_path = \"g{project}/api\", environment = \"e{at}\", environment_protected = true }}\n"
        )
        .unwrap();
    }
    fs::write(folder.path().join("policy.toml"), text).unwrap();
    folder
}

fn load(folder: &TempDir) -> (Policy, time::Duration) {
    let began = SystemClock.now();
    let loaded = load_policy(&folder.path().join("policy.toml"), &[], Duration::from_secs(900)).unwrap();
    (loaded, SystemClock.now() - began)
}

fn claims() -> Claims {
    let payload = json!({
        "iss": "https://gitlab.example.com", "jti": "j", "sub": "project_path:g1/api:ref_type:branch:ref:main",
        "project_id": "1", "project_path": "g1/api", "namespace_id": "2", "namespace_path": "g1", "pipeline_id": "3",
        "job_id": "4", "pipeline_source": "push", "job_project_id": "1", "environment": "e9",
        "environment_protected": "true", "environment_action": "start",
    });
    Claims::unproven(payload.to_string().as_bytes(), IssuerName("corp".into())).unwrap()
}

/// The fastest of some rounds: what the machine does beside it slows the others.
fn nanoseconds_of_a_decision(policy: &Policy, claims: &Claims) -> i128 {
    const DECISIONS: i128 = 2_000;
    let round = |_| {
        let began = SystemClock.now();
        for _ in 0..DECISIONS {
            std::hint::black_box(policy.choose(std::hint::black_box(claims)).unwrap());
        }
        (SystemClock.now() - began).whole_nanoseconds() / DECISIONS
    };
    (0..20).map(round).min().unwrap()
}

/// Times are told (`--nocapture`, in a release build) and decide nothing; that the others' rules are not looked at does.
#[test]
fn a_decision_among_ten_thousand_rules_looks_at_the_project_s_own() {
    let ((few, _), (many, loading), claims) = (load(&written(1)), load(&written(1000)), claims());
    let (of_few, of_many) = (nanoseconds_of_a_decision(&few, &claims), nanoseconds_of_a_decision(&many, &claims));
    println!("10,000 rules loaded in {loading}; a decision took {of_few} ns among 10 rules, {of_many} ns among 10,000");
    assert_eq!((few.rules().len(), many.rules().len()), (10, 10_000));
    assert_eq!((few.rules_for(&claims).count(), many.rules_for(&claims).count()), (10, 10));
}

#[test]
fn a_rule_among_ten_thousand_takes_little_more_memory_than_its_text() {
    let (folder, mut loaded) = (written(1000), None);
    let spent = allocation_counter::measure(|| loaded = Some(load(&folder).0));
    let rules = loaded.unwrap().rules().len();
    let (held, reading) =
        (spent.bytes_current / i64::try_from(rules).unwrap(), spent.bytes_max / u64::try_from(rules).unwrap());
    println!("a rule takes {held} bytes, and {reading} while all are read");
    assert!(held <= HELD_BYTES_MAX, "a rule takes {held} bytes");
    assert!(reading <= READING_BYTES_MAX, "a rule takes {reading} bytes while all are read");
}
