//! `lanyard exec` where it gets no identity: what it says, how soon, and what it leaves behind.

use crate::dev_env::variables;
use crate::gitlab::Gitlab;
use crate::place::free_port;
use crate::server::{lanyard, words};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// Another key's, so that nobody's certificate has it.
const WRONG: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

fn exec(variables: &BTreeMap<&str, &str>, flags: &[&str], folder: &Path) -> Output {
    let mut exec = lanyard();
    exec.arg("exec").args(flags).args(["--", "true"]).env_clear().envs(variables);
    exec.env("TMPDIR", folder).env("PATH", "/usr/bin:/bin").output().unwrap()
}

/// The folders of session keys.
fn left(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn what_a_token_leaves_behind_is_a_session_or_nothing() {
    let gitlab = Gitlab::start();
    let places = variables(&gitlab);
    let good = gitlab.token_for("https://lanyard.test", &[]);
    let for_others = gitlab.token_for("https://vault.test", &[]);
    let with = |token| {
        ["LANYARD_SERVER", "LANYARD_SERVER_CA"]
            .into_iter()
            .map(|name| (name, places[name].as_str()))
            .chain([("LANYARD_ID_TOKEN", token)])
            .collect::<BTreeMap<_, _>>()
    };
    let [job, thief] = [(); 2].map(|()| TempDir::new().unwrap());
    for (token, flags, folder, code, keys) in [
        (for_others.as_str(), &[][..], &job, 1, 0),
        (&good, &[], &job, 0, 1),
        (&good, &[], &thief, 1, 0),
        (&good, &["--end"], &job, 0, 0),
        (&good, &[], &job, 1, 0),
    ] {
        let output = exec(&with(token), flags, folder.path());
        assert_eq!(output.status.code(), Some(code), "{}", words(&output));
        assert_eq!(left(folder.path()), keys, "{flags:?}: {}", words(&output));
    }
}

#[test]
fn a_server_that_is_not_believed_ends_it_at_once_with_the_remedy_and_one_that_is_away_is_called_so() {
    let gitlab = Gitlab::start();
    let places = variables(&gitlab);
    let token = gitlab.token_for("https://lanyard.test", &[]);
    let away = format!("https://127.0.0.1:{}", free_port());
    let (server, ca) = (places["LANYARD_SERVER"].as_str(), places["LANYARD_SERVER_CA"].as_str());
    let other_ca = gitlab.file("gitlab-ca.pem");
    let other_ca = other_ca.to_str().unwrap();
    // A minute: whoever is believed at last was long over it.
    for (variables, flags, told) in [
        (
            [("LANYARD_SERVER", server), ("LANYARD_SERVER_CA", ca)],
            &["--server-ca-sha256", WRONG][..],
            "--server-ca-sha256 names",
        ),
        ([("LANYARD_SERVER", server), ("LANYARD_SERVER_CA", other_ca)], &[], "LANYARD_SERVER_CA names"),
        ([("LANYARD_SERVER", server), ("LANYARD_SERVER_CA_SHA256", WRONG)], &[], "LANYARD_SERVER_CA_SHA256 names"),
        (
            [("LANYARD_SERVER", &away), ("LANYARD_SERVER_CA", ca)],
            &["--wait", "2"],
            "no SVID within 2 s: the server is not reachable: ",
        ),
    ] {
        let all = variables.into_iter().chain([("LANYARD_ID_TOKEN", &*token)]).collect();
        let folder = TempDir::new().unwrap();
        let output = exec(&all, flags, folder.path());
        let said = words(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(told), "{said}");
        let is_away = told.starts_with("no SVID");
        assert_eq!(said.contains("--server-ca FILE (LANYARD_SERVER_CA)"), !is_away, "{said}");
        assert!(is_away || !said.contains("within 120 s"), "{said}");
    }
    let none = exec(
        &[("LANYARD_SERVER", server), ("LANYARD_ID_TOKEN", &*token)].into(),
        &["--wait", "0"],
        gitlab.file("").as_path(),
    );
    assert_eq!(none.status.code(), Some(2), "{}", words(&none));
}
