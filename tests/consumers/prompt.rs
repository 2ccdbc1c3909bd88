//! The times that Istio's agent gives the socket for proxies: one dial of a second, and a file that it deletes.
//!
//! They are a foreign program's, so they are asserted, but only of moments in which the machine woke a thread of ours in time:
//! else they would tell of the machine.

use crate::sides::{DEPLOY, Side, eventually};
use crate::world::World;
use hyper_util::rt::TokioIo;
use lanyard::wire::sds::secret_discovery_service_client::SecretDiscoveryServiceClient;
use lanyard::wire::sds::{DiscoveryRequest, DiscoveryResponse};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};

/// pilot-agent's deadline for its one dial.
const DIALLED_WITHIN: Duration = Duration::from_secs(1);
/// A part of it, so that the rest of the handshake has its time too.
const SETTINGS_WITHIN: Duration = Duration::from_millis(200);
/// From the deletion of the file.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// A thread that sleeps a millisecond and wakes so late says that the machine is busy with others.
const LATE: Duration = Duration::from_millis(10);
/// Quiet moments that are wanted, and moments that are tried for them.
const QUIET: usize = 25;
const TRIED: usize = 2000;

/// SVIDs of so few seconds that proxies are sent new ones all the while.
const TTL: Duration = Duration::from_secs(6);
const STREAMS: usize = 48;
const CLIENTS: usize = 2;
/// Between two calls of a client, each over a connection of its own.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client says first: the preface, and settings without any.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;

/// Sleeps and wakes, and remembers by how much it was too late.
#[derive(Clone, Default)]
struct Canary {
    ticks: Arc<AtomicU64>,
    latest_micros: Arc<AtomicU64>,
}

impl Canary {
    fn start() -> Self {
        let canary = Self::default();
        let own = canary.clone();
        // It ends with the process.
        thread::spawn(move || {
            loop {
                let began = Instant::now();
                thread::sleep(Duration::from_millis(1));
                let late = u64::try_from(began.elapsed().as_micros()).unwrap();
                own.latest_micros.fetch_max(late, Ordering::SeqCst);
                own.ticks.fetch_add(1, Ordering::SeqCst);
            }
        });
        canary
    }

    /// What came of it, if the machine was quiet meanwhile.
    fn quietly<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        self.latest_micros.store(0, Ordering::SeqCst);
        let done = work();
        // One that sleeps too long right now must have its say.
        let ticks = self.ticks.load(Ordering::SeqCst);
        while self.ticks.load(Ordering::SeqCst) < ticks + 2 {
            thread::sleep(Duration::from_millis(1));
        }
        (self.latest_micros.load(Ordering::SeqCst) < u64::try_from(LATE.as_micros()).unwrap()).then_some(done)
    }
}

/// How long a dial took, and from there to the server's settings.
fn dial(socket: &Path) -> io::Result<[Duration; 2]> {
    let began = Instant::now();
    let mut stream = UnixStream::connect(socket)?;
    let (dialled, greeted) = (began.elapsed(), Instant::now());
    stream.set_read_timeout(Some(BACK_WITHIN))?;
    stream.write_all(HELLO)?;
    let mut frame = [0; 9];
    stream.read_exact(&mut frame)?;
    assert_eq!(frame[3], SETTINGS, "the first frame of a server (RFC 9113 §3.4)");
    Ok([dialled, greeted.elapsed()])
}

/// From the moment that the file is there: dials until there were quiet moments enough, and holds each of them against the bounds.
fn is_prompt(canary: &Canary, socket: &Path) {
    let (mut quiet, mut slowest) = (0, [Duration::ZERO; 2]);
    while !socket.exists() {
        thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..TRIED {
        if let Some(times) = canary.quietly(|| dial(socket).unwrap()) {
            let [dialled, settings] = times;
            assert!(dialled < DIALLED_WITHIN && settings < SETTINGS_WITHIN, "{times:?}");
            slowest = [slowest[0].max(dialled), slowest[1].max(settings)];
            quiet += 1;
        }
        if quiet == QUIET {
            println!("slowest of {QUIET} quiet dials, and of their settings: {slowest:?}");
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("only {quiet} quiet moments of {TRIED}: this machine is too busy to tell");
}

fn channel(socket: PathBuf) -> Channel {
    let connect = tower::service_fn(move |_uri: Uri| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://agent").connect_with_connector_lazy(connect)
}

fn asked(name: &str) -> DiscoveryRequest {
    DiscoveryRequest { resource_names: vec![name.to_owned()], ..DiscoveryRequest::default() }
}

/// Proxies that hold streams, and clients that come and go.
struct Load {
    sent: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Load {
    fn on(socket: &Path) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        for name in ["default", "ROOTCA"].into_iter().cycle().take(STREAMS) {
            runtime.spawn(stays(socket.to_owned(), name, Arc::clone(&sent)));
        }
        for _client in 0..CLIENTS {
            runtime.spawn(comes_and_goes(socket.to_owned()));
        }
        Self { sent, _runtime: runtime }
    }
}

/// A proxy that keeps its stream.
async fn stays(socket: PathBuf, name: &'static str, sent: Arc<AtomicU64>) {
    let mut stream = opened(socket, name).await.unwrap();
    while let Ok(Some(_secrets)) = stream.message().await {
        sent.fetch_add(1, Ordering::SeqCst);
    }
}

async fn comes_and_goes(socket: PathBuf) {
    loop {
        // The file is deleted now and then.
        drop(SecretDiscoveryServiceClient::new(channel(socket.clone())).fetch_secrets(asked("ALL")).await);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn opened(socket: PathBuf, name: &str) -> Result<Streaming<DiscoveryResponse>, Status> {
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(asked(name)), tokio_stream::pending());
    Ok(SecretDiscoveryServiceClient::new(channel(socket)).stream_secrets(requests).await?.into_inner())
}

/// Shows: MESH-C10.
#[test]
fn the_socket_for_proxies_answers_in_time_from_its_first_moment_under_load_and_again_when_it_was_deleted() {
    let (world, canary) = (World::start(TTL), Canary::start());
    let mut side = Side::listening(&world, "istio", ("sds = \"FOLDER/mesh/lanyard.sock\"\n", ""));
    let socket = side.path("mesh/lanyard.sock");
    eventually("the file is there", || socket.exists());
    for _start in 0..3 {
        side.kill_agent();
        fs::remove_file(&socket).unwrap();
        thread::scope(|scope| {
            let first = scope.spawn(|| is_prompt(&canary, &socket));
            side.start_agent();
            first.join().unwrap();
        });
    }

    side.login(&world.token_with(&DEPLOY, &[]));
    let load = Load::on(&socket);
    let sent = |least| eventually("secrets are sent", || load.sent.load(Ordering::SeqCst) >= least);
    sent(STREAMS.try_into().unwrap());
    for _deletion in 0..3 {
        let before = load.sent.load(Ordering::SeqCst);
        is_prompt(&canary, &socket);
        fs::remove_file(&socket).unwrap();
        let deleted = Instant::now();
        while dial(&socket).is_err() {
            assert!(deleted.elapsed() < BACK_WITHIN, "not back within {BACK_WITHIN:?}");
            thread::sleep(Duration::from_millis(1));
        }
        println!("back {:?} after it was deleted", deleted.elapsed());
        // Those that have a stream keep it.
        sent(before + 1);
    }
}
