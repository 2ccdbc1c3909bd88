//! The policy is read again while the server runs: nobody waits, and a policy with problems changes nothing.

use super::doors::Doors;
use crate::support::harness::POLICY;
use lanyard::store::JournalReader;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// The server looks at its file every three seconds, so it may be faster than whoever asks: then the next change is the
/// asker's.
const CHANGES_MAX: usize = 5;

fn policy(literal: &str) -> String {
    let policy = POLICY.replace("/-/pipelines/", &format!("/-/{literal}/pipelines/"));
    policy.replace("ttl =", "jwt_without_key = true\nttl =")
}

fn put(doors: &Doors, policy: &str) {
    let (aside, file) = (doors.folder.path().join("policy.new"), doors.folder.path().join("policy.toml"));
    fs::write(&aside, policy).unwrap();
    fs::rename(aside, file).unwrap();
}

async fn id_given(doors: &Doors) -> String {
    let asked = json!({ "token": doors.token(), "audience": ["https://service.test"] });
    let (status, answer) = doors.post("/v1/svid/jwt", &asked).await;
    assert_eq!(status, 200, "{answer}");
    answer.get("spiffe_id").and_then(Value::as_str).unwrap().to_owned()
}

/// Waits until jobs are named by the new policy.
async fn noticed(doors: &Doors, piece: &str) {
    let noticed = async {
        while !id_given(doors).await.contains(piece) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), noticed).await.unwrap();
}

/// `lanyard policy reload --json`: whether it was a success, and what it printed.
async fn reload(doors: &Doors) -> (bool, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.args(["policy", "reload", "--json", "--admin-socket"]).arg(doors.folder.path().join("admin.sock"));
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = serde_json::from_str(&text).unwrap();
    (output.status.success(), told)
}

/// The entries of changed policies, after the server has ended.
async fn changes(doors: Doors) -> Vec<Value> {
    let Doors { folder, stop, mut running, .. } = doors;
    stop.pull();
    while running.join_next().await.is_some() {}
    let records = JournalReader::open(&folder.path().join("data")).unwrap();
    let entries = records.map(|record| serde_json::from_str::<Value>(record.unwrap().entry.get()).unwrap());
    entries.filter(|entry| entry["kind"] == "policy_changed").collect()
}

#[tokio::test]
async fn an_operator_has_the_policy_read_again_and_the_journal_says_who() {
    let doors = Doors::with(&policy("first")).await;
    let mut told = Value::Null;
    for change in 0..CHANGES_MAX {
        put(&doors, &policy(&format!("change-{change}")));
        let (good, answer) = reload(&doors).await;
        assert!(good, "{answer}");
        assert!(id_given(&doors).await.contains(&format!("/-/change-{change}/pipelines/")));
        told = answer;
        if told["changed"] == true {
            break;
        }
    }
    assert_eq!((&told["changed"], &told["rules"]), (&json!(true), &json!(1)), "{told}");
    let (good, again) = reload(&doors).await;
    assert!(good && again["changed"] == false && again["new"] == told["new"], "{again}");
    let changes = changes(doors).await;
    let own = rustix::process::getuid().as_raw();
    let last = changes.last().unwrap();
    assert_eq!((&last["by"], &last["uid"]), (&json!("operator"), &json!(own)), "{changes:?}");
    assert_eq!((&last["old"], &last["new"]), (&told["old"], &told["new"]));
}

#[tokio::test]
async fn a_policy_with_problems_changes_nothing_and_each_is_told() {
    let doors = Doors::with(&policy("first")).await;
    put(&doors, &policy("second").replace("[rule.when]", "color = \"red\"\n[rule.when]").replace("15m", "soon"));
    let (good, told) = reload(&doors).await;
    assert!(!good, "{told}");
    let problems: Vec<&str> = told["problems"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|one| one.contains("soon")) && problems.iter().any(|one| one.contains("color")));
    assert!(id_given(&doors).await.contains("/-/first/pipelines/"));
    assert!(changes(doors).await.is_empty());
}

#[tokio::test]
async fn what_a_start_would_warn_of_is_told_at_a_reload_too() {
    let doors = Doors::with(&policy("first")).await;
    put(&doors, &policy("second").replace("issuer = \"corp\"", "issuer = \"corp\"\nuser_login = \"ada\""));
    let (good, told) = reload(&doors).await;
    let warnings = told["warnings"].as_array().unwrap();
    assert!(good && warnings.len() == 1, "{told}");
    assert!(warnings[0].as_str().unwrap().contains("mutable_name"), "{told}");
    doors.close().await;
}

#[tokio::test]
async fn a_file_that_was_changed_is_noticed() {
    let doors = Doors::with(&policy("first")).await;
    put(&doors, &policy("second"));
    noticed(&doors, "/-/second/pipelines/").await;
    let changes = changes(doors).await;
    assert_eq!((changes.len(), &changes[0]["by"], &changes[0]["uid"]), (1, &json!("file"), &Value::Null));
}

#[tokio::test]
async fn a_hangup_signal_has_the_policy_read_again() {
    // Heard here as well: so the signal ends nothing, however early it comes.
    let _heard = signal(SignalKind::hangup()).unwrap();
    let doors = Doors::with(&policy("first")).await;
    // The answer says that the keeper listens.
    reload(&doors).await;
    for change in 0..CHANGES_MAX {
        put(&doors, &policy(&format!("change-{change}")));
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        noticed(&doors, &format!("/-/change-{change}/pipelines/")).await;
    }
    let changes = changes(doors).await;
    assert!(changes.iter().any(|change| change["by"] == "signal"), "{changes:?}");
}
