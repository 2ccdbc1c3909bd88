//! Questions to one small journal, as they are typed, and the records that answer them.

use super::question;
use crate::audit::Received;
use crate::crypto::Digest;
use crate::session::SessionId;
use crate::store::Record;
use clap::Parser;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

#[derive(Debug, Parser)]
struct Typed {
    #[command(flatten)]
    asked: question::Args,
}

const SERIAL: &str = "4a0c5df1e2b3949586778899aabbccdd";

fn job(id: u64, sha: &str, user: &str) -> Value {
    json!({
        "issuer": "corp", "jti": format!("jti-{id}"), "sub": "s", "project_id": 4711, "project_path": "acme/api",
        "pipeline_id": 574, "job_id": id, "sha": sha, "ref_path": "refs/heads/main", "user_login": user, "user_id": id,
    })
}

fn session(id: u64) -> String {
    let job: crate::audit::Job = serde_json::from_value(job(id, "", "")).unwrap();
    SessionId::of_job(&job).unwrap().to_string()
}

/// A job deploys and is ended, another is turned away and its job closed; between them things are changed.
fn journal() -> Vec<Value> {
    let mut deploys = job(1, "c0ffee11223344", "ada");
    deploys["environment"] = json!("production");
    let mut end = job(1, "", "ada");
    for gone in ["jti", "sub", "sha"] {
        end.as_object_mut().unwrap().remove(gone);
    }
    let mut other = job(3, "beef0000111122", "cyd");
    (other["project_id"], other["project_path"]) = (json!(12), json!("zoo/api"));
    let intent = |request: &str, job: &Value, id: &str, serial: &str| {
        json!({
            "kind": "intent", "request_id": request, "session": session(job["job_id"].as_u64().unwrap()), "job": job,
            "rule": "deploys", "spiffe_id": id, "svid": { "type": "x509", "serial": serial },
        })
    };
    let issued = |request: &str| json!({ "kind": "issued", "request_id": request, "digest": "d" });
    let refused = json!({
        "kind": "refused", "request_id": "request-two", "code": "no_rule_matches", "why": "none",
        "job": job(2, "deadbeef556677", "Bob"), "repeats": 0,
    });
    vec![
        json!({ "kind": "started", "version": "0.1.0" }),
        json!({ "kind": "pin_changed", "path": "acme/api", "new": 4711, "how": "operator", "uid": 7 }),
        intent("request-one", &deploys, "spiffe://ci.example.org/acme/api/-/pipelines/574", SERIAL),
        issued("request-one"),
        refused,
        json!({ "kind": "ban_added", "selector": "project=acme/api user=bob", "say": "left", "uid": 7 }),
        json!({ "kind": "job_closed", "issuer": "corp", "project_id": 4711, "job_id": 2, "why": "finished", "by": "issuer" }),
        intent("request-three", &other, "spiffe://ci.example.org/zoo/api/-/pipelines/9", "4b"),
        issued("request-three"),
        intent("request-four", &deploys, "spiffe://ci.example.org/acme/api/-/pipelines/574", "4c"),
        issued("request-four"),
        json!({ "kind": "session_ended", "session": session(1), "why": "finished", "by": "agent", "job": end }),
        json!({ "kind": "hook_refused", "request_id": "request-five", "issuer": "corp", "code": "hook_stale", "why": "old" }),
    ]
}

/// The numbers of the records that answer, or why none does. Record n is of minute n after midnight of 1970.
fn answers(typed: &str) -> Result<Vec<u64>, String> {
    let asked = Typed::try_parse_from(["show"].into_iter().chain(typed.split_whitespace()));
    let mut question = asked.map_err(|error| error.to_string())?.asked.question();
    let mut found = Vec::new();
    for (position, entry) in (1_u64..).zip(journal()) {
        let (digest, at) = (Digest::of(b""), OffsetDateTime::UNIX_EPOCH + Duration::from_secs(60 * position));
        let raw = to_raw_value(&entry).unwrap();
        let record =
            Record { position, at, digest, prev: digest, entry: raw, put: BTreeMap::new(), delete: Vec::new() };
        let entry: Received = serde_json::from_value(entry).unwrap();
        if question.is_answered_by(&record, &entry) {
            found.push(position);
        }
    }
    if found.is_empty() { Err(question.unanswered("13 records")) } else { Ok(found) }
}

#[test]
fn each_question_has_its_answers() {
    let of_first = session(1);
    let short = of_first.get(..8).unwrap();
    let upper = SERIAL.to_uppercase();
    let pairs = upper.as_bytes().chunks(2).map(|two| String::from_utf8_lossy(two).into_owned());
    let colons = pairs.collect::<Vec<_>>().join(":");
    let decimal = u128::from_str_radix(SERIAL, 16).unwrap();
    for (typed, wanted) in [
        (String::new(), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13][..]),
        // A commit's whole story, with what has no commit of its own.
        ("--commit C0FFEE1".to_owned(), &[3, 4, 10, 11, 12]),
        ("--commit deadbeef556677".to_owned(), &[5, 7]),
        ("--environment production".to_owned(), &[3, 4, 10, 11, 12]),
        ("--user bob".to_owned(), &[5, 6, 7]),
        ("--user 3".to_owned(), &[8, 9]),
        ("--project ACME/api".to_owned(), &[2, 3, 4, 5, 6, 7, 10, 11, 12]),
        ("--project 4711".to_owned(), &[2, 3, 4, 5, 7, 10, 11, 12]),
        ("--pipeline 574 --job 3".to_owned(), &[8, 9]),
        ("--job 2".to_owned(), &[5, 7]),
        ("--spiffe-id spiffe://ci.example.org/zoo/**".to_owned(), &[8, 9]),
        ("--spiffe-id spiffe://ci.example.org/acme/api/-/pipelines/574".to_owned(), &[3, 4, 10, 11, 12]),
        // Of one SVID, its own entries and the end of its session.
        (format!("--serial {SERIAL}"), &[3, 4, 12]),
        (format!("--serial serial={}", SERIAL.to_uppercase()), &[3, 4, 12]),
        (format!("--serial {colons}"), &[3, 4, 12]),
        (format!("--serial {decimal}"), &[3, 4, 12]),
        ("--request-id request-three".to_owned(), &[8, 9]),
        (format!("--session {of_first}"), &[3, 4, 10, 11, 12]),
        (format!("--session {short} --kind session_ended"), &[12]),
        ("--refused".to_owned(), &[5, 13]),
        ("--refused --user bob".to_owned(), &[5]),
        ("--changes".to_owned(), &[1, 2, 6]),
        ("--changes --project acme/api".to_owned(), &[2, 6]),
        ("--changes --refused --kind issued".to_owned(), &[1, 2, 4, 5, 6, 9, 11, 13]),
        ("--since 1970-01-01T00:05:00Z --until 1970-01-01T00:06:00Z".to_owned(), &[5, 6]),
        // What began before the time asked for is still whose it was.
        ("--commit c0ffee1 --since 1970-01-01T00:11:00Z".to_owned(), &[11, 12]),
        ("--environment production --kind session_ended".to_owned(), &[12]),
    ] {
        assert_eq!(answers(&typed).as_deref(), Ok(wanted), "{typed}");
    }
}

#[test]
fn a_question_without_an_answer_says_which_part_of_it_nothing_fits() {
    for (typed, words) in [
        ("--commit 1234567", "nothing in it fits --commit 1234567;"),
        ("--commit c0ffee1 --environment staging", "fits --environment staging;"),
        ("--commit c0ffee1 --user bob", "each of --commit c0ffee1, --user bob fits some, but none fits all"),
        ("--user ada --refused", "each of --user ada, --refused fits some"),
        ("--since 1971-01-01T00:00:00Z", "fits --since 1971-01-01T00:00:00Z;"),
        ("--commit main", "hex digits, 7 at least"),
        ("--user=", "a value is required"),
    ] {
        let said = answers(typed).unwrap_err();
        assert!(said.contains(words), "{typed}: {said}");
    }
}

#[test]
fn what_the_journal_has_put_away_is_not_remembered() {
    let mut question = Typed::try_parse_from(["show", "--user", "ada"]).unwrap().asked.question();
    let mut ends = Vec::new();
    for (swept, kind) in [(false, "intent"), (true, "swept"), (false, "session_ended")] {
        let (digest, at) = (Digest::of(b""), OffsetDateTime::UNIX_EPOCH);
        let mut entry = json!({ "kind": kind, "session": session(1) });
        if kind == "intent" {
            entry["job"] = job(1, "", "ada");
        }
        let (raw, put) = (to_raw_value(&entry).unwrap(), BTreeMap::new());
        let delete = if swept { vec![format!("session/{}", session(1))] } else { Vec::new() };
        let record = Record { position: 1, at, digest, prev: digest, entry: raw, put, delete };
        ends.push(question.is_answered_by(&record, &serde_json::from_value(entry).unwrap()));
    }
    assert_eq!(ends, [true, false, false]);
}
