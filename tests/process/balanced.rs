//! Behind a balancer that says whose connection it brings: `HAProxy`, with both versions of the PROXY protocol; and what comes
//! of headers that nobody should have sent.

use crate::place::{Place, free_port};
use crate::server::Server;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

/// The balancer's own address; the whole of 127.0.0.0/8 is this machine's.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Somebody behind it.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// A busy machine may need many times what it takes.
const WITHIN: Duration = Duration::from_secs(20);

/// What one address may have where 700 files leave 350 connections.
const SHARE: usize = 175;
/// Somebody without TLS stays a little longer than this.
const STAYS: Duration = Duration::from_millis(4500);
const ROUNDS: u32 = 5;

/// A place whose TLS ports stand behind the balancer.
fn place() -> Place {
    let place = Place::new();
    let config = fs::read_to_string(place.config()).unwrap();
    let listens = format!("[listen]\nproxy_protocol_from = [\"{BALANCER}\"]\n");
    fs::write(place.config(), config.replace("[listen]\n", &listens)).unwrap();
    place
}

/// `HAProxy`, with a front port for each of these ends of a server's line.
struct Haproxy {
    child: Child,
    fronts: Vec<u16>,
}

impl Haproxy {
    fn start(place: &Place, ways: &[(u16, &str)]) -> Self {
        let fronts: Vec<_> = ways.iter().map(|_| free_port()).collect();
        let mut text =
            "global\ndefaults\n mode tcp\n timeout connect 20s\n timeout client 20s\n timeout server 20s\n".to_owned();
        for (front, (port, how)) in fronts.iter().zip(ways) {
            write!(
                text,
                "listen {front}\n bind 127.0.0.1:{front}\n server one 127.0.0.1:{port} source {BALANCER} {how}\n"
            )
            .unwrap();
        }
        Self::run(place, &text, fronts)
    }

    /// By this configuration, which listens there.
    fn run(place: &Place, text: &str, fronts: Vec<u16>) -> Self {
        let config = place.file("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let child = Command::new("haproxy").args(["-db", "-f"]).arg(config).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|fault| panic!("{fault}: install the Debian package haproxy"));
        let haproxy = Self { child, fronts };
        let deadline = Instant::now() + WITHIN;
        while haproxy.fronts.iter().any(|front| TcpStream::connect((Ipv4Addr::LOCALHOST, *front)).is_err()) {
            assert!(Instant::now() < deadline, "HAProxy does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        haproxy
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Asks for the bundle, from this address: the status, 0 where there was none.
fn asks(place: &Place, (from, port): (Ipv4Addr, u16), more: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", "--interface", &from.to_string()]);
    curl.args(more).arg("--cacert").arg(place.data().join("door-ca.pem"));
    let path = if port == place.bundle_port { "" } else { "v1/bundle" };
    let said = curl.arg(format!("https://127.0.0.1:{port}/{path}")).output().unwrap();
    String::from_utf8(said.stdout).unwrap()
}

/// A connection from this address that says this first.
fn says(from: Ipv4Addr, port: u16, first: &[u8]) -> TcpStream {
    let socket = bound_to(from);
    let mut stream = connect(socket, port);
    stream.write_all(first).unwrap();
    stream
}

fn bound_to(from: Ipv4Addr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddrV4::new(from, 0).into()).unwrap();
    socket
}

fn connect(socket: TcpSocket, port: u16) -> TcpStream {
    let connecting = socket.connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(connecting).unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Whether the server closes it, and not only because nobody says more.
fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// The page of metrics.
fn metrics(place: &Place) -> String {
    let mut health = TcpStream::connect((Ipv4Addr::LOCALHOST, place.health_port)).unwrap();
    health.write_all(b"GET /metrics HTTP/1.1\r\nHost: lanyard\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    health.read_to_string(&mut page).unwrap();
    page
}

fn refused(place: &Place, reason: &str) -> u64 {
    let named = format!("lanyard_refused_connections_total{{reason=\"{reason}\"}} ");
    metrics(place).lines().find_map(|line| line.strip_prefix(&named)).map_or(0, |count| count.parse().unwrap())
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_balancer_of_ours_says_whose_connection_it_brings_and_nobody_else_does() {
    let place = place();
    let mut server = Server::spawn_talkative("server", &place.config());
    server.wait_until_ready(&place);
    let (issuer, bundles) = (place.port, place.bundle_port);
    let ways = [
        (issuer, "send-proxy"),
        (issuer, "send-proxy-v2"),
        (bundles, "send-proxy"),
        (bundles, "send-proxy-v2"),
        (issuer, ""),
    ];
    let haproxy = Haproxy::start(&place, &ways);
    let [first, second, third, fourth, silent] = haproxy.fronts[..] else { panic!("five fronts") };
    for (front, of) in [(first, issuer), (second, issuer), (third, bundles), (fourth, bundles)] {
        let path = if of == bundles { bundles } else { issuer };
        let target = format!("127.0.0.1:{path}:127.0.0.1:{front}");
        assert_eq!(asks(&place, (CLIENT, path), &["--connect-to", &target]), "200", "by way of {front} to {path}");
    }
    assert_eq!(asks(&place, (CLIENT, issuer), &[]), "200", "whoever comes without a balancer needs no header");
    let before = refused(&place, "proxy_header");
    let target = format!("127.0.0.1:{issuer}:127.0.0.1:{silent}");
    assert_eq!(asks(&place, (CLIENT, issuer), &["--connect-to", &target]), "000", "a balancer that says nothing");
    assert_eq!(asks(&place, (BALANCER, bundles), &[]), "000", "the same at the bundle port");
    assert_eq!(refused(&place, "proxy_header"), before + 2);
    let handshakes = refused(&place, "handshake");
    assert_eq!(asks(&place, (CLIENT, issuer), &["--haproxy-protocol"]), "000", "a header of a stranger");
    assert_eq!(asks(&place, (CLIENT, bundles), &["--haproxy-protocol"]), "000", "the same at the bundle port");
    assert_eq!(refused(&place, "handshake"), handshakes + 2, "it is no TLS, and nothing else");
    // What is told of a connection names the client and not the balancer.
    for front in [first, second] {
        let mut stream = says(CLIENT, front, b"GET / HTTP/1.0\r\n\r\n");
        assert!(is_closed(&mut stream, WITHIN));
    }
    let told = || {
        let log = server.log();
        let of = |address: Ipv4Addr| {
            let field = format!("\"client\":\"{address}\"");
            log.lines().filter(|line| line.contains("no TLS with a client") && line.contains(&field)).count()
        };
        // One of them came by itself, with a header that was none of its business.
        (of(CLIENT), of(BALANCER))
    };
    wait_until("both are told", || told() == (3, 0));
}

#[test]
fn the_page_s_balancer_brings_clients() {
    let place = place();
    let _server = Server::start(&place);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/balancer.md");
    let page = fs::read_to_string(page).unwrap();
    let text = page.split("```haproxy\n").nth(1).unwrap().split("```").next().unwrap();
    let (port, front) = (place.port, free_port());
    let here = |text: &str, there: &str, here: String| {
        assert!(text.contains(there), "{there}");
        text.replace(there, &here)
    };
    let text = here(text, "bind :8443", format!("bind 127.0.0.1:{front}"));
    let text = here(&text, "10.0.0.11:8443", format!("127.0.0.1:{port} source {BALANCER}"));
    let _haproxy = Haproxy::run(&place, &text, vec![front]);
    let target = format!("127.0.0.1:{port}:127.0.0.1:{front}");
    assert_eq!(asks(&place, (CLIENT, port), &["--connect-to", &target]), "200");
    assert_eq!(refused(&place, "proxy_header"), 0);
}

#[test]
fn places_are_counted_by_the_client_and_not_by_its_balancer() {
    let place = place();
    let with_few_files = format!("ulimit -n 700; exec {} server --config \"$0\"", env!("CARGO_BIN_EXE_lanyard"));
    let mut command = Command::new("sh");
    command.args(["-c", &with_few_files]).arg(place.config());
    let mut server = Server::run(&mut command, &place.config());
    server.wait_until_ready(&place);
    let by =
        |client: &str| says(BALANCER, place.port, format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n").as_bytes());
    // Whichever of them comes in last. None says more, so each is shown out after five seconds: a round that took longer shows nothing.
    let in_time = (0..ROUNDS).any(|_| {
        let (began, before) = (Instant::now(), refused(&place, "too_many"));
        let is_late = || began.elapsed() > STAYS;
        let mut all: Vec<_> = (0..=SHARE).map(|_| by("198.51.100.7")).collect();
        let is_so = || is_open(&place, SHARE) && refused(&place, "too_many") == before + 1;
        while !is_so() && !is_late() {
            thread::sleep(Duration::from_millis(20));
        }
        let closed = all.iter_mut().filter_map(|one| is_closed(one, Duration::from_millis(1)).then_some(())).count();
        let another = is_closed(&mut by("198.51.100.8"), Duration::from_millis(500));
        let balancer = is_closed(&mut says(BALANCER, place.port, b"PROXY UNKNOWN\r\n"), Duration::from_millis(500));
        let told = refused(&place, "too_many");
        if is_late() {
            return false;
        }
        assert_eq!((closed, another, balancer), (1, false, false), "one too many, another client, the balancer itself");
        assert_eq!(told, before + 1);
        true
    });
    assert!(in_time, "its share is not used up by {SHARE}, or all rounds were slow");
}

fn is_open(place: &Place, connections: usize) -> bool {
    metrics(place).contains(&format!("lanyard_open_connections {connections}\n"))
}

#[test]
fn a_balancer_s_connection_without_an_honest_header_ends_and_holds_up_nobody() {
    let place = place();
    let _server = Server::start(&place);
    let long = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(), vec![7; 70_000]].concat();
    for (what, first) in [
        ("plain HTTP", &b"GET / HTTP/1.0\r\n\r\n"[..]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("an endless line", &[b"PROXY ".to_vec(), vec![b'x'; 2000]].concat()),
        ("no address", b"PROXY TCP4 192.0.2.300 192.0.2.1 4711 443\r\n"),
        ("datagrams", b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\x12\x67\x01\xbb"),
    ] {
        assert!(is_closed(&mut says(BALANCER, place.port, first), Duration::from_secs(4)), "{what}");
    }
    // A reset may come before all of it is written.
    let mut endless = connect(bound_to(BALANCER), place.port);
    let _reset = endless.write_all(&long);
    assert!(is_closed(&mut endless, Duration::from_secs(4)), "a header without an end");
    assert_eq!(refused(&place, "proxy_header"), 6);
    let began = Instant::now();
    let mut slow = says(BALANCER, place.port, b"PROXY TCP4 ");
    assert_eq!(asks(&place, (CLIENT, place.port), &[]), "200", "others do not wait for it");
    assert!(is_closed(&mut slow, WITHIN) && began.elapsed() > Duration::from_millis(4500), "{:?}", began.elapsed());
    assert_eq!(refused(&place, "proxy_header"), 7);
}
