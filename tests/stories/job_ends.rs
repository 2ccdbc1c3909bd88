//! The end of a job as its own side tells it, by the real programs at a real server.

use super::doors::Doors;
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
    let folder = doors.folder.path();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.args(arguments).env("TMPDIR", folder).env("LANYARD_SERVER", doors.url.to_string());
    command.env("LANYARD_SERVER_CA", folder.join("data/door-ca.pem")).env("LANYARD_ID_TOKEN", token);
    command.env_remove("LANYARD_AGENT_SOCKET").env_remove("SPIFFE_ENDPOINT_SOCKET").kill_on_drop(true);
    command
}

async fn code_of(mut command: Command) -> i32 {
    tokio::time::timeout(LIMIT, command.status()).await.unwrap().unwrap().code().unwrap()
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
    assert_eq!(code_of(of_job(&doors, &token, &["exec", "--", "true"])).await, 1, "its token is good for nothing more");
    doors.close().await;
}

/// An agent beside the job, as a pod has it.
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
"#,
        doors.url,
        shown = folder.display()
    );
    let file = folder.join("agent.toml");
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn a_pods_agent_that_is_told_to_stop_ends_its_session() {
    let doors = Doors::open().await;
    let (folder, token) = (doors.folder.path(), doors.token());
    let config = agent_config(folder, &doors);
    let mut agent = of_job(&doors, "", &["agent", "--config", &config]);
    let mut agent = agent.env_remove("LANYARD_ID_TOKEN").spawn().unwrap();
    let socket = folder.join("agent.sock");
    let there = async {
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, there).await.unwrap();
    let login = ["login", "--agent-socket", socket.to_str().unwrap()];
    assert_eq!(code_of(of_job(&doors, &token, &login)).await, 0);
    assert_eq!(live(&doors).await, 1);
    let pid = agent.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(tokio::time::timeout(LIMIT, agent.wait()).await.unwrap().unwrap().success());
    assert_eq!(live(&doors).await, 0);
    doors.close().await;
}
