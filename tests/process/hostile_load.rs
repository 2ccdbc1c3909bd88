//! A crowd of strangers: requests made beforehand, sent over a bounded set of connections at a steady rate.

use crate::callers::{csr, now, p256};
use crate::issuer::{FakeIssuer, URL};
use crate::wire::{Answer, Port, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::crypto::PemLabel;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections that are kept; an HTTP/1.1 connection has one request worked on at a time.
const CONNECTIONS: u32 = 32;
/// How often each of them sends.
const EVERY: Duration = Duration::from_millis(20);
/// Handshakes that stop in the middle, and connections that speak no HTTP, a second.
const ODD_CONNECTIONS: u32 = 20;
/// How long a client that stopped in the middle of its handshake is still there.
const STOPPED_FOR: Duration = Duration::from_secs(2);

/// One kind of hostile request.
pub(crate) struct Kind {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// How many of a thousand.
    share: usize,
    /// The code it must be refused with.
    pub(crate) code: &'static str,
    /// Whole requests, taken in turn.
    requests: Vec<Vec<u8>>,
}

/// The kinds, mixed; `used` are tokens that other keys have used.
pub(crate) fn kinds(issuer: &FakeIssuer, used: &[String]) -> Vec<Kind> {
    let genuine = issuer.token(now());
    let [_header, claims, signature] = genuine.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let other_kid = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"nobodys","typ":"JWT"}"#);
    let tampered = signature.chars().rev().collect::<String>();
    let strangers = || {
        let mut claims = issuer.claims(now());
        for (name, value) in [
            ("project_path", "evil/twin"),
            ("namespace_path", "evil"),
            ("sub", "project_path:evil/twin:ref_type:branch:ref:main"),
        ] {
            claims.insert(name.to_owned(), json!(value));
        }
        issuer.mint(&claims)
    };
    let one = |name, share, code, token: String| Kind { name, share, code, requests: vec![ask(&token)] };
    let (replays, oversized) = (used.iter().map(|token| ask(token)).collect(), "x".repeat(200_000));
    vec![
        one("no token at all", 250, "token_malformed", "x".repeat(40)),
        one("a token of dots", 50, "token_malformed", ".".repeat(8000)),
        one("an issuer that nobody knows", 200, "issuer_unknown", {
            issuer.token_with(now(), "iss", format!("{URL}.evil.example"))
        }),
        one("a key that nobody knows", 150, "token_key_unknown", format!("{other_kid}.{claims}.{signature}")),
        one("a wrong signature", 145, "token_signature_wrong", genuine.replace(signature, &tampered)),
        Kind {
            name: "a stranger's genuine token",
            share: 50,
            code: "namespace_not_listed",
            requests: (0..8).map(|_| ask(&strangers())).collect(),
        },
        Kind { name: "a used token, another key", share: 50, code: "token_replayed", requests: replays },
        Kind { name: "no JSON", share: 50, code: "body_malformed", requests: vec![post("/v1/svid/x509", "{")] },
        Kind { name: "no such path", share: 50, code: "path_unknown", requests: vec![post("/v1/nothing", "{}")] },
        Kind { name: "a body that is too large", share: 5, code: "body_too_large", requests: vec![ask(&oversized)] },
    ]
}

/// A request for an SVID with a key of its own.
fn ask(token: &str) -> Vec<u8> {
    let csr = PemLabel::CertificateRequest.armour(&csr(&p256())).to_string();
    post("/v1/svid/x509", &json!({ "token": token, "csr": csr }).to_string())
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By kind and the code that came.
    pub(crate) answers: BTreeMap<(&'static str, String), u64>,
    /// Connections that the server ended and that were made again.
    pub(crate) reconnected: u64,
    /// Odd connections made.
    pub(crate) odd: u64,
    /// Requests answered.
    pub(crate) answered: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        for (what, count) in other.answers {
            *self.answers.entry(what).or_default() += count;
        }
        self.reconnected += other.reconnected;
        self.odd += other.odd;
        self.answered += other.answered;
    }
}

/// Sends so many requests a second until the end.
pub(crate) async fn flood(
    port: Arc<Port>,
    address: SocketAddr,
    kinds: Arc<Vec<Kind>>,
    (rate, until): (u32, Instant),
) -> Tally {
    let mut senders = JoinSet::new();
    let each = f64::from(rate) / f64::from(CONNECTIONS);
    for number in 0..CONNECTIONS {
        senders.spawn(sender(Arc::clone(&port), Arc::clone(&kinds), (number, each), until));
    }
    senders.spawn(odd_ones(address, until));
    let mut tally = Tally::default();
    for part in senders.join_all().await {
        tally.add(part);
    }
    tally
}

/// One connection's share of the flood: a handful of requests at once, then their answers.
async fn sender(port: Arc<Port>, kinds: Arc<Vec<Kind>>, (number, each): (u32, f64), until: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut turns = turns(&kinds, usize::try_from(number).unwrap());
    let mut connection = port.connect().await;
    // So that not all send at the same moment.
    tokio::time::sleep(EVERY * number / CONNECTIONS).await;
    let (mut owed, mut last) = (0.0, Instant::now());
    while Instant::now() < until {
        // A debt of more than a quarter of a second is forgotten: who cannot keep up says so by its rate.
        owed = (owed + last.elapsed().as_secs_f64() * each).min((each / 4.0).max(1.0));
        last = Instant::now();
        let mut batch = Vec::new();
        let mut bytes = Vec::new();
        while owed >= 1.0 && bytes.len() < 256 * 1024 {
            let (kind, request) = turns.next().unwrap();
            bytes.extend_from_slice(request);
            batch.push(kind);
            owed -= 1.0;
        }
        let sent = connection.stream.write_all(&bytes).await;
        for kind in batch {
            let answer = if sent.is_ok() { connection.answer().await.ok() } else { None };
            let Some(answer) = answer else {
                tally.reconnected += 1;
                connection = port.connect().await;
                break;
            };
            tally.answered += 1;
            *tally.answers.entry((kind.name, verdict(&answer))).or_default() += 1;
        }
        tokio::time::sleep(EVERY.saturating_sub(last.elapsed())).await;
    }
    tally
}

fn verdict(answer: &Answer) -> String {
    if answer.status < 400 { format!("{} granted", answer.status) } else { answer.code() }
}

/// The mix, for ever: each kind as often as it should come, well spread.
fn turns(kinds: &[Kind], from: usize) -> impl Iterator<Item = (&Kind, &[u8])> {
    let all = kinds.iter().map(|kind| kind.share).sum::<usize>();
    // A step that shares no factor with a thousand visits every place once before it repeats.
    (0..).map(move |turn| {
        let (mut place, nth) = ((from * 7 + turn * 387) % all, from + turn);
        let kind = kinds.iter().find(|kind| {
            let here = place < kind.share;
            place = place.saturating_sub(kind.share);
            here
        });
        let kind = kind.unwrap();
        (kind, &*kind.requests[nth % kind.requests.len()])
    })
}

/// Handshakes that stop, and noise where TLS is spoken.
async fn odd_ones(address: SocketAddr, until: Instant) -> Tally {
    let (mut tally, mut stopped) = (Tally::default(), JoinSet::new());
    while Instant::now() < until {
        tally.odd += 1;
        let noise = tally.odd.is_multiple_of(2);
        stopped.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            if noise {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: lanyard\r\n\r\n").await?;
            } else {
                // The beginning of a TLS record that says it is 512 bytes long (RFC 8446 §5.1).
                stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await?;
            }
            tokio::time::sleep(STOPPED_FOR).await;
            stream.shutdown().await
        });
        while stopped.try_join_next().is_some() {}
        tokio::time::sleep(Duration::from_secs(1) / ODD_CONNECTIONS).await;
    }
    tally
}

/// Where a place's issuer port is.
pub(crate) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
