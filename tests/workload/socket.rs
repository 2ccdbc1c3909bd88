//! The socket's place in the file system, by the real binary and over restarts.

use crate::support::beside::{FIRST_ID, Site, TWO_PROFILES, asked, channel, until, within};
use lanyard::wire::workload::X509svidRequest;
use lanyard::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::process::{Child, Command};

/// The binary as an agent, with this socket for workloads; no server is there.
fn agent(folder: &Path, socket: &str) -> Command {
    let config = folder.join("agent.toml");
    let state = folder.join("state");
    let text = format!(
        "server = \"https://127.0.0.1:1\"\nmode = \"pod\"\nstate_dir = \"{}\"\n[listen]\nworkload = \"{socket}\"\n",
        state.display()
    );
    fs::write(&config, text).unwrap();
    let mut lanyard = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    lanyard.args(["agent", "--config"]).arg(config).kill_on_drop(true);
    lanyard
}

/// Shows: EP-17.
#[tokio::test]
async fn a_socket_path_that_the_kernel_cannot_take_ends_the_start_with_words() {
    let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
    let path = |length: usize| {
        let folder = format!("{}/", folder.path().display());
        format!("{folder}{}", "s".repeat(length - folder.len()))
    };
    let ran = within(agent(folder.path(), &path(108)).output()).await.unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("has 108 bytes, a socket path has at most 107"), "{said}");
    assert!(said.contains("/run or /tmp"), "what to do: {said}");

    let longest = path(107);
    let running = agent(folder.path(), &longest).spawn().unwrap();
    until(|| std::os::unix::net::UnixStream::connect(&longest).is_ok()).await;
    drop(running);
}

/// The inodes of the TCP sockets that listen, from `/proc/PID/net` (proc(5)): state 0A, inode in the tenth column.
fn tcp_listeners(of: &Child) -> BTreeSet<String> {
    let pid = of.id().unwrap();
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let columns = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    columns.filter(|columns| columns[3] == "0A").map(|columns| format!("socket:[{}]", columns[9])).collect()
}

/// Shows: EP-2, EP-3.
#[tokio::test]
async fn an_agent_listens_on_its_unix_socket_and_on_no_network() {
    let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
    let socket = folder.path().join("api.sock");
    let running = agent(folder.path(), socket.to_str().unwrap()).spawn().unwrap();
    until(|| socket.exists()).await;
    let files = fs::read_dir(format!("/proc/{}/fd", running.id().unwrap())).unwrap();
    let open: BTreeSet<_> = files
        .filter_map(|file| fs::read_link(file.unwrap().path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    assert!(open.iter().any(|target| target.starts_with("socket:")), "its sockets are seen: {open:?}");
    assert_eq!(open.intersection(&tcp_listeners(&running)).count(), 0);
}

/// Shows: EP-5.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_told_where_the_socket_is_and_our_client_finds_it_there() {
    let site = Site::open(TWO_PROFILES).await;
    let script = "case $SPIFFE_ENDPOINT_SOCKET in unix:///*) ;; *) exit 9;; esac; exec \"$1\" svid x509 --json";
    let ran = within(
        Command::new(env!("CARGO_BIN_EXE_lanyard"))
            .args(["exec", "--server-ca"])
            .arg(site.path("data/door-ca.pem"))
            .args(["--token-env", "TOKEN", "--", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_lanyard")])
            .env("LANYARD_SERVER", site.url.to_string())
            .env("TOKEN", site.token())
            .env("TMPDIR", site.folder.path())
            .output(),
    )
    .await
    .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains(FIRST_ID), "{said}{complained}");
}

/// Somebody else's agent on TCP, for ours has no such door; our client tries an address once before it asks there.
async fn pass_on(door: tokio::net::TcpListener, socket: PathBuf) {
    for _client in 0..2 {
        let (mut client, _) = door.accept().await.unwrap();
        let mut agent = tokio::net::UnixStream::connect(&socket).await.unwrap();
        // Whichever hangs up first: the other hears it.
        drop(tokio::io::copy_bidirectional(&mut client, &mut agent).await);
    }
}

/// Shows: EP-7.
#[tokio::test(flavor = "multi_thread")]
async fn our_client_asks_others_sockets_on_tcp_too() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", door.local_addr().unwrap());
    let socket = agent.socket.clone();
    let other = tokio::spawn(pass_on(door, socket));
    let mut client = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    let ran = within(client.args(["svid", "x509", "--json", "--endpoint", &endpoint]).output()).await.unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains(FIRST_ID), "{said}{complained}");
    within(other).await.unwrap();
}

/// Shows: EP-19.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_clears_what_a_crash_left_and_clients_come_back_by_the_folder_they_know() {
    let site = Site::open(TWO_PROFILES).await;
    let first = site.logged_in().await;
    let folder = first.socket.parent().unwrap().to_owned();
    let inode = || fs::metadata(&folder).unwrap().ino();
    // As a mount would: by the folder's inode, whatever its path means later.
    let held = fs::File::open(&folder).unwrap();
    let by_inode = PathBuf::from(format!("/proc/self/fd/{}/api.sock", held.as_raw_fd()));
    let ask = async || {
        let mut workload = SpiffeWorkloadApiClient::new(channel(&by_inode));
        let mut stream = within(workload.fetch_x509svid(asked(X509svidRequest {}))).await.unwrap().into_inner();
        within(stream.message()).await.unwrap().unwrap()
    };
    let (before, id) = (inode(), ask().await.svids[0].spiffe_id.clone());
    assert_eq!(fs::metadata(&first.socket).unwrap().permissions().mode() & 0o777, 0o777, "any user may connect");
    let socket = first.socket.clone();
    first.ended().await;
    assert!(!socket.exists() && folder.exists(), "the folder stays");

    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "nobody listens behind it, as after a crash");
    let again = site.agent();
    assert_eq!(ask().await.svids[0].spiffe_id, id, "the same session");
    assert_eq!(inode(), before);
    again.ended().await;
}
