//! One connection to a directory: TLS from the start or by `StartTLS`, bound, one question at a time.

use super::ber::whole_length;
use super::message::{Answer, Entry, Request, Search};
use super::{LdapError, ResultCode};
use crate::tls::{ClientStream, ServerTrust, TlsClient};
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// For each of connecting, binding and searching. A request waits no longer for all that it needs to hear.
const WITHIN: Duration = Duration::from_secs(3);
/// Of one answer, which is a few accounts or one with a thousand groups.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where a directory listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) struct Place {
    /// Its name, which its certificate must have.
    pub(in super::super) host: String,
    /// The port.
    pub(in super::super) port: u16,
    /// Whether TLS begins only when it is asked for.
    pub(in super::super) start_tls: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.start_tls { "ldap" } else { "ldaps" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// A connection that is bound. One that has failed, or was left in the middle of an answer, is of no use any more.
#[derive(Debug)]
pub(in super::super) struct Connection {
    line: Line<ClientStream>,
    place: Place,
}

impl Connection {
    /// Connects, and binds with a password that is not empty: with an empty one Active Directory would let in nobody in
    /// particular, and say that all is well (RFC 4513 §5.1.2).
    pub(in super::super) async fn open(
        place: &Place,
        trust: &ServerTrust,
        (name, password): (&str, &[u8]),
    ) -> Result<Self, LdapError> {
        let tls = TlsClient::for_older(trust)?;
        let stream = in_time(shake_hands(place, &tls)).await?;
        let mut line = Line::new(stream);
        let bound = in_time(line.ask(&Request::Bind { name, password }, 0)).await?;
        bound.outcome.map_or(Ok(Self { line, place: place.clone() }), |no| Err(LdapError::Refused(no)))
    }

    /// With whom.
    pub(in super::super) const fn place(&self) -> &Place {
        &self.place
    }

    /// What a search finds. Where else to look is not told: nobody goes there.
    pub(in super::super) async fn search(&mut self, search: &Search<'_>) -> Result<Vec<Entry>, LdapError> {
        let found = in_time(self.line.ask(&Request::Search(search), search.most)).await?;
        match found.outcome {
            None => Ok(found.entries),
            Some(ResultCode { code: ResultCode::SIZE_LIMIT, .. }) => Err(TOO_MANY),
            Some(no) => Err(LdapError::Refused(no)),
        }
    }
}

const TOO_MANY: LdapError = LdapError::TooMuch { most: "was asked for" };

async fn shake_hands(place: &Place, tls: &TlsClient) -> Result<ClientStream, LdapError> {
    let tcp = tls.reach(&place.host, place.port).await?;
    if !place.start_tls {
        return Ok(tls.shake_hands(&place.host, place.port, tcp).await?);
    }
    let mut line = Line::new(tcp);
    let answer = line.ask(&Request::StartTls, 0).await?;
    if let Some(no) = answer.outcome {
        return Err(LdapError::Refused(no));
    }
    // Whoever sent more before TLS began was not the server behind it.
    if !line.unread.is_empty() {
        return Err(super::ber::Malformed.into());
    }
    Ok(tls.shake_hands(&place.host, place.port, line.stream).await?)
}

async fn in_time<T>(work: impl Future<Output = Result<T, LdapError>>) -> Result<T, LdapError> {
    tokio::time::timeout(WITHIN, work).await.unwrap_or(Err(LdapError::Late(WITHIN)))
}

/// Messages over a stream.
#[derive(Debug)]
struct Line<S> {
    stream: S,
    unread: Vec<u8>,
    asked: u32,
}

/// All that was said to one question.
struct Said {
    entries: Vec<Entry>,
    outcome: Option<ResultCode>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    const fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new(), asked: 0 }
    }

    async fn ask(&mut self, request: &Request<'_>, most: usize) -> Result<Said, LdapError> {
        self.asked += 1;
        self.stream.write_all(&request.encode(self.asked)).await.map_err(LdapError::Lost)?;
        self.stream.flush().await.map_err(LdapError::Lost)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        loop {
            let message = self.receive(ANSWER_BYTES_MAX - bytes).await?;
            bytes += message.len();
            let (id, answer) = Answer::read(&message)?;
            match answer {
                // What nobody asked for is the notice that it will hang up (RFC 4511 §4.4.1).
                _ if id != self.asked => return Err(lost(ErrorKind::ConnectionAborted)),
                Answer::Entry(_) if entries.len() == most => return Err(TOO_MANY),
                Answer::Entry(entry) => entries.push(entry),
                Answer::Elsewhere => {}
                Answer::Done(outcome) => return Ok(Said { entries, outcome }),
            }
        }
    }

    /// The next whole message, unless it is longer.
    async fn receive(&mut self, most: usize) -> Result<Vec<u8>, LdapError> {
        loop {
            let length = whole_length(&self.unread)?;
            if length.unwrap_or(0) > most {
                return Err(LdapError::TooMuch { most: "1 MiB" });
            }
            if let Some(length) = length.filter(|length| *length <= self.unread.len()) {
                let rest = self.unread.split_off(length);
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            if self.stream.read_buf(&mut self.unread).await.map_err(LdapError::Lost)? == 0 {
                return Err(lost(ErrorKind::UnexpectedEof));
            }
        }
    }
}

fn lost(kind: ErrorKind) -> LdapError {
    LdapError::Lost(io::Error::from(kind))
}
