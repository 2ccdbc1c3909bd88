//! The stand-in GitLab that `lanyard dev` runs, as a process: its keys, its tokens, its jobs.

use crate::server::{lanyard, words};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// It makes three RSA keys first, which on a busy machine takes its time.
const GITLAB_WITHIN: Duration = Duration::from_secs(60);

/// The stand-in GitLab that `lanyard dev` runs. Ended by its own process id.
pub(crate) struct Gitlab {
    folder: TempDir,
    child: Child,
}

impl Gitlab {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let quiet = (Stdio::null(), Stdio::null());
        let child = lanyard()
            .args(["dev", "--dir"])
            .arg(folder.path().join("dev"))
            .stdout(quiet.0)
            .stderr(quiet.1)
            .spawn()
            .unwrap();
        let mut gitlab = Self { folder, child };
        let deadline = Instant::now() + GITLAB_WITHIN;
        while !gitlab.file("dev.env").exists() {
            assert!(gitlab.child.try_wait().unwrap().is_none() && Instant::now() < deadline, "no GitLab");
            thread::sleep(Duration::from_millis(20));
        }
        gitlab
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("dev").join(name)
    }

    pub(crate) fn url(&self) -> String {
        fs::read_to_string(self.file("gitlab-issuer")).unwrap()
    }

    pub(crate) fn token_for(&self, audience: &str, claims: &[&str]) -> String {
        let mut command = lanyard();
        command.args(["dev", "token", "--audience", audience, "--dir"]).arg(self.file(""));
        let output = command.args(claims.iter().flat_map(|claim| ["--claim", claim])).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Gitlab {
    /// From now on nobody answers; its tokens can still be made.
    pub(crate) fn end(&mut self) {
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Drop for Gitlab {
    fn drop(&mut self) {
        self.end();
    }
}
