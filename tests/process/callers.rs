//! Who asks for identities: curl (no client certificate, a key in the CSR) and an agent (a session key, gRPC).

use crate::place::Place;
use lanyard::clock::{Clock, SystemClock};
use lanyard::crypto::{KeyAlgorithm, KeyPair, Random, install_providers};
use lanyard::tls::{ServerTrust, SessionCertificate, TlsClient};
use lanyard::wire::lanyard::ExchangeRequest;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use std::fmt::Write;
use time::OffsetDateTime;
use tonic::transport::Channel;

/// How one offer of a token ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// An identity, by its certificate's serial number in hex.
    Issued(String),
    /// Another key was first.
    Replayed,
    /// Any other no, with its code.
    Refused(String),
    /// No answer: the server is gone, or went while it was asked.
    Silence,
}

/// Keeps one key, and asks with it.
pub(crate) enum Caller {
    Curl { key: KeyPair },
    Agent { issuer: IssuerClient<Channel> },
}

impl Caller {
    /// As curl and openssl do it.
    pub(crate) fn curl() -> Self {
        Self::Curl { key: p256() }
    }

    /// An agent with a session key of its own; connects when it is used, and again after each loss.
    pub(crate) fn agent(place: &Place) -> Self {
        Self::Agent { issuer: IssuerClient::new(session_channel(place)) }
    }

    /// Offers a token, once.
    pub(crate) async fn offer(&self, token: &str, door: &Door) -> Outcome {
        match self {
            Self::Curl { key } => door.post(token, key).await,
            Self::Agent { issuer } => exchange(issuer.clone(), token).await,
        }
    }
}

/// The REST port, as a foreign HTTP client sees it.
pub(crate) struct Door {
    client: reqwest::Client,
    url: String,
}

impl Door {
    pub(crate) fn of(place: &Place) -> Self {
        // Another test of this process may have installed it.
        install_providers();
        let ca = reqwest::Certificate::from_pem(&place.door_ca()).unwrap();
        // A connection a request, as curl makes them.
        let client = reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Self { client, url: format!("https://127.0.0.1:{}", place.port) }
    }

    /// The trust bundle, as it is published.
    pub(crate) async fn bundle(&self) -> Value {
        let answer = self.client.get(format!("{}/v1/bundle", self.url)).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    async fn post(&self, token: &str, key: &KeyPair) -> Outcome {
        let csr = rcgen::CertificateParams::default().serialize_request(key).unwrap().pem().unwrap();
        let request =
            self.client.post(format!("{}/v1/svid/x509", self.url)).json(&json!({ "token": token, "csr": csr }));
        let Ok(answer) = request.send().await else { return Outcome::Silence };
        let status = answer.status().as_u16();
        let Ok(body) = answer.json::<Value>().await else { return Outcome::Silence };
        match (status, body["code"].as_str()) {
            (200, _) => {
                let chain = body["certificate_chain"].as_str().unwrap();
                Outcome::Issued(serial(&CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()))
            }
            (409, Some("token_replayed")) => Outcome::Replayed,
            (status, code) => Outcome::Refused(format!("{status} {}", code.unwrap_or("without code"))),
        }
    }
}

async fn exchange(mut issuer: IssuerClient<Channel>, token: &str) -> Outcome {
    let request = ExchangeRequest { token: token.to_owned(), csr: csr(&p256()).into(), profile: String::new() };
    match issuer.exchange(request).await {
        Ok(answer) => {
            let leaf = answer.into_inner().certificate_chain.into_iter().next().unwrap();
            Outcome::Issued(serial(&leaf))
        }
        // A refusal of ours carries a stable code; what the transport makes up does not.
        Err(status) => match status.metadata().get("lanyard-code").and_then(|code| code.to_str().ok()) {
            Some("token_replayed") => Outcome::Replayed,
            Some(code) => Outcome::Refused(code.to_owned()),
            None => Outcome::Silence,
        },
    }
}

/// A connection with a session key of its own; made at first use.
pub(crate) fn session_channel(place: &Place) -> Channel {
    let trust = ServerTrust::from_pem(&place.door_ca(), "the door CA").unwrap();
    let session = SessionCertificate::of(&p256(), &Random::system(), now()).unwrap();
    let tls = TlsClient::new(&trust, Some(&session), &["h2"]).unwrap();
    let server = format!("https://127.0.0.1:{}", place.port).parse().unwrap();
    lanyard::wire::channel(&server, tls).unwrap()
}

/// A fresh key; cheap.
pub(crate) fn p256() -> KeyPair {
    KeyPair::generate(KeyAlgorithm::EcP256).unwrap()
}

/// A certificate request by this key, DER.
pub(crate) fn csr(key: &KeyPair) -> Vec<u8> {
    rcgen::CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

pub(crate) fn now() -> OffsetDateTime {
    SystemClock.now()
}

/// A certificate's serial number as the journal writes it: 16 bytes in hex.
pub(crate) fn serial(der: &[u8]) -> String {
    let (_rest, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let hex = certificate.raw_serial().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    // DER drops leading zero bytes.
    format!("{hex:0>32}")
}
