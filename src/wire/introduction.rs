//! Whom a balancer brings: the header that it sends before a connection's first byte (`HAProxy`, "The PROXY protocol", versions
//! 1 and 2).
//!
//! **Invariant**: what follows the header stays unread, for it is the client's TLS.
//! Not here: whose word counts (`proxies.rs`).

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Version 2's addresses take 232 bytes at most (§2.2); the rest is for what balancers add, of which none is read here.
const BYTES_MAX: usize = 1024;
/// Version 1 is one line of at most so many (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Introduction {
    /// Whose connection it is; none where the balancer speaks for itself, or does not know.
    pub client: Option<IpAddr>,
    /// How long the header is.
    pub bytes: usize,
}

/// A connection of a balancer that introduces nobody.
#[derive(Debug, thiserror::Error)]
pub enum IntroductionError {
    /// It went away.
    #[error("it went away before its PROXY header ended")]
    Gone(#[source] io::Error),
    /// Not by the protocol, or of datagrams.
    #[error("it does not begin with a PROXY header")]
    Malformed,
    /// Too slow.
    #[error("its PROXY header did not come in time")]
    Slow,
    /// Too long.
    #[error("its PROXY header is longer than {BYTES_MAX} bytes")]
    TooLong,
}

impl Introduction {
    /// Reads what has come so far; none where more has to come.
    ///
    /// # Errors
    /// `Malformed` as soon as it can be no header any more.
    pub fn parse(begun: &[u8]) -> Result<Option<Self>, IntroductionError> {
        let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
        let (header, bytes) = match ProxyHeader::parse(begun, config) {
            Ok(read) => read,
            // Where the length it names is there and is too short for its addresses, nothing that comes can mend it.
            Err(Error::BufferTooShort) if !has_its_length(begun) => return Ok(None),
            Err(_not_by_the_protocol) => return Err(IntroductionError::Malformed),
        };
        let is_line = begun.first() == Some(&b'P');
        // The library takes any byte after the first word, and lines of any length that come at once.
        if is_line && (bytes > LINE_BYTES_MAX || !begun.starts_with(b"PROXY ")) {
            return Err(IntroductionError::Malformed);
        }
        match header.proxied_address() {
            Some(address) if address.protocol == Protocol::Datagram => Err(IntroductionError::Malformed),
            address => Ok(Some(Self { client: address.map(|address| address.source.ip().to_canonical()), bytes })),
        }
    }

    /// Reads a connection's header, and nothing of what follows.
    ///
    /// # Errors
    /// When there is none, or not in time.
    pub async fn read(tcp: &mut TcpStream, within: Duration) -> Result<Self, IntroductionError> {
        let read = tokio::time::timeout(within, Self::of(tcp)).await;
        read.map_err(|_elapsed| IntroductionError::Slow)?
    }

    async fn of(tcp: &mut TcpStream) -> Result<Self, IntroductionError> {
        let (mut begun, mut taken) = (vec![0; BYTES_MAX], 0);
        loop {
            let room = begun.get_mut(taken..).filter(|room| !room.is_empty()).ok_or(IntroductionError::TooLong)?;
            let seen = match tcp.peek(room).await.map_err(IntroductionError::Gone)? {
                0 => return Err(IntroductionError::Gone(io::ErrorKind::UnexpectedEof.into())),
                more => taken.saturating_add(more),
            };
            let found = Self::parse(begun.get(..seen).unwrap_or_default())?;
            // As long as it has no end, all that came belongs to it.
            let until = found.map_or(seen, |header| header.bytes);
            let ours = begun.get_mut(taken..until).unwrap_or_default();
            tcp.read_exact(ours).await.map_err(IntroductionError::Gone)?;
            if let Some(header) = found {
                return Ok(header);
            }
            taken = until;
        }
    }
}

/// Whether as many bytes are there as version 2 says (§2.2); a line does not say.
fn has_its_length(begun: &[u8]) -> bool {
    let named = begun.get(14..16).filter(|_length| begun.starts_with(b"\r"));
    let rest = begun.get(16..).unwrap_or_default();
    named.is_some_and(|named| named.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)) <= rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const WITHIN: Duration = Duration::from_secs(20);

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    /// From 192.0.2.7, port 258, to 10.0.0.1, port 443.
    const OF_V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 1, 2, 1, 187];

    #[test]
    fn headers_of_both_versions_say_whose_connection_it_is() {
        let v6: Vec<u8> = [&[0x20, 1, 0xd, 0xb8], &[0; 12][..], &[0x20, 1, 0xd, 0xb8], &[0; 16]].concat();
        let more = [&OF_V4[..], &[4, 0, 1, 0]].concat();
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 258 443\r\n".to_vec(), "192.0.2.7"),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 258 443\r\n".to_vec(), "2001:db8::1"),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 258 443\r\n".to_vec(), "192.0.2.7"),
            (b"PROXY UNKNOWN\r\n".to_vec(), ""),
            (b"PROXY UNKNOWN ff:: ff:: 1 2\r\n".to_vec(), ""),
            (version_2(0x21, 0x11, &OF_V4), "192.0.2.7"),
            (version_2(0x21, 0x11, &more), "192.0.2.7"),
            (version_2(0x21, 0x21, &v6), "2001:db8::"),
            (version_2(0x20, 0x11, &OF_V4), ""),
            (version_2(0x20, 0, &[]), ""),
            (version_2(0x21, 0, &[]), ""),
            (version_2(0x21, 0x31, &[b'/'; 216]), ""),
        ] {
            let client = client.parse().ok();
            let read = |bytes: &[u8]| Introduction::parse(bytes).unwrap();
            let wanted = Introduction { client, bytes: header.len() };
            assert_eq!(read(&header), Some(wanted), "{}", header.escape_ascii());
            assert_eq!(read(&[&header[..], b"\x16\x03\x01"].concat()), Some(wanted), "what follows says nothing");
            for short in 0..header.len() {
                assert_eq!(read(&header[..short]), None, "{}", header[..short].escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_header_introduces_nobody() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX));
        for bytes in [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY\tTCP4 192.0.2.7 10.0.0.1 258 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.256 10.0.0.1 258 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 2001:db8::2 258 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 258 443\rX".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 258 443\r\n".to_vec(),
            long.into_bytes(),
            vec![b'P'; LINE_BYTES_MAX],
            version_2(0x21, 0x12, &OF_V4),
            version_2(0x21, 0x11, &OF_V4[..11]),
            version_2(0x21, 0x41, &OF_V4),
            version_2(0x22, 0x11, &OF_V4),
            version_2(0x11, 0x11, &OF_V4),
            version_2(0x21, 0x31, &[b'/'; 215]),
        ] {
            assert!(Introduction::parse(&bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    /// A connection on which these come one after the other, and its other end.
    #[expect(clippy::disallowed_methods, reason = "the other end is a task of the test")]
    async fn given(pieces: &[&[u8]]) -> (TcpStream, tokio::task::JoinHandle<TcpStream>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let writing = tokio::spawn(async move {
            for piece in pieces {
                client.write_all(&piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            client
        });
        (listener.accept().await.unwrap().0, writing)
    }

    #[tokio::test]
    async fn what_follows_a_header_stays_for_whoever_reads_next() {
        let (line, bytes) = (b"PROXY TCP4 192.0.2.7 10.0.0.1 258 443\r\n", version_2(0x21, 0x11, &OF_V4));
        let pieces = [
            vec![&line[..], b"hello"],
            vec![&line[..3], &line[3..20], &line[20..38], &line[38..], b"hello"],
            vec![&bytes, b"hello"],
            vec![&bytes[..1], &bytes[1..14], &bytes[14..20], &bytes[20..], b"hello"],
        ];
        let at_once = pieces.each_ref().map(|pieces| pieces.concat());
        for pieces in pieces.into_iter().chain(at_once.iter().map(|whole| vec![&whole[..]])) {
            let (mut tcp, writing) = given(&pieces).await;
            let read = Introduction::read(&mut tcp, WITHIN).await.unwrap();
            assert_eq!(read.client, Some("192.0.2.7".parse().unwrap()));
            drop(writing.await.unwrap());
            let mut rest = Vec::new();
            tcp.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"hello");
        }
    }

    #[tokio::test]
    async fn a_header_has_an_end_in_bytes_and_in_time() {
        let endless = version_2(0x21, 0x11, &[0; 2 * BYTES_MAX]);
        let (mut tcp, _writing) = given(&[&endless]).await;
        assert!(matches!(Introduction::read(&mut tcp, WITHIN).await, Err(IntroductionError::TooLong)));
        let (mut tcp, _writing) = given(&[b"PROXY "]).await;
        let slow = Introduction::read(&mut tcp, Duration::from_millis(50)).await;
        assert!(matches!(slow, Err(IntroductionError::Slow)));
        let (mut tcp, writing) = given(&[b"PROXY "]).await;
        drop(writing.await.unwrap());
        assert!(matches!(Introduction::read(&mut tcp, WITHIN).await, Err(IntroductionError::Gone(_))));
    }
}
