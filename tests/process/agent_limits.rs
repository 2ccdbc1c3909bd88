//! The bounds of the agent's two sockets, tried on the real thing; afterwards workloads are still served.

use crate::place::Place;
use crate::server::Server;
use crate::wire::{Connection, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, block, frame, post, preface};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// Added to every time that a door allows: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Agent {
    place: Place,
    _process: Server,
}

impl Agent {
    /// One that waits for logins; its server is away, which is nobody's business here.
    fn start() -> Self {
        let place = Place::new();
        let ca = lanyard::tls::DoorCa::make(&lanyard::crypto::Random::system(), crate::callers::now()).unwrap();
        fs::write(place.file("data/door-ca.pem"), ca.to_pem()).unwrap();
        let (port, folder) = (place.port, place.file(""));
        let folder = folder.display();
        let text = format!(
            r#"
server = "https://127.0.0.1:{port}"
server_ca_file = "data/door-ca.pem"
mode = "own-uid"
state_dir = "state"

[token]
source = "login"

[listen]
workload = "{folder}workload.sock"
agent = "{folder}agent.sock"
"#
        );
        fs::write(place.file("agent.toml"), text).unwrap();
        let mut process = Server::spawn_agent(&place.file("agent.toml"));
        process.wait_until(|| place.file("agent.sock").exists() && place.file("workload.sock").exists());
        Self { place, _process: process }
    }

    fn logins(&self) -> PathBuf {
        self.place.file("agent.sock")
    }

    fn workloads(&self) -> PathBuf {
        self.place.file("workload.sock")
    }

    /// A caller of each socket is answered.
    async fn still_serves(&self) {
        let mut login = open(&self.logins()).await;
        login.stream.write_all(&post("/v1/login", "{}")).await.unwrap();
        assert_eq!(login.answer().await.unwrap().code(), "malformed");
        let mut workload = open(&self.workloads()).await;
        workload.stream.write_all(&[preface(&[]), call(1)].concat()).await.unwrap();
        while workload.frame().await.unwrap().kind != HEADERS {}
    }
}

async fn open(path: &PathBuf) -> Connection<UnixStream> {
    Connection::on(UnixStream::connect(path).await.unwrap())
}

/// A call of the Workload API without its header, which is refused before it is looked at.
fn call(stream: u32) -> Vec<u8> {
    let path = "/SpiffeWorkloadAPI/FetchX509SVID";
    let header = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
    ]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &header)
}

/// Sends this, then nothing or a byte a second; the status of the answer, if there was one, once the connection has ended.
async fn ends_after_five_seconds(path: PathBuf, said: Vec<u8>) -> Option<u16> {
    let (began, mut connection, mut status) = (Instant::now(), open(&path).await, None);
    connection.stream.write_all(&said).await.unwrap();
    let slowly = said.ends_with(b"999\r\n\r\n");
    let end = async {
        loop {
            match tokio::time::timeout(Duration::from_secs(1), connection.answer()).await {
                Ok(Ok(answer)) => status = Some(answer.status),
                Ok(Err(_closed)) => return,
                Err(_quiet) if slowly => drop(connection.stream.write_all(b"x").await),
                Err(_quiet) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5) + PATIENCE, end).await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(4500), "ended after {:?}", began.elapsed());
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_slow_callers_of_both_sockets_are_shown_out() {
    let agent = Agent::start();
    let slow = b"POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n".to_vec();
    let (silent, idle, slow, workload) = tokio::join!(
        ends_after_five_seconds(agent.logins(), Vec::new()),
        ends_after_five_seconds(agent.logins(), post("/v1/login", "{}")),
        ends_after_five_seconds(agent.logins(), slow),
        ends_after_five_seconds(agent.workloads(), Vec::new()),
    );
    assert_eq!((silent, idle, slow, workload), (None, Some(400), Some(408), None));
    agent.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_has_so_many_connections_and_no_more() {
    let agent = Agent::start();
    for (path, most) in [(agent.logins(), 16), (agent.workloads(), 256)] {
        let mut held = Vec::new();
        for _ in 0..most {
            held.push(open(&path).await);
        }
        let mut surplus = open(&path).await;
        let end = tokio::time::timeout(Duration::from_secs(4), surplus.frame()).await;
        assert!(end.unwrap().is_err(), "{}", path.display());
    }
    agent.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_headers_large_bodies_and_streams_taken_back_end_their_own_connection() {
    let agent = Agent::start();
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-One: 1\r\n".repeat(40));
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "v".repeat(20_000));
    let body = post("/v1/login", &"x".repeat(200_000));
    for (asked, status) in [(many.into_bytes(), 431), (large.into_bytes(), 431), (body, 413)] {
        let mut login = open(&agent.logins()).await;
        // The answer may come, and the connection end, before all was read.
        drop(login.stream.write_all(&asked).await);
        assert_eq!(login.answer().await.unwrap().status, status);
    }
    let taken_back = (0..400_u32).map(|number| 2 * number + 1);
    let taken_back = taken_back.flat_map(|stream| [call(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat());
    let mut workload = open(&agent.workloads()).await;
    drop(workload.stream.write_all(&[preface(&[]), taken_back.collect()].concat()).await);
    let end = async { while workload.frame().await.unwrap().kind != GOAWAY {} };
    tokio::time::timeout(PATIENCE, end).await.unwrap();
    agent.still_serves().await;
}
