//! A scripted Gerrit: changes and commits as its REST API shows them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what cannot be set up ends the test")]

use crate::asking::{Asking, corp};
use crate::changes::{PICKED, World, hold};
use crate::scripted::{Reply, Scripted};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lanyard::facts::{GerritApi, GerritProject, LetIn, Limits, Place};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) const OWNER: u64 = 9;
pub(crate) const BOB: u64 = 7;
pub(crate) const SERVER_EMAIL: &str = "gerrit@corp.example";

/// A Gerrit as configured, that needs these labels.
pub(crate) fn configured(url: &str, labels: &[(&str, i32)], file: PathBuf) -> GerritApi {
    let place = Place {
        url: url.to_owned(),
        let_in: LetIn::Basic { user: "lanyard".to_owned() },
        token_file: file,
        ca_pem: None,
    };
    let project = |name: &str| GerritProject { name: name.to_owned(), branch: "main".to_owned() };
    GerritApi {
        issuer: corp(),
        place,
        limits: Limits::default(),
        projects: BTreeMap::from([(4711, project("acme/ledger")), (PICKED, project("acme/picked"))]),
        labels: labels.iter().map(|(name, least)| ((*name).to_owned(), *least)).collect(),
        allow_forced: false,
        server_email: Some(SERVER_EMAIL.to_owned()),
    }
}

/// Asks the Gerrit there.
pub(crate) fn asking(url: &str, labels: &[(&str, i32)]) -> Asking {
    Asking::of(|file| Arc::new(configured(url, labels, file)))
}

/// A commit's name.
pub(crate) fn sha(name: &str) -> String {
    name.bytes().fold(String::new(), |text, byte| format!("{text}{byte:02x}")) + &"0".repeat(40 - 2 * name.len())
}

/// A change with one patch set, with these votes in Code-Review.
pub(crate) fn change(number: u64, commit: &str, status: &str, votes: &[(u64, i32)]) -> Value {
    let votes: Vec<Value> = votes
        .iter()
        .map(|(voter, value)| json!({"_account_id": voter, "value": value, "date": "2026-11-02 09:00:00.000000000"}))
        .collect();
    let is_met = votes.iter().any(|vote| vote["value"] == 2) && !votes.iter().any(|vote| vote["value"] == -2);
    json!({
        "id": format!("ledger~main~I{number}"), "project": "acme/ledger", "branch": "main",
        "change_id": format!("I{number:040}"), "_number": number, "status": status, "owner": {"_account_id": OWNER},
        "current_revision": sha(commit),
        "revisions": {sha(commit): {"_number": 1, "kind": "REWORK", "created": "2026-11-02 08:00:00.000000000",
                                    "uploader": {"_account_id": OWNER}}},
        "labels": {"Code-Review": {"all": votes, "default_value": 0,
                                   "values": {"-2": "This shall not be submitted", "-1": "", " 0": "", "+1": "", "+2": ""}}},
        "submit_requirements": [{"name": "Code-Review", "status": if is_met { "SATISFIED" } else { "UNSATISFIED" }, "is_legacy": false}],
    })
}

/// A second patch set.
pub(crate) fn amended(mut change: Value, commit: &str) -> Value {
    change["current_revision"] = json!(sha(commit));
    let revision = json!({"_number": 2, "kind": "REWORK", "created": "2026-11-02 08:30:00.000000000", "uploader": {"_account_id": OWNER}});
    change["revisions"].as_object_mut().unwrap().insert(sha(commit), revision);
    change
}

/// A commit: its committer's address, its day, and its parents.
pub(crate) fn commit(name: &str, email: &str, day: u32, parents: &[&str]) -> Value {
    let parents: Vec<Value> = parents.iter().map(|parent| json!({"commit": sha(parent)})).collect();
    let date = format!("2026-11-{day:02} 08:00:00.000000000");
    json!({"commit": sha(name), "parents": parents, "committer": {"name": "x", "email": email, "date": date, "tz": 0}})
}

/// JSON as Gerrit sends it.
pub(crate) fn prefixed(body: &Value) -> Reply {
    Reply::of("200 OK", format!(")]}}'\n{body}"))
}

/// One that shows these changes and commits to its user.
pub(crate) fn serve(changes: Vec<Value>, commits: Vec<Value>) -> Scripted {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("lanyard:{}", crate::asking::SECRET)));
    Scripted::new(move |path, let_in| {
        if let_in != expected {
            return Reply::of("401 Unauthorized", "Unauthorized");
        }
        if let Some(query) = path.strip_prefix("/a/changes/?q=commit:") {
            let wanted = query.split(['+', '&']).next().unwrap();
            let has = |change: &&Value| change["revisions"].as_object().unwrap().contains_key(wanted);
            return prefixed(&changes.iter().filter(has).cloned().collect());
        }
        let wanted = path.strip_prefix("/a/projects/acme%2F").and_then(|rest| rest.split_once("/commits/"));
        let found = wanted.and_then(|(_, sha)| commits.iter().find(|commit| commit["commit"] == sha));
        found.map_or_else(|| Reply::of("404 Not Found", "Not found"), prefixed)
    })
}

/// All rows of the table, scripted.
struct Rows;

impl Rows {
    fn serve() -> Scripted {
        let bob = [(BOB, 2)];
        let mut picked = amended(change(6, "pick", "MERGED", &bob), "picked");
        picked["project"] = json!("acme/picked");
        let changes = vec![
            change(1, "unrev", "NEW", &[]),
            change(2, "appr", "NEW", &bob),
            change(3, "self", "NEW", &[(OWNER, 2)]),
            change(4, "veto", "NEW", &[(BOB, 2), (8, -2)]),
            change(5, "merged", "MERGED", &bob),
            picked,
            change(7, "side", "MERGED", &bob),
            amended(change(8, "old", "MERGED", &bob), "newer"),
            change(9, "aband", "ABANDONED", &[]),
        ];
        let commits = vec![
            commit("merge", SERVER_EMAIL, 5, &["merged", "side"]),
            commit("merged", "ada@corp.example", 4, &["base"]),
            commit("side", "ada@corp.example", 3, &["base"]),
            commit("base", "ada@corp.example", 1, &[]),
            commit("push", "ada@corp.example", 6, &["merge"]),
        ];
        serve(changes, commits)
    }
}

impl World for Rows {
    fn commit_of(&self, row: &str) -> (u64, String) {
        let (project, name) = match row {
            "unreviewed" => (4711, "unrev"),
            "approved" => (4711, "appr"),
            "approved by its owner" => (4711, "self"),
            "vetoed" => (4711, "veto"),
            "merged" => (4711, "merged"),
            "merged by cherry-pick" => (PICKED, "picked"),
            "cherry-picked from" => (PICKED, "pick"),
            "merge commit" => (4711, "merge"),
            "old patch set" => (4711, "old"),
            "abandoned" => (4711, "aband"),
            _ => (4711, "push"),
        };
        (project, sha(name))
    }
}

#[tokio::test]
async fn what_was_done_with_a_commit_is_what_is_said_of_it() {
    let gerrit = Rows::serve();
    hold(&asking(&gerrit.url, &[("Code-Review", 2)]), &Rows).await;
    let asked = gerrit.asked();
    let query = "+project:acme/ledger+branch:main&o=ALL_REVISIONS&o=DETAILED_ACCOUNTS&o=DETAILED_LABELS&o=SUBMIT_REQUIREMENTS&n=10";
    assert!(asked[0].ends_with(query), "{}", asked[0]);
    assert!(
        asked.iter().all(|path| path.starts_with("/a/")),
        "as nobody it would tell what anybody may see: {asked:?}"
    );
}
