//! A client that writes HTTP/2 frames itself, so that a test decides over every header and sees every byte.

use loona_hpack::{Decoder, Encoder};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The five calls of the standard.
pub(crate) const CALLS: [&str; 5] =
    ["FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"];

/// What came on one stream so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Of the head and of the trailers.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) reset: Option<u32>,
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The status that ended the call; none while it goes on.
    pub(crate) fn status(&self) -> Option<i32> {
        self.field("grpc-status").map(|status| status.parse().unwrap())
    }

    /// The messages, out of their length-prefixed frames.
    pub(crate) fn messages(&self) -> Vec<&[u8]> {
        let (mut rest, mut messages) = (&*self.body, Vec::new());
        while let Some((head, behind)) = rest.split_at_checked(5) {
            assert_eq!(head[0], 0, "nothing is compressed");
            let length = u32::from_be_bytes(head[1..].try_into().unwrap());
            let Some((message, behind)) = behind.split_at_checked(usize::try_from(length).unwrap()) else { break };
            messages.push(message);
            rest = behind;
        }
        messages
    }
}

/// One connection.
pub(crate) struct Raw {
    socket: UnixStream,
    decoder: Decoder<'static>,
    next: u32,
    answers: BTreeMap<u32, Answer>,
    pub(crate) pongs: u32,
    /// The error code of the server's GOAWAY.
    pub(crate) goaway: Option<u32>,
}

impl Raw {
    pub(crate) async fn connect(path: &Path) -> Self {
        let mut socket = UnixStream::connect(path).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let answers = BTreeMap::new();
        let mut raw = Self { socket, decoder: Decoder::new(), next: 1, answers, pongs: 0, goaway: None };
        raw.write(SETTINGS, 0, 0, &[]).await;
        raw
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.socket.write_all(&frame).await.unwrap();
    }

    /// Sends a call; the pseudo-headers are `fields` too where the path alone is not enough.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        authority: Option<&str>,
        fields: &[(&str, &str)],
        message: &[u8],
    ) -> u32 {
        let stream = self.next;
        self.next += 2;
        let mut head = vec![(":method", "POST"), (":scheme", "http"), (":path", path)];
        head.extend(authority.map(|name| (":authority", name)));
        head.extend([("content-type", "application/grpc"), ("te", "trailers")]);
        head.extend(fields);
        let block = Encoder::new().encode(head.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        self.write(HEADERS, END_HEADERS, stream, &block).await;
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body = [&[0][..], &length, message].concat();
        let (last, others) = {
            let mut chunks: Vec<_> = body.chunks(16_000).collect();
            (chunks.pop().unwrap(), chunks)
        };
        for chunk in others {
            self.write(DATA, 0, stream, chunk).await;
        }
        self.write(DATA, END_STREAM, stream, last).await;
        self.answers.insert(stream, Answer::default());
        stream
    }

    /// The same with the header that the standard wants, to the standard's service.
    pub(crate) async fn ask(&mut self, call: &str, message: &[u8]) -> u32 {
        let path = format!("/SpiffeWorkloadAPI/{call}");
        self.call(&path, Some("localhost"), &[("workload.spiffe.io", "true")], message).await
    }

    /// Says that a message of this length comes, and sends nothing of it.
    pub(crate) async fn announce(&mut self, call: &str, length: u32) -> u32 {
        let stream = self.next;
        self.next += 2;
        let path = format!("/SpiffeWorkloadAPI/{call}");
        let head: [(&[u8], &[u8]); 7] = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.as_bytes()),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"workload.spiffe.io", b"true"),
        ];
        self.write(HEADERS, END_HEADERS, stream, &Encoder::new().encode(head)).await;
        self.write(DATA, 0, stream, &[&[0][..], &length.to_be_bytes()].concat()).await;
        self.answers.insert(stream, Answer::default());
        stream
    }

    pub(crate) async fn ping(&mut self) {
        self.write(PING, 0, 0, &[7; 8]).await;
    }

    /// Reads one frame and keeps what it says.
    pub(crate) async fn read(&mut self) -> Result<(), std::io::Error> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await?;
        let [l0, l1, l2, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).unwrap();
        let (stream, mut payload) = (u32::from_be_bytes(stream), vec![0; length]);
        self.socket.read_exact(&mut payload).await?;
        let code = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        match kind {
            SETTINGS if flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await,
            PING if flags & ACK == 0 => self.write(PING, ACK, 0, &payload).await,
            PING => self.pongs += 1,
            GOAWAY => self.goaway = Some(code(&payload[4..8])),
            DATA | HEADERS | RST_STREAM => {
                // Also of streams that nobody follows any more: the table of names goes on with every block.
                let named = if kind == HEADERS { self.decoder.decode(&payload).unwrap() } else { Vec::new() };
                let Some(answer) = self.answers.get_mut(&stream) else { return Ok(()) };
                let text = |bytes| String::from_utf8(bytes).unwrap();
                answer.fields.extend(named.into_iter().map(|(name, value)| (text(name), text(value))));
                match kind {
                    DATA => answer.body.extend_from_slice(&payload),
                    RST_STREAM => answer.reset = Some(code(&payload)),
                    _ => {}
                }
                answer.is_whole |= kind == RST_STREAM || flags & END_STREAM != 0;
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything that one call is answered, to its end.
    pub(crate) async fn answer(&mut self, stream: u32) -> Answer {
        while !self.answers[&stream].is_whole {
            self.read().await.unwrap();
        }
        self.answers.remove(&stream).unwrap()
    }

    /// Its answer as soon as it has so many messages, or has ended.
    pub(crate) async fn messages(&mut self, stream: u32, count: usize) -> Answer {
        while !self.answers[&stream].is_whole && self.answers[&stream].messages().len() < count {
            self.read().await.unwrap();
        }
        self.answers[&stream].clone()
    }
}

/// The fields of a protobuf message that has only strings, bytes and messages: number and content, in order.
pub(crate) fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (key, rest) = varint(message);
        assert_eq!(key & 7, 2, "a field with a length");
        let (length, rest) = varint(rest);
        let (content, rest) = rest.split_at(usize::try_from(length).unwrap());
        fields.push((key >> 3, content));
        message = rest;
    }
    fields
}

fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    let (octets, rest) = bytes.split_at(end + 1);
    (octets.iter().rev().fold(0, |value, octet| value << 7 | u64::from(octet & 0x7f)), rest)
}

/// One field of a protobuf message.
pub(crate) fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut length = content.len();
    let mut bytes = vec![number << 3 | 2];
    while length > 127 {
        bytes.push(u8::try_from(length & 127).unwrap() | 128);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    [&bytes, content].concat()
}
