//! Clients for other languages as their authors ship them: py-spiffe (gRPC's C core) and go-spiffe.
//!
//! `tests/run` installs them and says where they are; without it these tests fail, since nothing else can stand in.

use super::{ID, Running, within};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::Ordering;
use tokio::process::Command;

/// What each client is asked to do: all calls, then two different SVIDs over one stream.
const WANTED: [&str; 6] = ["-audience", "https://service.test", "-updates", "2", "-timeout", "15"];

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_gets_all_of_it_unmodified() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/py/workload_client.py");
    let mut python = Command::new(installed("LANYARD_TEST_PYTHON"));
    takes_all_of_the_workload_api(python.arg(script)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_client_gets_all_of_it_unmodified() {
    takes_all_of_the_workload_api(&mut Command::new(installed("LANYARD_TEST_GO"))).await;
}

fn installed(name: &str) -> String {
    std::env::var(name).expect("`tests/run` installs the clients and names them in the environment")
}

async fn takes_all_of_the_workload_api(client: &mut Command) {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(6, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    let ran = within(client.args(WANTED).env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint()).output()).await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    let said: Vec<Value> = ran.stdout.split(|byte| *byte == b'\n').flat_map(serde_json::from_slice).collect();
    let all = |fact: &str| said.iter().filter_map(|line| line.get(fact)).cloned().collect::<Vec<_>>();
    let fetched = ["x509_svid", "x509_bundles", "jwt_svid", "jwt_bundles"];
    let judged = ["validated", "refused", "refused", "update", "update", "done"];
    assert_eq!(all("step"), [&fetched[..], &judged[..]].concat());
    assert_eq!(all("spiffe_id"), [ID; 5]);
    assert_eq!(all("chain"), [2], "leaf and intermediate");
    let serials = all("serial");
    assert_ne!(serials.first(), serials.last(), "a renewal is another certificate");
}
