//! The bounds of the server's doors, tried one by one on the real thing; afterwards honest callers are still served.

use crate::callers::{Caller, Door, Outcome, now};
use crate::memory::anonymous_kib;
use crate::place::Place;
use crate::server::Server;
use crate::wire::{
    CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, Port, RST_STREAM, SETTINGS,
    block, bundle_block, frame, post, preface,
};
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::process::Command;

/// Added to every time that a door allows: the machine may be busy, and times decide nothing but that there is an end.
const PATIENCE: Duration = Duration::from_secs(30);
/// The shortest time that a door leaves somebody who says nothing.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// What an attack may leave in memory: buffers of its connection, and what the allocator keeps.
const LEFT_KIB: u64 = 16 * 1024;

/// RFC 9113 §7.
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_nothing_or_too_slowly_is_shown_out_in_time() {
    let place = Place::new();
    let _server = Server::start(&place);
    let (http1, http2) = (Port::of(&place, "http/1.1"), Port::of(&place, "h2"));
    let (agent, bundles) = (Port::with_session_key(&place), Port::for_bundles(&place));
    let tcp = |port| async move { Connection::on(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()) };
    let begun = |headers: &str| format!("POST /v1/svid/x509 HTTP/1.1\r\nHost: lanyard\r\n{headers}");
    let body_to_come = begun("Content-Type: application/json\r\nContent-Length: 999\r\n\r\n");
    tokio::join!(
        ends_after(5, "no TLS on the issuer port", tcp(place.port).await, Vec::new()),
        ends_after(5, "no TLS on the bundle port", tcp(place.bundle_port).await, Vec::new()),
        ends_after(10, "no request at the bundle port", bundles.connect().await, preface(&[])),
        ends_after(5, "no byte of HTTP/1.1", http1.connect().await, Vec::new()),
        ends_after(5, "a header a byte a second", http1.connect().await, begun("X-Slow: ").into_bytes()),
        ends_after(5, "a body a byte a second", http1.connect().await, body_to_come.into_bytes()),
        ends_after(5, "an idle connection of HTTP/1.1", http1.connect().await, post("/v1/nothing", "")),
        ends_after(10, "no byte of HTTP/2", http2.connect().await, Vec::new()),
        ends_after(10, "no request of HTTP/2", http2.connect().await, preface(&[])),
        ends_after(5, "no request on the health port", tcp(place.health_port).await, Vec::new()),
        ends_after(10, "no request on the admin socket", admin_socket(&place).await, Vec::new()),
        a_stream_without_its_body_is_answered(&http2),
        an_operators_unfinished_call_is_answered(admin_socket(&place).await),
        whoever_is_dead_is_found("issuer port", http2.connect().await, bundle_block()),
        whoever_is_dead_is_found("admin socket", admin_socket(&place).await, show_bundle()),
        a_client_that_takes_no_answer_is_shown_out(
            &http2,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &bundle_block())
        ),
        a_client_that_takes_no_answer_is_shown_out(&agent, watch()),
    );
    is_counted(&place, r#"lanyard_refusals_total{door="Rest",code="request_timeout"} 2"#).await;
    still_serves(&place).await;
}

/// Sends this, and a byte a second where something was begun; the server ends the connection after so many seconds.
async fn ends_after(seconds: u64, what: &str, mut connection: Connection<impl Stream>, said: Vec<u8>) {
    let began = Instant::now();
    connection.stream.write_all(&said).await.unwrap();
    let slowly = said.ends_with(b": ") || said.ends_with(b"999\r\n\r\n");
    let end = async {
        let mut answer = String::new();
        loop {
            match tokio::time::timeout(Duration::from_secs(1), connection.answer()).await {
                Ok(Ok(said)) => answer = said.code(),
                Ok(Err(_closed)) => return answer,
                // Once the answer is there, the server no longer reads.
                Err(_quiet) if slowly => drop(connection.stream.write_all(b"x").await),
                Err(_quiet) => {}
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(seconds) + PATIENCE, end).await;
    let answer = answer.unwrap_or_else(|_| panic!("{what}: the connection still stands"));
    assert!(began.elapsed() > Duration::from_secs(seconds) * 9 / 10, "{what}: ended after {:?}", began.elapsed());
    if what.contains("body") {
        assert_eq!(answer, "request_timeout", "{what}");
    }
}

async fn a_stream_without_its_body_is_answered(port: &Port) {
    let began = Instant::now();
    let mut connection = port.connect().await;
    let header = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/v1/svid/x509"),
        (":authority", "lanyard"),
        ("content-type", "application/json"),
    ]);
    let asked = [preface(&[]), frame(HEADERS, END_HEADERS, 1, &header)].concat();
    connection.stream.write_all(&asked).await.unwrap();
    let answered = async { while connection.frame().await.unwrap().kind != DATA {} };
    tokio::time::timeout(Duration::from_secs(5) + PATIENCE, answered).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(4), "answered after {:?}", began.elapsed());
}

async fn admin_socket(place: &Place) -> Connection<UnixStream> {
    Connection::on(UnixStream::connect(place.data().join("admin.sock")).await.unwrap())
}

/// A call of an operator, without its message.
fn show_bundle() -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/lanyard.v1.Admin/ShowBundle"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

async fn an_operators_unfinished_call_is_answered(mut connection: Connection<UnixStream>) {
    let began = Instant::now();
    let asked = [preface(&[]), frame(HEADERS, END_HEADERS, 1, &show_bundle())].concat();
    connection.stream.write_all(&asked).await.unwrap();
    let answered = async { while connection.frame().await.unwrap().kind != HEADERS {} };
    tokio::time::timeout(Duration::from_secs(10) + PATIENCE, answered).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(9), "answered after {:?}", began.elapsed());
}

/// It asks, is answered, and says nothing more, not even to a ping: it does not stay until it has been idle for too long.
async fn whoever_is_dead_is_found(what: &str, mut connection: Connection<impl Stream>, asked: Vec<u8>) {
    let asked = [preface(&[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &asked)].concat();
    connection.stream.write_all(&asked).await.unwrap();
    let end = async {
        let mut pings = 0;
        while let Ok(Frame { kind, .. }) = connection.frame().await {
            pings += u32::from(kind == PING);
        }
        pings
    };
    let pings = tokio::time::timeout(Duration::from_secs(30) + PATIENCE, end).await;
    assert_eq!(pings.unwrap_or_else(|_| panic!("{what}: the connection still stands")), 1, "{what}");
}

/// With a window of nothing (RFC 9113 §6.9.2) an answer's body cannot be sent; pings are answered, so the client lives.
async fn a_client_that_takes_no_answer_is_shown_out(port: &Port, request: Vec<u8>) {
    let began = Instant::now();
    let mut connection = port.connect().await;
    let no_window = preface(&[(4, 0)]);
    let asked = [no_window, request].concat();
    connection.stream.write_all(&asked).await.unwrap();
    let end = async {
        while let Ok(Frame { kind, payload }) = connection.frame().await {
            if kind == PING {
                drop(connection.stream.write_all(&frame(PING, 1, 0, &payload)).await);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30) + PATIENCE, end).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(27), "ended after {:?}", began.elapsed());
}

/// A call whose answer has no end.
fn watch() -> Vec<u8> {
    let header = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/lanyard.v1.Issuer/Watch"),
        (":authority", "lanyard"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]);
    [frame(HEADERS, END_HEADERS, 1, &header), frame(DATA, END_STREAM, 1, &[0; 5])].concat()
}

/// A line of the page of metrics.
async fn is_counted(place: &Place, line: &str) {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, place.health_port)).await.unwrap();
    let mut health = Connection::on(tcp);
    health.stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lanyard\r\n\r\n").await.unwrap();
    let page = String::from_utf8(health.answer().await.unwrap().body).unwrap();
    assert!(page.contains(line), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abuse_of_http2_ends_its_own_connection() {
    let place = Place::new();
    let server = Server::start(&place);
    let port = Port::of(&place, "h2");
    still_serves(&place).await;
    let before = anonymous_kib(server.pid());
    let request = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &bundle_block());
    let streams = || (0..400_u32).map(|number| 2 * number + 1);
    let taken_back =
        streams().flat_map(|stream| [request(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat());
    let unfinished = || {
        let fields = [(":method", "POST"), (":scheme", "https"), (":path", "/v1/explain"), (":authority", "lanyard")];
        let header = block(&[&fields[..], &[("content-type", "application/json")]].concat());
        streams().flat_map(move |stream| frame(HEADERS, END_HEADERS, stream, &header)).collect::<Vec<_>>()
    };
    let continued = |count: usize| {
        let first = frame(HEADERS, END_STREAM, 1, &bundle_block());
        std::iter::once(first).chain((0..count).map(|_| frame(CONTINUATION, 0, 1, &[]))).collect::<Vec<_>>().concat()
    };
    let value = "v".repeat(120);
    let large = block(&[("x-large", value.as_str())].repeat(130));
    for (what, bytes, ends) in [
        ("a flood of empty CONTINUATION frames", continued(100), (GOAWAY, ENHANCE_YOUR_CALM)),
        ("streams taken back at once (CVE-2023-44487)", taken_back.collect(), (GOAWAY, ENHANCE_YOUR_CALM)),
        ("a frame of more than 16 KiB", frame(DATA, 0, 1, &vec![0; 16_385]), (GOAWAY, FRAME_SIZE_ERROR)),
        ("more streams than a connection has", unfinished(), (RST_STREAM, REFUSED_STREAM)),
    ] {
        assert_eq!(ends_with(&port, &bytes, ends.0).await, Some(ends), "{what}");
    }
    // Answered with 431, or the end of the stream or the connection, as the library likes; never with the bundle.
    let too_large = [&bundle_block()[..], &large].concat();
    let (first, rest) = too_large.split_at(16_000);
    let too_large = [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)].concat();
    let mut connection = port.connect().await;
    connection.stream.write_all(&[preface(&[]), too_large, request(3)].concat()).await.unwrap();
    let bodies =
        frames(&mut connection, |frame| frame.kind == DATA && !frame.payload.is_empty() || frame.kind == GOAWAY);
    assert!(bodies.await.iter().filter(|frame| frame.kind == DATA).count() <= 1, "a large header was answered");
    must_be_back(&server, before);
    still_serves(&place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_and_never_reads_costs_bounded_memory() {
    let place = Place::new();
    let server = Server::start(&place);
    let port = Port::of(&place, "h2");
    still_serves(&place).await;
    let before = anonymous_kib(server.pid());
    let requests: Vec<u8> = (0..256_u32)
        .flat_map(|number| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &bundle_block()))
        .collect();
    let mut held = Vec::new();
    for flood in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[]), requests] {
        for _ in 0..4 {
            let mut connection = port.connect().await;
            connection.stream.write_all(&preface(&[])).await.unwrap();
            let many = flood.repeat(8 * 1024 * 1024 / flood.len());
            // The server stops reading when nobody reads what it says, or ends the connection.
            let sent = tokio::time::timeout(Duration::from_secs(2), connection.stream.write_all(&many)).await;
            held.push((connection, sent));
        }
    }
    let grown = anonymous_kib(server.pid()).saturating_sub(before);
    println!("12 connections that were sent up to 8 MiB each hold {grown} KiB");
    assert!(grown < 2 * LEFT_KIB, "the floods took {grown} KiB");
    still_serves(&place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_http1_have_a_number_and_a_size() {
    let place = Place::new();
    let _server = Server::start(&place);
    let port = Port::of(&place, "http/1.1");
    let with = |headers: &str| format!("GET /v1/bundle HTTP/1.1\r\nHost: lanyard\r\n{headers}\r\n").into_bytes();
    for (what, headers, status) in [
        ("some headers", "X-One: 1\r\n".repeat(40), 200),
        ("too many headers", "X-One: 1\r\n".repeat(64), 431),
        ("a header that is too large", format!("X-Large: {}\r\n", "v".repeat(80_000)), 431),
    ] {
        let mut connection = port.connect().await;
        // The server may answer, and end the connection, before it has read all.
        drop(connection.stream.write_all(&with(&headers)).await);
        assert_eq!(connection.answer().await.unwrap().status, status, "{what}");
    }
    still_serves(&place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_door_has_so_many_connections_and_no_more() {
    let place = Place::new();
    let _server = Server::start(&place);
    let (health, bundle, admin) = (place.health_port, place.bundle_port, place.data().join("admin.sock"));
    let mut held = Vec::new();
    for host in [1, 2] {
        held.push(fills_up(64, async || connect_from(host, health).await).await);
    }
    closed_at_once(connect_from(3, health).await).await;
    held.push(fills_up(512, async || connect_from(1, bundle).await).await);
    let admins = fills_up(64, async || UnixStream::connect(&admin).await.unwrap()).await;
    drop((held, admins));
    still_serves(&place).await;
}

/// Holds the most connections that a door takes, one more being closed at once; as long as none of them was sent away for
/// its silence, which on a busy machine takes another attempt.
async fn fills_up<S: Stream>(most: usize, connect: impl AsyncFn() -> S) -> Vec<S> {
    for _attempt in 0..5 {
        let (began, mut held) = (Instant::now(), Vec::new());
        for _ in 0..most {
            held.push(connect().await);
        }
        if is_closed_at_once(connect().await).await {
            return held;
        }
        assert!(began.elapsed() >= SILENT_FOR, "the door takes more than {most}");
    }
    panic!("no attempt was quick enough to tell");
}

/// A connection from one of the loopback's many addresses.
async fn connect_from(host: u8, port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap()
}

/// Of 700 files 512 are kept for the journal and the like; below twice that, half of all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_leave_room_for_others_and_files_for_the_journal() {
    let place = Place::new();
    let with_few_files = format!("ulimit -n 700; exec {} server --config \"$0\"", env!("CARGO_BIN_EXE_lanyard"));
    let mut sh = Command::new("sh");
    sh.args(["-c", &with_few_files]).arg(place.config()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = sh.kill_on_drop(true).spawn().unwrap();
    let ready = async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, place.port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.unwrap();
    let mut open = Vec::new();
    // One of the first 175 may still be that of the question above.
    for (host, most) in [(1, 174), (2, 175)] {
        for _ in 0..most {
            open.push(connect_from(host, place.port).await);
        }
    }
    // Each address has its half by now; so a third finds nothing left, but for that one place.
    let mut surplus = Vec::new();
    for host in [1, 2, 3, 3] {
        surplus.push(connect_from(host, place.port).await);
    }
    closed_at_once(surplus.pop().unwrap()).await;
    closed_at_once(surplus.swap_remove(1)).await;
    drop((open, surplus));
    let is_served = async {
        while !matches!(Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await, Outcome::Issued(_)) {
        }
    };
    tokio::time::timeout(PATIENCE, is_served).await.unwrap();
    server.kill().await.unwrap();
}

/// What all transports here are.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

async fn closed_at_once(stream: impl Stream) {
    assert!(is_closed_at_once(stream).await);
}

async fn is_closed_at_once(stream: impl Stream) -> bool {
    let mut connection = Connection::on(stream);
    matches!(tokio::time::timeout(SILENT_FOR * 4 / 5, connection.frame()).await, Ok(Err(_)))
}

/// Sends the bytes after a preface; the code with which the server ends the stream or the connection.
async fn ends_with(port: &Port, bytes: &[u8], kind: u8) -> Option<(u8, u32)> {
    let mut connection = port.connect().await;
    let sent = connection.stream.write_all(&[&preface(&[]), bytes].concat()).await;
    // The end may come before all was read.
    drop(sent);
    let seen = frames(&mut connection, |frame| frame.kind == kind).await;
    let last = seen.last().filter(|frame| frame.kind == kind)?;
    let at = if kind == GOAWAY { 4 } else { 0 };
    let code = last.payload.get(at..at + 4)?.try_into().unwrap();
    Some((kind, u32::from_be_bytes(code)))
}

/// Frames until one is the last, or the connection ends.
async fn frames(connection: &mut Connection<impl Stream>, is_last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut seen = Vec::new();
    let reading = async {
        while let Ok(frame) = connection.frame().await {
            let last = is_last(&frame);
            seen.push(frame);
            if last {
                return io::Result::Ok(());
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    seen
}

fn must_be_back(server: &Server, before: u64) {
    let after = anonymous_kib(server.pid());
    println!("memory before the abuse {before} KiB, after it {after} KiB");
    assert!(after <= before + LEFT_KIB, "{before} KiB before, {after} KiB after");
}

/// An honest caller gets an identity.
async fn still_serves(place: &Place) {
    let outcome = Caller::curl().offer(&place.issuer.token(now()), &Door::of(place)).await;
    assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
}
