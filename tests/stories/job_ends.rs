//! The end of a job as its own side tells it, by the real programs at a real server.

use super::doors::{Doors, exchange};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::wire::lanyard::{EndSessionRequest, JobEnd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// Longer than anything here should take.
const LIMIT: Duration = Duration::from_secs(30);

/// A command of a job: it knows the server, has a token, and keeps its files apart.
fn of_job(doors: &Doors, token: &str, arguments: &[&str]) -> Command {
    of_job_with(Path::new(env!("CARGO_BIN_EXE_lanyard")), doors, token, arguments)
}

/// The same by a program of its own.
fn of_job_with(program: &Path, doors: &Doors, token: &str, arguments: &[&str]) -> Command {
    let folder = doors.folder.path();
    let mut command = Command::new(program);
    command.args(arguments).env("TMPDIR", folder).env("LANYARD_SERVER", doors.url.to_string());
    command.env("LANYARD_SERVER_CA", folder.join("data/door-ca.pem")).env("LANYARD_ID_TOKEN", token);
    command.env_remove("LANYARD_AGENT_SOCKET").env_remove("SPIFFE_ENDPOINT_SOCKET").kill_on_drop(true);
    command
}

async fn code_of(mut command: Command) -> i32 {
    tokio::time::timeout(LIMIT, command.status()).await.unwrap().unwrap().code().unwrap()
}

/// Why sessions have ended, as an auditor is told.
async fn reasons(doors: &Doors) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command
        .args(["audit", "show", "--json", "--kind", "session_ended", "--data-dir"])
        .arg(doors.folder.path().join("data"));
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let why = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| record.pointer(name).and_then(Value::as_str).unwrap();
        format!("{} by {}", word("/entry/why"), word("/entry/by"))
    };
    String::from_utf8(output.stdout).unwrap().lines().map(why).collect()
}

async fn live(doors: &Doors) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.args(["session", "list", "--json", "--admin-socket"]).arg(doors.folder.path().join("admin.sock"));
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told.get("identities").and_then(Value::as_u64).unwrap()
}

#[tokio::test]
async fn exec_ends_the_session_with_its_command_where_asked_and_keeps_the_commands_code() {
    let doors = Doors::open().await;
    let token = doors.token();
    assert_eq!(code_of(of_job(&doors, &token, &["exec", "--", "sh", "-c", "exit 7"])).await, 7);
    assert_eq!(live(&doors).await, 1, "the job's next exec goes on with it");
    assert_eq!(code_of(of_job(&doors, &token, &["exec", "--end", "--", "sh", "-c", "exit 7"])).await, 7);
    assert_eq!(live(&doors).await, 0);
    assert_eq!(reasons(&doors).await, ["exec_end by agent"]);
    let left =
        fs::read_dir(doors.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with("lanyard-")).count(), 0, "the key has gone with its session");
    assert_eq!(code_of(of_job(&doors, &token, &["exec", "--", "true"])).await, 1, "its token is good for nothing more");
    doors.close().await;
}

#[tokio::test]
async fn a_command_that_cannot_be_started_has_the_code_that_shells_give_it_and_an_end_too() {
    let doors = Doors::open().await;
    let (token, plain_file) = (doors.token(), doors.folder.path().join("policy.toml"));
    let exec = async |more: &[&str]| code_of(of_job(&doors, &token, &[&["exec"], more].concat())).await;
    assert_eq!(exec(&["--", "/nowhere/deploy.sh"]).await, 127);
    assert_eq!(exec(&["--", "lanyard-no-such-command"]).await, 127);
    assert_eq!(exec(&["--", plain_file.to_str().unwrap()]).await, 126);
    assert_eq!(live(&doors).await, 1);
    assert_eq!(exec(&["--end", "--", "/"]).await, 126);
    assert_eq!(live(&doors).await, 0);
    doors.close().await;
}

/// An agent beside the job, as a pod has it, with the program to call.
fn agent_config(folder: &Path, doors: &Doors) -> String {
    let text = format!(
        r#"
server = "{}"
server_ca_file = "data/door-ca.pem"
mode = "pod"
state_dir = "state"

[listen]
workload = "{shown}/workload.sock"
agent = "{shown}/agent.sock"
program = "{shown}/sockets/lanyard"
"#,
        doors.url,
        shown = folder.display()
    );
    let file = folder.join("agent.toml");
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn a_pods_agent_ends_sessions_for_its_job_and_when_it_is_told_to_stop() {
    let doors = Doors::open().await;
    let folder = doors.folder.path();
    let config = agent_config(folder, &doors);
    let mut agent = of_job(&doors, "", &["agent", "--config", &config]);
    let mut agent = agent.env_remove("LANYARD_ID_TOKEN").spawn().unwrap();
    let (socket, workload) = (folder.join("agent.sock"), format!("unix://{}", folder.join("workload.sock").display()));
    let there = async {
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, there).await.unwrap();
    let program = folder.join("sockets/lanyard");
    assert!(fs::read(&program).unwrap() == fs::read(env!("CARGO_BIN_EXE_lanyard")).unwrap());
    let login = async |arguments: &[&str]| {
        let mut command = of_job_with(&program, &doors, &doors.token(), arguments);
        command.env("LANYARD_AGENT_SOCKET", &socket).env("SPIFFE_ENDPOINT_SOCKET", &workload);
        code_of(command).await
    };
    assert_eq!(login(&["login"]).await, 0);
    assert_eq!(live(&doors).await, 1);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "-X", "POST", "--unix-socket"]).arg(&socket).arg("http://localhost/v1/logout");
    assert_eq!(code_of(curl).await, 0);
    assert_eq!(reasons(&doors).await, ["logout by agent"]);
    assert_eq!(login(&["exec", "--end", "--", "true"]).await, 0);
    let is_the_agents = ["--", "sh", "-c", "test $SPIFFE_ENDPOINT_SOCKET = $1", "sh", &workload];
    assert_eq!(login(&[&["exec", "--end"][..], &is_the_agents].concat()).await, 0);
    let typed = doors.url.to_string();
    assert_eq!(
        login(&[&["exec", "--end", "--server", &typed][..], &is_the_agents].concat()).await,
        1,
        "what is typed counts"
    );
    assert_eq!(login(&["login"]).await, 0);
    let pid = agent.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(tokio::time::timeout(LIMIT, agent.wait()).await.unwrap().unwrap().success());
    assert_eq!(live(&doors).await, 0);
    assert_eq!(
        reasons(&doors).await,
        ["logout", "exec_end", "exec_end", "exec_end", "agent_stopped"].map(|why| format!("{why} by agent"))
    );
    doors.close().await;
}

#[tokio::test]
async fn every_reason_of_an_agent_is_on_record_and_one_that_nobody_knows_counts_as_a_logout() {
    let doors = Doors::open().await;
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let mut agent = doors.agent(Some(&key));
    let of_a_later_version = 99;
    for reason in [JobEnd::Unspecified, JobEnd::CgroupEmpty, JobEnd::ExecEnd, JobEnd::AgentStopped]
        .map(i32::from)
        .into_iter()
        .chain([of_a_later_version])
    {
        let session = agent.exchange(exchange(doors.token())).await.unwrap().into_inner().session;
        agent.end_session(EndSessionRequest { session, reason }).await.unwrap();
    }
    let told = ["logout", "cgroup_empty", "exec_end", "agent_stopped", "logout"];
    assert_eq!(reasons(&doors).await, told.map(|why| format!("{why} by agent")));
    doors.close().await;
}

#[tokio::test]
async fn a_reason_that_no_job_may_give_is_refused_and_ends_nothing() {
    let doors = Doors::open().await;
    let config = agent_config(doors.folder.path(), &doors);
    let mut agent = of_job(&doors, &doors.token(), &["agent", "--config", &config]).spawn().unwrap();
    let said = async |body: &str| {
        let mut curl = Command::new("curl");
        let socket = doors.folder.path().join("agent.sock");
        curl.args(["-sS", "-d", body, "--retry", "20", "--retry-all-errors", "--retry-delay", "1", "--unix-socket"]);
        let output = curl.arg(socket).arg("http://localhost/v1/logout").output();
        String::from_utf8(tokio::time::timeout(LIMIT, output).await.unwrap().unwrap().stdout).unwrap()
    };
    for body in [r#"{"reason":"agent_stopped"}"#, r#"{"reason":"x"}"#, r#"{"reasons":"exec_end"}"#, "[]", "x"] {
        let said = said(body).await;
        assert!(said.contains(r#""code":"malformed""#) && said.contains("exec_end"), "{body}: {said}");
    }
    assert!(said("{}").await.starts_with("{\"session\":\""), "it says what has ended");
    agent.kill().await.unwrap();
    doors.close().await;
}
