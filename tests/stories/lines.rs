//! Whoever brings the wrong token reads three lines, and below them those to paste.

use crate::support::beside::Site;
use crate::support::harness::POLICY;
use lanyard::clock::Clock;
use std::path::Path;
use tokio::process::Command;

const LINES: &str = "\n  id_tokens:\n    LANYARD_ID_TOKEN:\n      aud: \"https://lanyard.example.com\"\n";

/// What a command says to a job with this token; it must fail.
async fn refused(folder: &Path, token: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    for name in ["LANYARD_AGENT_SOCKET", "LANYARD_SERVER", "LANYARD_SERVER_CA", "SPIFFE_ENDPOINT_SOCKET"] {
        command.env_remove(name);
    }
    let output = command.args(arguments).env("LANYARD_ID_TOKEN", token).env("TMPDIR", folder).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "the command never ran: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_and_exec_tell_how_a_job_gets_the_right_token() {
    let site = Site::open(POLICY).await;
    let mut settings = site.agent_settings();
    let socket = site.path("agent.sock");
    settings.agent_socket = Some(socket.clone());
    let agent = crate::support::beside::Beside::start(settings, &site.clock);
    crate::support::beside::until(|| socket.exists()).await;
    let (socket, ca, url) =
        (socket.display().to_string(), site.path("data/door-ca.pem").display().to_string(), site.url.to_string());
    let login = ["login", "--agent-socket", &*socket];
    let exec = ["exec", "--server", &*url, "--server-ca", &*ca, "--", "echo", "ran"];
    let now = site.clock.now();
    for (claim, value, code, pasted) in [
        ("aud", "https://elsewhere.test", "token_audience_wrong", true),
        ("iss", "https://elsewhere.test", "issuer_unknown", true),
        ("exp", "1", "token_claim_malformed", false),
    ] {
        for arguments in [&login[..], &exec[..]] {
            let told = refused(site.folder.path(), &site.issuer.token_with(now, claim, value), arguments).await;
            let lines: Vec<&str> = told.lines().skip_while(|line| !line.starts_with("refused: ")).collect();
            assert_eq!(lines[0], format!("refused: {code}"), "{told}");
            assert!(!lines[1].is_empty() && lines[2].starts_with("request id: ") && lines[2].len() > 20, "{told}");
            assert_eq!(told.contains(LINES), pasted, "{told}");
        }
    }
    agent.ended().await;
}
