//! A real Gerrit on loopback, in which all rows of the table are done by git and its REST API.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a real program, in real time, where the environment says; what fails ends the test"
)]

use crate::asking::Asking;
use crate::changes::{PICKED, ROWS, World, hold};
use crate::gerrit::{SERVER_EMAIL, configured};
use lanyard::facts::LetIn;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Java on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(300);
/// The first administrator of a Gerrit that is made for development.
const ADMIN: (&str, &str) = ("admin", "secret");
const ALICE: (&str, &str) = ("alice", "pw-of-alice");
const BOB: (&str, &str) = ("bob", "pw-of-bob");

struct Gerrit {
    child: Child,
    url: String,
    folder: TempDir,
    changes: u32,
    commits: BTreeMap<&'static str, (u64, String)>,
}

impl Drop for Gerrit {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl World for Gerrit {
    fn commit_of(&self, row: &str) -> (u64, String) {
        self.commits[row].clone()
    }
}

fn java(arguments: &[&str], log: &Path) -> Command {
    let path = std::env::var("LANYARD_TEST_GERRIT").expect("tests/run sets LANYARD_TEST_GERRIT, Gerrit's class path");
    let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-cp", &path, "Gerrit"]).args(arguments).stdin(Stdio::null());
    java.stdout(log.try_clone().unwrap()).stderr(log);
    java
}

fn out(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {told}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

impl Gerrit {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (site, log) = (folder.path().join("site"), folder.path().join("log"));
        let site_text = site.to_str().unwrap();
        let made = java(&["init", "--batch", "--dev", "--no-auto-start", "-d", site_text], &log).status().unwrap();
        assert!(made.success(), "{}", fs::read_to_string(&log).unwrap());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let settings = [
            ("httpd.listenUrl", format!("{url}/")),
            ("gerrit.canonicalWebUrl", format!("{url}/")),
            ("sshd.listenAddress", "off".to_owned()),
            ("user.email", SERVER_EMAIL.to_owned()),
        ];
        for (key, value) in settings {
            out(Command::new("git").arg("config").arg("-f").arg(site.join("etc/gerrit.config")).args([key, &value]));
        }
        let child = java(&["daemon", "-d", site_text, "--console-log", "--headless"], &log).spawn().unwrap();
        let mut gerrit = Self { child, url, folder, changes: 0, commits: BTreeMap::new() };
        let deadline = Instant::now() + STARTS_WITHIN;
        while Command::new("curl")
            .args(["-sf", "-m", "5", "-o", "/dev/null"])
            .arg(format!("{}/config/server/version", gerrit.url))
            .status()
            .unwrap()
            .code()
            != Some(0)
        {
            let is_there = gerrit.child.try_wait().unwrap().is_none() && Instant::now() < deadline;
            assert!(is_there, "{}", fs::read_to_string(&log).unwrap());
            thread::sleep(Duration::from_millis(200));
        }
        gerrit
    }

    fn rest(&self, (user, password): (&str, &str), method: &str, path: &str, body: Option<&Value>) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "-m", "60", "-u", &format!("{user}:{password}"), "-X", method]);
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
        }
        let text = out(curl.arg(format!("{}/a{path}", self.url)));
        serde_json::from_str(text.trim_start_matches(")]}'")).unwrap_or(Value::Null)
    }

    fn folder_of(&self, project: &str) -> PathBuf {
        self.folder.path().join(project)
    }

    fn git(&self, project: &str, arguments: &[&str]) -> String {
        out(Command::new("git").arg("-C").arg(self.folder_of(project)).args(arguments))
    }

    fn people_and_projects(&self) {
        for (user, password) in [ALICE, BOB] {
            let account = json!({"name": user, "email": format!("{user}@example.com"), "http_password": password});
            self.rest(ADMIN, "PUT", &format!("/accounts/{user}"), Some(&account));
        }
        self.rest(ADMIN, "PUT", "/groups/Administrators/members/bob", None);
        for (project, submit_type) in [("ledger", "MERGE_IF_NECESSARY"), ("picked", "CHERRY_PICK")] {
            let made = json!({"create_empty_commit": true, "branches": ["main"], "submit_type": submit_type});
            self.rest(ADMIN, "PUT", &format!("/projects/acme%2F{project}"), Some(&made));
            let (user, password) = ALICE;
            let from = format!("{}/a/acme/{project}", self.url.replace("://", &format!("://{user}:{password}@")));
            out(Command::new("git").args(["clone", "-q", &from]).arg(self.folder_of(project)));
            self.git(project, &["config", "user.name", "Alice"]);
            self.git(project, &["config", "user.email", "alice@example.com"]);
        }
    }

    /// A new commit on what the branch is now.
    fn commit(&mut self, project: &str) -> String {
        self.changes += 1;
        let name = format!("file-{}", self.changes);
        self.git(project, &["fetch", "-q"]);
        self.git(project, &["checkout", "-q", "--detach", "origin/main"]);
        fs::write(self.folder_of(project).join(&name), &name).unwrap();
        self.git(project, &["add", &name]);
        let message = format!("{name}\n\nChange-Id: I{:040}", self.changes);
        self.git(project, &["commit", "-q", "-m", &message]);
        self.git(project, &["rev-parse", "HEAD"])
    }

    /// The same, pushed for review.
    fn change(&mut self, project: &str) -> String {
        let commit = self.commit(project);
        self.git(project, &["push", "-q", "origin", "HEAD:refs/for/main"]);
        commit
    }

    fn vote(&self, (voter, commit, value): ((&str, &str), &str, i32)) {
        let change = self.number_of(commit);
        let vote = json!({"labels": {"Code-Review": value}});
        self.rest(voter, "POST", &format!("/changes/{change}/revisions/{commit}/review"), Some(&vote));
    }

    fn number_of(&self, commit: &str) -> u64 {
        self.rest(ADMIN, "GET", &format!("/changes/?q=commit:{commit}"), None)[0]["_number"].as_u64().unwrap()
    }

    fn merge(&self, commit: &str) {
        self.vote((BOB, commit, 2));
        self.rest(BOB, "POST", &format!("/changes/{}/submit", self.number_of(commit)), Some(&json!({})));
    }

    fn main_of(&self, project: &str) -> String {
        self.git(project, &["fetch", "-q"]);
        self.git(project, &["rev-parse", "origin/main"])
    }

    fn keep(&mut self, row: &'static str, project: u64, commit: String) {
        self.commits.insert(row, (project, commit));
    }

    /// Does everything that the table names.
    fn rows(&mut self) {
        let unreviewed = self.change("ledger");
        let approved = self.change("ledger");
        self.vote((BOB, &approved, 2));
        let own = self.change("ledger");
        // Gerrit lets who may vote vote on what is theirs.
        self.rest(ADMIN, "PUT", "/groups/Administrators/members/alice", None);
        self.vote((ALICE, &own, 2));
        let vetoed = self.change("ledger");
        self.vote((BOB, &vetoed, 2));
        self.vote((ADMIN, &vetoed, -2));
        let abandoned = self.change("ledger");
        self.rest(ADMIN, "POST", &format!("/changes/{}/abandon", self.number_of(&abandoned)), Some(&json!({})));

        let old = self.change("ledger");
        fs::write(self.folder_of("ledger").join("more"), "more").unwrap();
        self.git("ledger", &["add", "more"]);
        self.git("ledger", &["commit", "-q", "--amend", "--no-edit"]);
        self.git("ledger", &["push", "-q", "origin", "HEAD:refs/for/main"]);
        let newer = self.git("ledger", &["rev-parse", "HEAD"]);

        let (side, merged) = (self.change("ledger"), self.change("ledger"));
        self.merge(&merged);
        assert_eq!(self.main_of("ledger"), merged, "nothing was to be joined");
        self.merge(&side);
        let merge = self.main_of("ledger");
        self.merge(&newer);

        let from = self.change("picked");
        self.merge(&from);
        let picked = self.main_of("picked");
        assert_ne!(picked, from);

        let pushed = self.commit("ledger");
        self.git("ledger", &["push", "-q", "origin", "HEAD:refs/heads/main"]);

        let all = [
            ("unreviewed", 4711, unreviewed),
            ("approved", 4711, approved),
            ("approved by its owner", 4711, own),
            ("vetoed", 4711, vetoed),
            ("merged", 4711, merged),
            ("merged by cherry-pick", PICKED, picked),
            ("cherry-picked from", PICKED, from),
            ("merge commit", 4711, merge),
            ("old patch set", 4711, old),
            ("abandoned", 4711, abandoned),
            ("pushed past review", 4711, pushed),
        ];
        for (row, project, commit) in all {
            self.keep(row, project, commit);
        }
        assert_eq!(self.commits.len(), ROWS.len());
    }
}

#[tokio::test]
#[ignore = "starts a real Gerrit, which takes a minute: tests/run --all"]
async fn a_real_gerrit_says_of_each_commit_what_the_scripted_one_does() {
    let mut gerrit = Gerrit::start();
    gerrit.people_and_projects();
    gerrit.rows();
    let (user, password) = ADMIN;
    let asking = Asking::with_secret(password, |file| {
        let mut settings = configured(&gerrit.url, &[("Code-Review", 2)], file);
        settings.place.let_in = LetIn::Basic { user: user.to_owned() };
        Arc::new(settings)
    });
    hold(&asking, &gerrit).await;
}
