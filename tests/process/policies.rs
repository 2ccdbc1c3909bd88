//! Policies before they are used: cases beside the rules, and the journal decided again.

use crate::callers::{Caller, Door, Outcome, now};
use crate::place::Place;
use crate::server::{Server, lanyard, words};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;

const RULES: &str = r#"
[[refuse]]
name = "bots get nothing"
when = { issuer = "corp", "actor.kind" = "bot" }
say = "bots get no identity"

[[rule]]
name = "protected refs"
id = "/{project_path}/-/pipelines/{pipeline_id}"
ttl = "15m"
kinds = ["x509", "jwt"]
audiences = ["https://service.test"]
[rule.when]
issuer = "corp"
namespace_id = 72
ref_protected = true
"#;

const CASES: &str = r#"
[claims]
project_id = 4711
project_path = "acme/payments/api"
namespace_id = 72
ref_protected = true
user_id = 51
user_login = "ada"

[[case]]
name = "main gets an identity"
id = "/acme/payments/api/-/pipelines/1"
ttl = "15m"
rule = "protected refs"

[[case]]
name = "a branch of anybody gets none"
refused = "no_rule_matches"
[case.claims]
ref_protected = false

[[case]]
name = "a bot gets none"
refused = "refused_by_rule"
rule = "bots get nothing"
[case.claims]
user_login = "project_4711_bot_0c55e1aa90d7"

[[case]]
name = "a token for nobody is not given"
wish = "jwt"
audiences = ["https://nobody.test"]
refused = "audience_not_granted"
"#;

const OK: &str = "\
ok\tmain gets an identity\t/acme/payments/api/-/pipelines/1 for 900 s by \"protected refs\"\t/acme/payments/api/-/pipelines/1 for 900 s by \"protected refs\"\t\"protected refs\": when namespace_id is 72; the job has 72
ok\ta branch of anybody gets none\tno_rule_matches\tno_rule_matches\t\"protected refs\": when ref_protected is true; the job has false
ok\ta bot gets none\trefused_by_rule by \"bots get nothing\"\trefused_by_rule by \"bots get nothing\"\t\"bots get nothing\": when actor.kind is one of bot, group_token, project_token; the job has project_token
ok\ta token for nobody is not given\taudience_not_granted\taudience_not_granted by \"protected refs\"\trule \"protected refs\" grants no JWT-SVID for audience \"https://nobody.test\"; it has: https://service.test. Ask for one of these, or have it added to the rule's audiences
";

fn test(policy: &Path, more: &[&str]) -> Output {
    lanyard().args(["policy", "test"]).arg(policy).args(more).output().unwrap()
}

fn told(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn cases_hold_or_fail_with_the_first_term_that_decided() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    let cases = folder.path().join("policy.cases.toml");
    fs::write(&policy, RULES).unwrap();
    fs::write(&cases, CASES).unwrap();
    let held = test(&policy, &[]);
    assert_eq!(told(&held), OK, "{}", words(&held));
    assert_eq!(held.status.code(), Some(0));

    // Somebody lets every branch in, and forgets the lifetime.
    fs::write(&policy, RULES.replace("ref_protected = true\n", "").replace("15m", "1h")).unwrap();
    let failed = test(&policy, &[]);
    let verdicts: Vec<_> = told(&failed).lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(verdicts, ["FAILED (ttl)", "FAILED (outcome)", "ok", "ok"], "{}", words(&failed));
    assert_eq!(failed.status.code(), Some(1));
    let facts: Value = serde_json::from_slice(&test(&policy, &["--json"]).stdout).unwrap();
    assert_eq!((&facts["failed"], &facts["cases"][1]["got"]["outcome"]), (&json!(2), &json!("granted")));

    fs::write(&cases, "[[case]]\nname = \"x\"\nid = \"/a\"\n[case.claims]\nprojectpath = \"acme\"\n").unwrap();
    let broken = test(&policy, &[]);
    let line = "policy.cases.toml:4: case[0].claims: projectpath, which no token of issuer corp (gitlab) has;";
    assert!(words(&broken).contains(line), "{}", words(&broken));
    assert_eq!(broken.status.code(), Some(1));
}

/// Two of them on protected refs get identities, a branch and a bot do not.
async fn four_jobs(place: &Place) {
    let door = Door::of(place);
    let bot = "project_4711_bot_0c55e1aa90d7";
    for (name, value, issued) in [
        ("sha", "c0ffee", true),
        ("sha", "decade", true),
        ("ref_protected", "false", false),
        ("user_login", bot, false),
    ] {
        let token = place.issuer.token_with(now(), name, value);
        let outcome = Caller::curl().offer(&token, &door).await;
        assert_eq!(matches!(outcome, Outcome::Issued(_)), issued, "{outcome:?}");
    }
}

fn refused_with(place: &Place, code: &str) -> Value {
    let entries = crate::journal::records(place).into_iter().map(|record| record["entry"].clone());
    entries.filter(|entry| entry["kind"] == "refused").find(|entry| entry["code"] == code).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_decided_again_tells_who_gains_loses_and_changes() {
    let place = Place::new();
    fs::write(place.file("policy.toml"), RULES).unwrap();
    let server = Server::start(&place);
    four_jobs(&place).await;
    server.ask_to_end();
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");

    let replay = |policy: &str| {
        let new = place.file("new.toml");
        fs::write(&new, policy).unwrap();
        let mut command = lanyard();
        command.args(["policy", "replay", "--since", "7d", "--json", "--policy"]).arg(new);
        let output = command.arg("--data-dir").arg(place.data()).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let counts =
        |facts: &Value| ["loses", "gains", "changes", "otherwise_refused", "same"].map(|name| facts[name].as_u64());
    let some = |counts: [u64; 5]| counts.map(Some);
    let itself = replay(RULES);
    assert_eq!((counts(&itself), &itself["decided_by_this_policy"]), (some([0, 0, 0, 0, 4]), &json!(4)));

    let branches = replay(&RULES.replace("ref_protected = true", "ref_protected = false"));
    assert_eq!((counts(&branches), &branches["decided_by_this_policy"]), (some([2, 1, 0, 0, 1]), &json!(0)));
    let lost = &branches["groups"][0];
    assert_eq!(
        (&lost["requests"], &lost["before"], &lost["after"]),
        (&json!(2), &json!("protected refs"), &json!("no_rule_matches"))
    );
    let term = "\"protected refs\": when ref_protected is false; the job has true";
    assert_eq!((&lost["project"], &lost["decided_by"]), (&json!("acme/payments/api"), &json!(term)));

    let renamed = replay(&RULES.replace("/-/pipelines/", "/-/runs/"));
    assert_eq!(counts(&renamed), some([0, 0, 2, 0, 2]));
    assert_eq!(renamed["groups"][0]["first_would_get"], "spiffe://ci.example.org/acme/payments/api/-/runs/574");

    // The journal does not keep a refused person's address, so a policy that reads it cannot be asked about it.
    let by_email = replay(&RULES.replace("ref_protected = true", "user_email = \"ada@corp.example\""));
    let not_decided = json!({ "claims_not_recorded": 0, "claims_withheld": 2, "facts_not_asked": 0 });
    assert_eq!(by_email["not_decided"], not_decided);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_the_journal_becomes_a_case_that_holds() {
    let place = Place::new();
    fs::write(place.file("policy.toml"), RULES).unwrap();
    let server = Server::start(&place);
    four_jobs(&place).await;
    server.ask_to_end();
    server.wait();

    let refused = refused_with(&place, "no_rule_matches");
    assert!(!refused.to_string().contains("ada@"), "{refused}");
    let mut entries = crate::journal::records(&place).into_iter().map(|record| record["entry"].clone());
    let granted = entries.find(|entry| entry["kind"] == "intent").unwrap();
    let mut cases = String::new();
    for entry in [refused, granted] {
        let id = entry["request_id"].as_str().unwrap();
        let case = lanyard()
            .args(["policy", "test", "--from-journal", id.get(..8).unwrap(), "--config"])
            .arg(place.config())
            .output();
        let case = case.unwrap();
        assert!(case.status.success() && !told(&case).contains("ada@"), "{}", words(&case));
        cases.push_str(told(&case));
    }
    fs::write(place.file("policy.cases.toml"), &cases).unwrap();
    let held = test(&place.file("policy.toml"), &[]);
    assert_eq!(told(&held).matches("ok\t").count(), 2, "{}{cases}", words(&held));
    assert!(held.status.success());
}
