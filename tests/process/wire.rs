//! Bytes on the server's port, written and read by hand: what no library would send.

use crate::callers::{now, p256};
use crate::place::Place;
use lanyard::crypto::{Random, install_providers};
use lanyard::tls::{ServerTrust, SessionCertificate, TlsClient};
use std::fmt::Write;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How to reach a server's issuer port.
pub(crate) struct Port {
    tls: TlsClient,
    port: u16,
}

/// One answer of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Port {
    /// Speaks one protocol, as in ALPN.
    pub(crate) fn of(place: &Place, protocol: &str) -> Self {
        install_providers();
        let trust = ServerTrust::from_pem(&place.door_ca(), "the door CA").unwrap();
        Self { tls: TlsClient::new(&trust, None, &[protocol]).unwrap(), port: place.port }
    }

    /// Speaks HTTP/2 at the bundle port.
    pub(crate) fn for_bundles(place: &Place) -> Self {
        Self { port: place.bundle_port, ..Self::of(place, "h2") }
    }

    /// Speaks HTTP/2, as an agent does.
    pub(crate) fn with_session_key(place: &Place) -> Self {
        install_providers();
        let trust = ServerTrust::from_pem(&place.door_ca(), "the door CA").unwrap();
        let session = SessionCertificate::of(&p256(), &Random::system(), now()).unwrap();
        Self { tls: TlsClient::new(&trust, Some(&session), &["h2"]).unwrap(), port: place.port }
    }

    /// A connection after its handshake.
    pub(crate) async fn connect(&self) -> Connection<impl AsyncRead + tokio::io::AsyncWrite + Unpin + use<>> {
        Connection::on(self.tls.connect("127.0.0.1", self.port).await.unwrap())
    }
}

/// A connection with what was read of it and not used yet.
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// A connection that stands.
    pub(crate) const fn on(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// The next answer; an error when the server has closed the connection.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((head, answer)) = Answer::parse(&self.read) {
                self.read.drain(..head);
                return Ok(answer);
            }
            self.more().await?;
        }
    }

    /// Some more bytes.
    async fn more(&mut self) -> io::Result<()> {
        // Enough for some dozen answers at once.
        self.read.reserve(16 * 1024);
        let count = self.stream.read_buf(&mut self.read).await?;
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// The next frame of HTTP/2: kind, flags, payload.
    pub(crate) async fn frame(&mut self) -> io::Result<Frame> {
        while self.read.len() < 9 {
            self.more().await?;
        }
        let length = usize::from(self.read[0]) << 16 | usize::from(self.read[1]) << 8 | usize::from(self.read[2]);
        while self.read.len() < 9 + length {
            self.more().await?;
        }
        let frame = Frame { kind: self.read[3], payload: self.read[9..9 + length].to_vec() };
        self.read.drain(..9 + length);
        Ok(frame)
    }
}

impl Answer {
    /// The first answer in these bytes, and how many it takes.
    fn parse(bytes: &[u8]) -> Option<(usize, Self)> {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = str::from_utf8(&bytes[..head]).unwrap();
        let status = text.get(9..12).unwrap().parse().unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let end = head + length.map_or(0, |length| length.parse::<usize>().unwrap());
        Some((end, Self { status, body: bytes.get(head..end)?.to_vec() }))
    }

    /// The stable code of a refusal.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request of HTTP/1.1 with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: lanyard\r\nContent-Type: application/json\r\n");
    write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    request.into_bytes()
}

/// One frame of HTTP/2, as read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a client of HTTP/2 says first, with these settings (RFC 9113 §6.5.1).
pub(crate) fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..]].concat()
}

/// A header block in which nothing is compressed (RFC 7541 §6.2.2); names and values are shorter than 127 bytes.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    fields.iter().flat_map(|(n, v)| [&[0, length(n)], n.as_bytes(), &[length(v)], v.as_bytes()].concat()).collect()
}

/// The header of a request that asks for the trust bundle.
pub(crate) fn bundle_block() -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "https"), (":path", "/v1/bundle"), (":authority", "lanyard")])
}
