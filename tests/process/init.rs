//! From nothing to a real server: `init` asks a GitLab, and what it writes starts as it is.

use crate::gitlab::Gitlab;
use crate::place::free_port;
use crate::server::{Server, lanyard, words};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Another than `lanyard dev` has.
const AUDIENCE: &str = "https://lanyard.corp.test";

fn init(gitlab: &str, dir: &Path, more: &[&str]) -> Output {
    let mut command = lanyard();
    command.args(["init", "--trust-domain", "ci.example.org", "--gitlab", gitlab, "--dir"]).arg(dir);
    command.args(more).output().unwrap()
}

fn mode(place: &Path) -> u32 {
    fs::metadata(place).unwrap().mode() & 0o777
}

/// All files of a folder, as they are.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let places = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = places
        .flat_map(
            |place| if place.is_dir() { content(&place) } else { vec![(place.clone(), fs::read(&place).unwrap())] },
        )
        .collect();
    all.sort();
    all
}

/// What a job says whose `.gitlab-ci.yml` has the snippet: its one script line, with `lanyard svid x509` for the deploy.
fn job(snippet: &str, token: &str) -> Output {
    let after = |mark: &str| snippet.lines().find_map(|line| line.trim_start().strip_prefix(mark)).unwrap();
    let server: String = serde_json::from_str(after("LANYARD_SERVER: ")).unwrap();
    let script = after("- ").replace("./deploy.sh", "lanyard svid x509");
    let binary = lanyard();
    let own = Path::new(binary.get_program()).parent().unwrap().display().to_string();
    let mut shell = Command::new("sh");
    shell.args(["-euc", &script]).env_clear().env("PATH", format!("{own}:/usr/bin:/bin"));
    shell.env("LANYARD_SERVER", server).env("LANYARD_ID_TOKEN", token).output().unwrap()
}

#[test]
fn what_init_writes_starts_as_it_is_and_issues() {
    let (gitlab, place) = (Gitlab::start(), TempDir::new().unwrap());
    let (dir, ca) = (place.path().join("new"), gitlab.file("gitlab-ca.pem").display().to_string());
    let (listen, health) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let flags = ["--ca-file", &ca, "--listen", &listen, "--health", &health, "--audience", AUDIENCE];
    let written = init(&gitlab.url(), &dir, &[&flags[..], &["--json"]].concat());
    assert!(written.status.success(), "{}", words(&written));
    let facts: Value = serde_json::from_slice(&written.stdout).unwrap();
    assert_eq!((&facts["keys"], &facts["issuer"]), (&json!(2), &json!(gitlab.url())));
    assert_eq!([mode(&dir), mode(&dir.join("data")), mode(&dir.join("data/door-ca-key.pem"))], [0o700, 0o700, 0o600]);

    // Nothing is overwritten.
    let before = content(&dir);
    let again = init(&gitlab.url(), &dir, &flags);
    assert_eq!(again.status.code(), Some(1));
    for name in ["server.toml", "policy.toml", "policy.cases.toml", "agent.toml", "job.gitlab-ci.yml", "data"] {
        assert!(words(&again).contains(&format!("/new/{name}")), "{}", words(&again));
    }
    assert!(content(&dir) == before);

    let config = dir.join("server.toml");
    for (command, file) in [
        ("config check", "server.toml"),
        ("config check", "agent.toml"),
        ("policy check", "policy.toml"),
        ("policy test", "policy.toml"),
    ] {
        let checked = lanyard().args(command.split(' ')).arg(dir.join(file)).output().unwrap();
        assert!(checked.status.success(), "{command}: {}", words(&checked));
        assert!(!words(&checked).contains("warning"), "{command}: {}", words(&checked));
    }
    let checked = lanyard().args(["config", "check"]).arg(dir.join("agent.toml")).output().unwrap();
    assert!(words(&checked).contains("good. An agent of https://localhost"), "{}", words(&checked));
    let mut server = Server::spawn(&config);
    let is_ready = || lanyard().args(["health", "--config"]).arg(&config).output().unwrap().status.success();
    server.wait_until(is_ready);
    let snippet = facts["snippet"].as_str().unwrap();
    assert_eq!(snippet, fs::read_to_string(dir.join("job.gitlab-ci.yml")).unwrap());
    assert!(snippet.contains(&format!("aud: \"{AUDIENCE}\"")), "{snippet}");
    for (claims, id) in [
        (&["ref_protected=true"][..], "spiffe://ci.example.org/acme/payments/api/-/protected/pipelines/574"),
        (&["ref_protected=false", "ref=x"][..], "spiffe://ci.example.org/acme/payments/api/-/pipelines/574"),
    ] {
        let said = job(snippet, &gitlab.token_for(AUDIENCE, claims));
        assert!(said.status.success() && words(&said).contains(id), "{}", words(&said));
    }
}

#[test]
fn what_is_typed_wrong_writes_nothing_and_says_what_to_type() {
    let (gitlab, place) = (Gitlab::start(), TempDir::new().unwrap());
    let (dir, url) = (place.path().join("new"), gitlab.url());
    let (ca, other_ca) = (gitlab.file("gitlab-ca.pem"), gitlab.file("server/door-ca.pem"));
    let (ca, other_ca) = (ca.display().to_string(), other_ca.display().to_string());
    let refused = |url: &str, more: &[&str], code: i32, wanted: &str| {
        let said = init(url, &dir, more);
        assert_eq!(said.status.code(), Some(code), "{}", words(&said));
        assert!(words(&said).contains(wanted), "{wanted}: {}", words(&said));
        assert!(!dir.exists() && said.stdout.is_empty());
    };
    let known = ["--ca-file", &ca];
    refused(&url, &[], 3, "a CA that this machine does not know: --ca-file PEM");
    refused(&url, &["--ca-file", &other_ca], 3, &format!("not of the CA in {other_ca}"));
    refused(&url, &["--ca-file", "/nowhere.pem"], 1, "/nowhere.pem cannot be read: no such file");
    let no_pem = gitlab.file("gitlab-issuer").display().to_string();
    refused(&url, &["--ca-file", &no_pem], 1, &format!("no PEM certificate in {no_pem}"));
    refused(&url.replace("https", "http"), &known, 2, "over https only");
    refused(&format!("{url}/"), &known, 1, &format!("if that is the one: --gitlab {url}"));
    refused(&format!("{url}/gitlab"), &known, 1, "404 Not Found. Is ");
    refused(&format!("https://127.0.0.1:{}", free_port()), &known, 3, "GitLab is not reachable");
    refused("https://gitlab.com", &[], 2, "--namespace GROUP");
    refused(&url, &["--namespace", "acme/api"], 2, "a top-level group, such as acme");
    refused(&url, &["--host", "https://lanyard"], 2, "write a DNS name");
    refused(&url, &["--ca-file", &ca, "--audience", ""], 2, "--audience: write a name for this server");

    let said = lanyard().args(["init", "--gitlab", &url]).output().unwrap();
    let line = format!("type: lanyard init --gitlab {url} --trust-domain ci.corp.example");
    assert!(said.status.code() == Some(2) && words(&said).contains(&line), "{}", words(&said));
}
