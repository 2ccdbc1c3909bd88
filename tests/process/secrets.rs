//! What a server and an agent say in their logs, and what they keep in the journal: no secret, and of our own only
//! fields that somebody has looked at.

use crate::callers::{Caller, Door, csr, now, p256, session_channel};
use crate::memory::agent_config;
use crate::place::Place;
use crate::server::Server;
use crate::wire::{Port, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{EndSessionRequest, ExchangeRequest, FetchJwtRequest, RenewRequest};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Every field that a line of ours may have. A new one is looked at by whoever adds it here.
const FIELDS: [&str; 35] = [
    "agent",
    "again_at",
    "authority",
    "cause",
    "client",
    "code",
    "connections",
    "error",
    "fault",
    "files",
    "folder",
    "key_id",
    "keyring",
    "left",
    "level",
    "listens",
    "message",
    "not_after",
    "path",
    "peer",
    "port",
    "reason",
    "renew_at",
    "request_id",
    "sequence",
    "server_ca_sha256",
    "session",
    "signal",
    "spiffe_id",
    "target",
    "timestamp",
    "trust_domain",
    "untold",
    "why",
    "workload",
];

/// Of strangers' refusals eight are told in a second; after this, eight more.
const EIGHT_TOLD: Duration = Duration::from_millis(1100);

/// Claims about a person that no log line needs.
const PERSONAL: [&str; 2] = ["ada@corp.example", "project_path:acme/payments/api:ref_type"];

/// What may be said nowhere, with what it is.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// The parts of a token that make it worth having; its header says nothing.
    fn token(&mut self, what: &str, token: &str) {
        let parts = token.split('.').skip(1);
        self.0.extend(parts.map(|part| (what.to_owned(), beginning(part, 40).to_owned())));
    }

    /// A key's file: each long word of it but digests, which are names; or its bytes, as they would be written.
    fn file(&mut self, path: &Path) {
        let (bytes, what) = (fs::read(path).unwrap(), path.display().to_string());
        let before = self.0.len();
        if let Ok(text) = str::from_utf8(&bytes) {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c));
            let digest = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            let long = words.filter(|word| word.len() >= 40 && !digest(word));
            self.0.extend(long.map(|word| (what.clone(), beginning(word, 40).to_owned())));
        } else {
            let hex = format!("{:032x}", u128::from_be_bytes(bytes[..16].try_into().unwrap()));
            let numbers = format!("{:?}", &bytes[..8]).trim_matches(['[', ']']).to_owned();
            self.0.extend([hex, numbers, STANDARD.encode(&bytes[..18])].map(|form| (what.clone(), form)));
        }
        assert!(self.0.len() > before, "{what} holds nothing that looks like a key");
    }

    fn not_in(&self, place: &str, text: &str) {
        for (what, secret) in &self.0 {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{what} stands in {place}");
        }
    }
}

fn beginning(text: &str, length: usize) -> &str {
    text.get(..length).unwrap()
}

/// Everything that a token can meet: taken, used again, refused for what it says, put where it does not belong.
async fn offered_in_every_way(place: &Place, secrets: &mut Secrets) {
    let (door, curl, now) = (Door::of(place), Caller::curl(), now());
    let token = place.issuer.token(now);
    drop(curl.offer(&token, &door).await);
    drop(Caller::curl().offer(&token, &door).await);
    let mut tokens = vec![token];
    for (name, value) in [
        ("aud", json!("https://elsewhere.example.com")),
        ("iss", json!("https://evil.example.com")),
        ("exp", json!(1)),
        ("project_path", json!("acme/../api")),
        ("project_id", json!("x")),
        ("user_email", json!(7)),
        ("job_id", Value::Null),
    ] {
        let token = place.issuer.token_with(now, name, value);
        drop(curl.offer(&token, &door).await);
        drop(Caller::agent(place).offer(&token, &door).await);
        tokens.push(token);
        if tokens.len() % 3 == 0 {
            tokio::time::sleep(EIGHT_TOLD).await;
        }
    }
    let port = Port::of(place, "http/1.1");
    for misplaced in tokens.clone() {
        let bodies =
            [json!({"csr": misplaced, "token": "x"}), json!({ &misplaced: 1 }), json!([misplaced]), json!(misplaced)];
        for body in bodies.map(|body| body.to_string()) {
            let mut connection = port.connect().await;
            connection.stream.write_all(&post("/v1/svid/x509", &body)).await.unwrap();
            drop(connection.answer().await);
        }
        let mut connection = port.connect().await;
        let request = format!(
            "GET /v1/svid/{}?token={0} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {0}\r\n\r\n",
            beginning(&misplaced, 600)
        );
        connection.stream.write_all(request.as_bytes()).await.unwrap();
        drop(connection.answer().await);
    }
    for token in &tokens {
        secrets.token("a job's token", token);
    }
}

/// A session from its beginning to its end, with both kinds of SVID.
async fn a_session(place: &Place, secrets: &mut Secrets) {
    let mut issuer = IssuerClient::new(session_channel(place));
    let token = place.issuer.token(now());
    secrets.token("a session's token", &token);
    let exchange = ExchangeRequest { token, csr: csr(&p256()).into(), profile: String::new() };
    let session = issuer.exchange(exchange).await.unwrap().into_inner().session;
    let renewal = RenewRequest { session: session.clone(), csr: csr(&p256()).into(), ..RenewRequest::default() };
    issuer.renew(renewal).await.unwrap();
    for (audience, given) in [("https://service.test", true), ("https://elsewhere.test", false)] {
        let audience = vec![audience.to_owned()];
        let asked = FetchJwtRequest { session: session.clone(), audience, profile: String::new() };
        let answer = issuer.fetch_jwt(asked).await;
        assert_eq!(answer.is_ok(), given);
        if let Ok(answer) = answer {
            secrets.token("a JWT-SVID", &answer.into_inner().jwt_svid);
        }
    }
    issuer.end_session(EndSessionRequest { session: session.clone(), ..EndSessionRequest::default() }).await.unwrap();
    let late = RenewRequest { session, csr: csr(&p256()).into(), ..RenewRequest::default() };
    issuer.renew(late).await.unwrap_err();
}

/// The lines of ours, as objects; with those of libraries, how many there are.
fn ours(log: &str) -> (Vec<Value>, usize) {
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = lines.len();
    let own = |line: &Value| line["target"].as_str().is_some_and(|target| target.starts_with("lanyard"));
    (lines.into_iter().filter(own).collect(), all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_stands_in_a_log_or_in_the_journal_whatever_is_done_with_it() {
    let place = Place::new();
    let mut server = Server::spawn_talkative("server", &place.config());
    server.wait_until_ready(&place);
    let mut secrets = Secrets::default();
    offered_in_every_way(&place, &mut secrets).await;
    tokio::time::sleep(EIGHT_TOLD).await;
    a_session(&place, &mut secrets).await;
    let mut agent = Server::spawn_talkative("agent", &agent_config(&place));
    agent.wait_until(|| place.file("svids/svid.pem").exists());
    secrets.token("the agent's token", &fs::read_to_string(place.file("token")).unwrap());
    for key in
        ["svids/svid_key.pem", "state/session.json", "data/sealing.key", "data/keyring.json", "data/door-ca-key.pem"]
    {
        secrets.file(&place.file(key));
    }
    let mut told = String::new();
    for (name, process) in [("agent", agent), ("server", server)] {
        process.ask_to_end();
        let (status, log) = process.wait();
        assert!(status.success(), "{name}: {log}");
        secrets.not_in(&format!("the log of the {name}"), &log);
        for personal in PERSONAL {
            assert!(!log.contains(personal), "{personal} stands in the log of the {name}");
        }
        let (own, all) = ours(&log);
        assert!(own.len() > 3 && all > 50, "{name}: {} lines of {all} are ours", own.len());
        let fields: BTreeSet<&String> = own.iter().flat_map(|line| line.as_object().unwrap().keys()).collect();
        let unknown: Vec<_> = fields.into_iter().filter(|field| !FIELDS.contains(&field.as_str())).collect();
        assert_eq!(unknown, [""; 0], "{name}");
        told += &log;
    }
    for code in [
        "audience_not_granted",
        "issuer_unknown",
        "session_ended",
        "token_audience_wrong",
        "token_claim_malformed",
        "token_expired",
        "token_replayed",
    ] {
        assert!(told.contains(code), "{code} was told");
    }
    for segment in place.segments() {
        secrets.not_in("the journal", &fs::read_to_string(segment).unwrap());
    }
}
