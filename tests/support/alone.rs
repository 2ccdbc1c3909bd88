//! A test in a process of its own, for what all tests of a process share: memory above all.

use std::fs;
use std::io::Write;
use std::process::Command;

const ALONE: &str = "LANYARD_TEST_ALONE";

/// Whether this process runs one test alone. If not, it has run that test in one that does, to its good end.
#[expect(clippy::disallowed_methods, reason = "a switch of the test, not of the program")]
pub(crate) fn runs_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let ended = alone.args([test, "--exact", "--nocapture"]).env(ALONE, "yes").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    std::io::stdout().write_all(&ended.stdout).unwrap();
    false
}

/// `RssAnon` of a process, by its number or `self`.
pub(crate) fn anonymous_kib(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
