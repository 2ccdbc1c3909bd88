//! What an idle process keeps in memory.

use crate::callers::now;
use crate::place::Place;
use crate::server::Server;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Long enough for start-up's own memory to be gone; `LANYARD_IDLE_SECONDS=30` measures as the promise says.
const IDLE_SECONDS: u64 = 3;

#[test]
fn an_idle_server_with_an_empty_store_keeps_25_mib_at_most() {
    let place = Place::new();
    let server = Server::start(&place);
    assert_at_most("server", server.pid(), 25);
}

#[test]
fn an_idle_agent_with_an_svid_keeps_12_mib_at_most() {
    let place = Place::new();
    let _server = Server::start(&place);
    let mut agent = Server::spawn_agent(&agent_config(&place));
    agent.wait_until(|| place.file("svids/svid.pem").exists());
    assert_at_most("agent", agent.pid(), 12);
}

/// An agent that keeps one job's SVID.
pub(crate) fn agent_config(place: &Place) -> PathBuf {
    let (port, folder) = (place.port, place.file(""));
    let folder = folder.display();
    fs::write(place.file("token"), place.issuer.token(now())).unwrap();
    let text = format!(
        r#"
server = "https://127.0.0.1:{port}"
server_ca_file = "data/door-ca.pem"
mode = "own-uid"
state_dir = "state"

[token]
file = "token"

[listen]
workload = "{folder}workload.sock"

[files]
folder = "svids"
"#
    );
    let path = place.file("agent.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Waits, then looks.
fn assert_at_most(who: &str, pid: u32, mib: u64) {
    let seconds = std::env::var("LANYARD_IDLE_SECONDS").map_or(IDLE_SECONDS, |text| text.parse().unwrap());
    thread::sleep(Duration::from_secs(seconds));
    let kib = anonymous_kib(pid);
    println!("the idle {who} keeps {kib} KiB after {seconds} s");
    assert!(kib <= mib * 1024, "the idle {who} keeps {kib} KiB of memory, {mib} MiB are promised");
}

/// `RssAnon` of a process.
pub(crate) fn anonymous_kib(pid: u32) -> u64 {
    crate::alone::anonymous_kib(&pid.to_string())
}
