//! An agent that has no file descriptor left: what is open goes on, who comes waits, and no restart is needed.

use crate::memory::agent_config;
use crate::place::Place;
use crate::server::Server;
use crate::wire::{Connection, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, block, frame, preface};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// For an answer that must come: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// For one that must not.
const A_MOMENT: Duration = Duration::from_secs(1);
/// Standard input, output and error: every agent has more open, so there is none left.
const NONE_LEFT: Option<u64> = Some(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_file_descriptors_keeps_its_streams_and_serves_again_when_there_are_some() {
    let place = Place::new();
    let _server = Server::start(&place);
    let mut agent = Server::spawn_agent(&agent_config(&place));
    agent.wait_until(|| place.file("svids/svid.pem").exists());
    let socket = place.file("workload.sock");
    let mut living = Workload::connect(&socket).await;
    living.ask(1).await;
    living.must_be_told().await;

    let most = getrlimit(Resource::Nofile).maximum;
    may_open(agent.pid(), NONE_LEFT);
    let mut waiting = Workload::connect(&socket).await;
    waiting.ask(1).await;
    agent.wait_until(|| agent_log(&place).contains("could not be accepted"));
    let told = tokio::time::timeout(A_MOMENT, waiting.0.frame()).await;
    assert!(!matches!(told, Ok(Ok(_))), "there was a descriptor left: {told:?}");
    living.ask(3).await;
    living.must_be_told().await;

    may_open(agent.pid(), most);
    waiting.must_be_told().await;
    let mut new = Workload::connect(&socket).await;
    new.ask(1).await;
    new.must_be_told().await;
    living.ask(5).await;
    living.must_be_told().await;
}

/// How many files a process may open from now on; those that are open stay so.
fn may_open(pid: u32, current: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let pid = Pid::from_raw(pid.try_into().unwrap());
    prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

fn agent_log(place: &Place) -> String {
    std::fs::read_to_string(place.file("agent.log")).unwrap()
}

/// A client of the Workload API.
struct Workload(Connection<UnixStream>);

impl Workload {
    async fn connect(socket: &Path) -> Self {
        let mut connection = Connection::on(UnixStream::connect(socket).await.unwrap());
        connection.stream.write_all(&preface(&[])).await.unwrap();
        Self(connection)
    }

    /// Opens a stream of SVIDs.
    async fn ask(&mut self, stream: u32) {
        let header = block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("workload.spiffe.io", "true"),
        ]);
        let call = [frame(HEADERS, END_HEADERS, stream, &header), frame(DATA, END_STREAM, stream, &[0; 5])].concat();
        self.0.stream.write_all(&call).await.unwrap();
    }

    /// An SVID comes on the stream last opened, and no former one ends.
    async fn must_be_told(&mut self) {
        let headers = tokio::time::timeout(PATIENCE, self.headers_before_data()).await.unwrap();
        assert_eq!(headers, 1, "the end of a stream is a second header");
    }

    async fn headers_before_data(&mut self) -> usize {
        let mut headers = 0;
        loop {
            match self.0.frame().await.unwrap().kind {
                DATA => return headers,
                HEADERS => headers += 1,
                RST_STREAM | GOAWAY => panic!("a stream ended"),
                _ => {}
            }
        }
    }
}
