//! What is spoken with a consumer: the least that shows that a client was let in.

use crate::client::Stream;
use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialogue {
    /// Which questions a broker knows, the first that every client asks.
    Kafka,
    /// `GET /` over a connection that stays, answered with 200.
    Http,
    /// A line, answered backwards.
    Lines,
    /// PostgreSQL's own: TLS on request, a user and a database, then queries.
    Postgres(&'static str, &'static str),
}

/// Question 18 in its version 0, the seventh of a client without a name.
const API_VERSIONS: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const PROTOCOL_3: [u8; 4] = [0, 3, 0, 0];
const READY: u8 = b'Z';

impl Dialogue {
    pub(crate) fn before_tls(self, socket: &mut TcpStream) -> Result<()> {
        if !matches!(self, Self::Postgres(..)) {
            return Ok(());
        }
        socket.write_all(&SSL_REQUEST)?;
        let mut said = [0];
        socket.read_exact(&mut said)?;
        if said == *b"S" { Ok(()) } else { Err(Error::other("it has no TLS")) }
    }

    pub(crate) fn greet(self, stream: &mut Stream) -> Result<()> {
        let Self::Postgres(user, database) = self else { return Ok(()) };
        let names = format!("user\0{user}\0database\0{database}\0\0");
        let length = u32::try_from(names.len() + 8).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &PROTOCOL_3, names.as_bytes()].concat())?;
        until_ready(stream)
    }

    pub(crate) fn ask(self, stream: &mut Stream) -> Result<()> {
        match self {
            Self::Http => {
                stream.write_all(GET)?;
                http_ok(stream)
            }
            Self::Kafka => {
                stream.write_all(API_VERSIONS)?;
                let mut head = [0; 10];
                stream.read_exact(&mut head)?;
                let [length @ .., 0, 0, 0, 7, 0, 0] = head else { return Err(Error::other(format!("{head:?}"))) };
                let behind = u64::from(u32::from_be_bytes(length)) - 6;
                std::io::copy(&mut stream.take(behind), &mut std::io::sink()).map(drop)
            }
            Self::Lines => {
                stream.write_all(b"lanyard\n")?;
                let mut answer = [0; 8];
                stream.read_exact(&mut answer)?;
                if answer == *b"draynal\n" { Ok(()) } else { Err(Error::other(format!("{answer:?}"))) }
            }
            Self::Postgres(..) => {
                let query = b"select 1\0";
                let length = u32::try_from(query.len() + 4).unwrap().to_be_bytes();
                stream.write_all(&[b"Q", &length[..], query].concat())?;
                until_ready(stream)
            }
        }
    }
}

/// 200 and a body of the length that the header says.
fn http_ok(stream: &mut Stream) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)])?;
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200") { Ok(()) } else { Err(Error::other(status)) }
}

/// Messages of one byte of kind and four of length.
fn until_ready(stream: &mut Stream) -> Result<()> {
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(length).unwrap().saturating_sub(4)];
        stream.read_exact(&mut body)?;
        match head[0] {
            READY => return Ok(()),
            b'E' => return Err(Error::other(String::from_utf8_lossy(&body))),
            _ => {}
        }
    }
}
