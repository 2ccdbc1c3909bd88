//! One connection to a directory: TLS from the start or by `StartTLS`, bound, one question at a time.

use super::ber::{Malformed, SEQUENCE, whole_length};
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

/// A connection on which nobody has said who they are.
#[derive(Debug)]
pub(in super::super) struct Unbound(Connection);

impl Unbound {
    /// Connects.
    pub(in super::super) async fn open(place: &Place, trust: &ServerTrust) -> Result<Self, LdapError> {
        let tls = TlsClient::for_older(trust)?;
        let line = Line::new(in_time(shake_hands(place, &tls)).await?);
        Ok(Self(Connection { line, place: place.clone() }))
    }

    /// Binds with a password that is not empty: with an empty one Active Directory would let in nobody in particular, and say
    /// that all is well (RFC 4513 §5.1.2).
    pub(in super::super) async fn bind(self, (name, password): (&str, &[u8])) -> Result<Connection, LdapError> {
        let Self(mut connection) = self;
        let bound = in_time(connection.line.ask(&Request::Bind { name, password }, 0)).await?;
        bound.outcome.map_or(Ok(connection), |no| Err(LdapError::Refused(no)))
    }
}

impl Connection {
    /// With whom.
    pub(in super::super) const fn place(&self) -> &Place {
        &self.place
    }

    /// What a search finds. Where else to look is not told: nobody goes there.
    pub(in super::super) async fn search(&mut self, search: &Search<'_>) -> Result<Vec<Entry>, LdapError> {
        let found = in_time(self.line.ask(&Request::Search(search), search.most)).await?;
        match found.outcome {
            None => Ok(found.entries),
            Some(ResultCode { code: ResultCode::SIZE_LIMIT, .. }) => Err(LdapError::TooMany),
            Some(no) => Err(LdapError::Refused(no)),
        }
    }
}

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
        return Err(Malformed.into());
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
                Answer::Entry(_) if entries.len() == most => return Err(LdapError::TooMany),
                Answer::Entry(entry) => entries.push(entry),
                Answer::Elsewhere => {}
                Answer::Done(outcome) => return Ok(Said { entries, outcome }),
            }
        }
    }

    /// The next whole message, unless it is longer.
    async fn receive(&mut self, most: usize) -> Result<Vec<u8>, LdapError> {
        loop {
            if self.unread.first().is_some_and(|tag| *tag != SEQUENCE) {
                return Err(Malformed.into());
            }
            let length = whole_length(&self.unread)?;
            if length.unwrap_or(0) > most {
                return Err(LdapError::TooMuch);
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

#[cfg(test)]
mod tests {
    use super::super::ber::{ENUMERATED, INTEGER, OCTET_STRING, SET, element, number};
    use super::super::{Filter, Scope};
    use super::*;

    fn message(id: u32, operation: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[&number(INTEGER, id), operation])
    }

    fn done(tag: u8, code: u32) -> Vec<u8> {
        let none = element(OCTET_STRING, &[]);
        element(tag, &[&number(ENUMERATED, code), &none, &none])
    }

    fn entry(dn: &str, value: &[u8]) -> Vec<u8> {
        let values = element(SET, &[&element(OCTET_STRING, &[value])]);
        let attribute = element(SEQUENCE, &[&element(OCTET_STRING, &[b"Mail"]), &values]);
        element(0x64, &[&element(OCTET_STRING, &[dn.as_bytes()]), &element(SEQUENCE, &[&attribute])])
    }

    /// What comes of a search that two entries may answer, when a server says this and hangs up.
    async fn against(said: &[Vec<u8>]) -> Result<Said, LdapError> {
        let (ours, mut theirs) = tokio::io::duplex(4 << 20);
        theirs.write_all(&said.concat()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let (base, filter) = ("DC=corp", Filter::Is("mail", b"x"));
        let search = Search { base, scope: Scope::Subtree, filter, attributes: &["mail"], most: 2 };
        Line::new(ours).ask(&Request::Search(&search), search.most).await
    }

    #[tokio::test]
    async fn entries_are_read_and_where_else_to_look_is_passed_over() {
        let elsewhere = element(0x73, &[&element(OCTET_STRING, &[b"ldap://elsewhere/"])]);
        let said = [entry("CN=a", b"1"), elsewhere, entry("CN=b", b"\xff")].map(|one| message(1, &one));
        let found = against(&[said.concat(), message(1, &done(0x65, 0))]).await.unwrap();
        let (dns, last): (Vec<_>, _) = (found.entries.iter().map(|one| one.dn.as_str()).collect(), &found.entries[1]);
        assert_eq!((dns, last.value("mail"), found.outcome), (vec!["CN=a", "CN=b"], Some(&b"\xff"[..]), None));
        let no = against(&[message(1, &done(0x65, 32))]).await.unwrap().outcome.unwrap();
        assert!(no.is_nowhere());
    }

    #[tokio::test]
    async fn whatever_a_server_sends_is_no_answer_and_takes_no_room() {
        let gibibyte = vec![SEQUENCE, 0x84, 0x40, 0, 0, 0];
        let large = message(1, &entry("CN=a", &vec![7; 700_000]));
        let goodbye = message(0, &done(0x78, 52));
        let many = vec![message(1, &entry("CN=a", b"1")); 3];
        for (said, told) in [
            (vec![gibibyte], "more than 1 MiB"),
            (vec![large.clone(), large], "more than 1 MiB"),
            (many, "more entries than were asked for"),
            (vec![goodbye], "the connection is lost"),
            (vec![Vec::new()], "the connection is lost"),
            (vec![message(1, &entry("CN=a", b"1"))], "the connection is lost"),
            (vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()], "not LDAP"),
            (vec![vec![SEQUENCE, 0x80, 0, 0]], "not LDAP"),
            (vec![message(1, &[0x65, 0])], "not LDAP"),
            (vec![message(1, &entry("CN=a", b"1")[..9])], "not LDAP"),
            (vec![message(1, &element(0x99, &[]))], "not LDAP"),
        ] {
            let fault = against(&said).await.err().unwrap();
            assert!(fault.to_string().contains(told), "{told}: {fault}");
        }
    }
}
