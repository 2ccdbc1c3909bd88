//! What an auditor asks of a journal, with the very commands of the docs.

use super::doors::{Doors, code_of, exchange};
use crate::support::harness::csr;
use lanyard::clock::{Clock, SystemClock};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::svid::inspect_certificate;
use lanyard::wire::lanyard::{EndSessionRequest, RenewRequest};
use std::path::Path;
use tokio::process::Command;

const POLICY: &str = r#"
[[rule]]
name = "production deploys"
id = "/{project_path}/-/environments/production/pipelines/{pipeline_id}"
ttl = "15m"
[rule.when]
issuer = "corp"
environment = "production"
"#;

/// The lines of a page's section that begin with a command.
pub(crate) fn commands_of(section: &str, command: &str) -> Vec<String> {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/evidence.md")).unwrap();
    let (_, text) = page.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let lines = text.lines().filter(|line| line.starts_with(command));
    lines.map(|line| line.split(" # ").next().unwrap().trim().replace('\'', "")).collect()
}

/// A command's exit code, what it printed, and what it said besides.
pub(crate) async fn typed(doors: &Doors, line: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.args(line.split_whitespace().skip(1));
    command.env("LANYARD_CONFIG", doors.folder.path().join("server.toml"));
    let output = command.env("LANYARD_ADMIN_SOCKET", doors.folder.path().join("admin.sock")).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn every_question_of_the_page_is_answered_with_the_whole_story() {
    let doors = Doors::with(POLICY).await;
    let now = SystemClock.now();
    let mut claims = doors.issuer.claims(now);
    for (name, value) in
        [("environment", "production"), ("environment_protected", "true"), ("environment_action", "start")]
    {
        claims.insert(name.to_owned(), value.into());
    }
    let (token, sha) = (doors.issuer.mint(&claims), claims["sha"].as_str().unwrap().to_owned());
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let mut agent = doors.agent(Some(&key));
    let first = agent.exchange(exchange(token)).await.unwrap().into_inner();
    let session = first.session.clone();
    let again = RenewRequest { session: session.clone(), csr: csr().into(), ..RenewRequest::default() };
    agent.renew(again.clone()).await.unwrap();
    let other = doors.agent(Some(&key)).exchange(exchange(doors.token())).await.unwrap_err();
    assert_eq!(code_of(&other), "no_rule_matches");
    agent.end_session(EndSessionRequest { session: session.clone(), ..EndSessionRequest::default() }).await.unwrap();
    assert_eq!(code_of(&agent.renew(again).await.unwrap_err()), "session_ended");

    let serial = inspect_certificate(first.certificate_chain.first().unwrap()).unwrap().serial.to_string();
    let spelled: Vec<_> = serial.as_bytes().chunks(2).map(|two| String::from_utf8_lossy(two).to_uppercase()).collect();
    let lines = commands_of("An auditor asks", "lanyard audit show");
    assert_eq!(lines.len(), 9, "{lines:?}");
    let mut told = Vec::new();
    for line in lines {
        let line = line.replace("SHA", &sha).replace("SERIAL", &spelled.join(":"));
        let line = line.replace("SESSION", &session).replace("REQUEST", &first.request_id);
        let (code, printed, said) = typed(&doors, &line.replace("2026-11-01T00:00:00Z", "1h")).await;
        assert_eq!(code, Some(0), "{line}: {said}");
        told.push(printed);
    }
    let [commit, environment, project, certificate, id, request, session, refused, changed]: [String; 9] =
        told.try_into().unwrap();
    let has = |printed: &str, words: &[&str]| {
        for wanted in words {
            assert!(printed.contains(wanted), "{wanted} is not in {printed}");
        }
    };
    let story =
        ["production deploys", serial.as_str(), sha.as_str(), "ada", "\tissued\t", "\tsession_ended\t", "by agent"];
    for deployment in [commit, environment, project, id, session] {
        has(&deployment, &story);
    }
    has(&certificate, &[&serial, "\tissued\t", "\tsession_ended\t"]);
    assert_eq!(certificate.lines().count(), 3, "one SVID of the two: {certificate}");
    has(&request, &["\"kind\":\"intent\"", "\"kind\":\"issued\"", "\"digest\""]);
    has(&refused, &["no_rule_matches, commit"]);
    has(&changed, &["\tstarted\t", "\tpin_changed\t"]);

    let (code, printed, said) = typed(&doors, "lanyard audit show --commit 0123456789 --user ada").await;
    assert_eq!((code, printed.as_str()), (Some(1), ""));
    assert!(said.contains("nothing in it fits --commit 0123456789"), "{said}");
    let (code, _, said) = typed(&doors, "lanyard audit show --commit main").await;
    assert_eq!(code, Some(2), "{said}");
    doors.close().await;
}
