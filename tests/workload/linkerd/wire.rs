//! The very first that linkerd2-proxy sends: its call's head, field by field.

use super::client::{AUTHORITY, Watch};
use crate::support::beside::within;
use loona_hpack::Decoder;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const DATA: u8 = 0;

/// The first frame of a kind that comes.
async fn frame(socket: &mut UnixStream, wanted: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let [l0, l1, l2, kind, ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).unwrap()];
        socket.read_exact(&mut payload).await.unwrap();
        if kind == wanted {
            return payload;
        }
    }
}

/// The head and the message of a client's first call.
async fn first_call(listener: &UnixListener) -> (Vec<(String, String)>, Vec<u8>) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut preface = [0; PREFACE.len()];
    socket.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, PREFACE);
    let head = Decoder::new().decode(&frame(&mut socket, HEADERS).await).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (head.into_iter().map(|(name, value)| (text(name), text(value))).collect(), frame(&mut socket, DATA).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_asks_with_these_fields_and_an_empty_message() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let _watch = Watch::over(&socket).await;
    let (mut head, message) = within(first_call(&listener)).await;
    let (name, version) = head.pop().unwrap();
    assert!(name == "user-agent" && version.starts_with("tonic/0.14."), "{name}: {version}");
    let expected = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", AUTHORITY),
        (":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
        ("workload.spiffe.io", "true"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    assert_eq!(head, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(message, [0; 5], "no compression, no length, nothing");
}
