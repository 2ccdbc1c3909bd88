//! `lanyard explain` as it is typed: of a token by an operator and without any server, of a request of the past.

use super::doors::Doors;
use crate::support::harness::{Agent, Harness, POLICY};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tokio::process::Command;

/// Exit code, standard output, standard error.
async fn explain(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    for name in ["LANYARD_ADMIN_SOCKET", "LANYARD_CONFIG", "LANYARD_ID_TOKEN", "LANYARD_SERVER"] {
        command.env_remove(name);
    }
    let output = command.arg("explain").args(arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn of_two_projects() -> String {
    let other = POLICY.replace("every project", "somebody else").replace("/-/pipelines/", "/-/other/");
    other.replace("issuer = \"corp\"", "issuer = \"corp\"\nproject_id = 99") + POLICY
}

#[tokio::test]
async fn an_operator_reads_every_rule_over_the_admin_socket_and_the_bearer_only_its_own() {
    let doors = Doors::with(&of_two_projects()).await;
    let token = path(doors.folder.path(), "token");
    fs::write(&token, doors.token()).unwrap();
    let socket = path(doors.folder.path(), "admin.sock");
    let (code, said, _) = explain(&["--token-file", &token, "--admin-socket", &socket, "--json"]).await;
    let walk: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &walk["verdict"]["outcome"], &walk["rules"].as_array().unwrap().len()),
        (Some(0), &json!("granted"), &2)
    );

    let ca = path(doors.folder.path(), "data/door-ca.pem");
    let url = doors.url.to_string();
    let (code, said, _) = explain(&["--token-file", &token, "--server", &url, "--server-ca", &ca]).await;
    assert!(code == Some(0) && said.contains("granted") && !said.contains("somebody else"), "{said}");

    fs::write(&token, "a.b.c").unwrap();
    let (code, _, told) = explain(&["--token-file", &token, "--admin-socket", &socket]).await;
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        code == Some(1) && lines[0].starts_with("refused: token_") && lines[2].starts_with("request id: "),
        "{told}"
    );
    assert!(told.contains("LANYARD_ID_TOKEN:\n      aud: "), "{told}");
    doors.close().await;
}

#[tokio::test]
async fn a_token_is_explained_from_files_alone() {
    let harness = Harness::with(&of_two_projects(), "memory").await;
    let folder = harness.folder.path();
    let (token, config, policy) = (path(folder, "token"), path(folder, "server.toml"), path(folder, "policy.toml"));
    fs::write(&token, harness.issuer.token(harness.now())).unwrap();
    for by in [["--config", &*config], ["--policy", &*policy]] {
        let (code, said, told) = explain(&["--token-file", &token, by[0], by[1]]).await;
        assert!(
            code == Some(0) && said.contains("granted") && said.contains("the token was only read"),
            "{by:?} {said}{told}"
        );
        assert!(said.contains("somebody else"), "who reads the files reads every rule: {said}");
    }
    for (claim, value, why) in
        [("aud", "https://elsewhere.test", "token_audience_wrong"), ("iss", "https://elsewhere.test", "issuer_unknown")]
    {
        fs::write(&token, harness.issuer.token_with(harness.now(), claim, value)).unwrap();
        let (code, said, told) = explain(&["--token-file", &token, "--config", &config]).await;
        assert!(code == Some(1) && said.contains(why), "{said}{told}");
        assert!(told.contains("  id_tokens:\n    LANYARD_ID_TOKEN:\n      aud: "), "{told}");
    }
}

#[tokio::test]
async fn a_request_of_the_past_is_explained_from_its_own_records_whatever_became_of_others() {
    let harness = Harness::new().await;
    harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
    harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
    let ids: Vec<String> =
        harness.entries("intent").iter().map(|entry| entry["request_id"].as_str().unwrap().to_owned()).collect();
    let config = path(harness.folder.path(), "server.toml");
    let ask = async |id: &str| explain(&["--request-id", id, "--config", &config]).await;
    let (code, said, told) = ask(&ids[0]).await;
    assert!(code == Some(0) && said.contains(&format!("request {}: job ", ids[0])), "{said}{told}");
    let (code, _, told) = ask("00000000000000000000000000000000").await;
    assert!(code == Some(1) && told.contains("the journal knows no such request"), "{told}");

    // Somebody changes what the first request got.
    let segment = harness.segments().pop().unwrap();
    let text = fs::read_to_string(&segment).unwrap();
    let intent = text.lines().find(|line| line.contains(&ids[0]) && line.contains("\"intent\"")).unwrap();
    fs::write(&segment, text.replace(intent, &intent.replace("/-/pipelines/574", "/-/pipelines/575"))).unwrap();
    let (code, said, told) = ask(&ids[0]).await;
    assert!(code == Some(1) && said.is_empty() && told.contains("digest"), "{said}{told}");
    let (code, said, told) = ask(&ids[1]).await;
    assert!(code == Some(0) && said.contains("granted"), "{said}{told}");
}
