//! An issuer's discovery document and the key set it names, divided by a NUL: what is fetched, and what is believed.

use super::{Seed, jwks, law};
use lanyard::clock::ManualClock;
use lanyard::discovery::{Fetch, Fetching, IssuerKeys};
use lanyard::token::{
    Expectations, Issuer, IssuerKind, IssuerName, Issuers, KeySet, KeySource, OnReplay, Pins, TokenAlgorithm,
};
use std::sync::{Arc, Mutex};
use time::macros::datetime;
use tokio::runtime::{Builder, Runtime};

const ISSUER: &str = "https://gitlab.example.com";

/// Answers with the document first, with the key set for every other URL.
#[derive(Debug)]
struct Answers {
    document: Vec<u8>,
    keys: Vec<u8>,
    asked: Mutex<Vec<String>>,
}

impl Fetch for Answers {
    fn get<'a>(&'a self, url: &'a str, _ca_pem: Option<&'a [u8]>) -> Fetching<'a> {
        let count = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(url.to_owned());
            asked.len()
        };
        let answer = if count == 1 { self.document.clone() } else { self.keys.clone() };
        Box::pin(async move { Ok(answer) })
    }
}

fn issuer() -> Issuer {
    let expectations = Expectations {
        issuer: IssuerName("corp".into()),
        issuer_url: ISSUER.to_owned(),
        audience: "us".to_owned(),
        allow_shared_audience: false,
        allow_missing_jti: false,
        kind: IssuerKind::GitLab,
        algorithms: vec![TokenAlgorithm::Es256],
        leeway: Expectations::LEEWAY,
        max_token_age: Expectations::MAX_TOKEN_AGE,
    };
    let keys = KeySource::Discovery { url: KeySource::document_of(ISSUER), ca_pem: None, token_file: None };
    Issuer { expectations, keys, pins: Pins::Learned, on_replay: OnReplay::Refuse, namespaces: Vec::new() }
}

/// As GitLab answers.
pub fn seeds() -> Vec<Seed> {
    let document = format!(
        r#"{{"issuer":"{ISSUER}","jwks_uri":"{ISSUER}/oauth/discovery/keys","id_token_signing_alg_values_supported":["RS256"]}}"#
    );
    let both = |keys: &Seed| [document.as_bytes(), b"\0", &keys.bytes].concat();
    jwks::seeds().iter().map(|keys| Seed::new(keys.name.as_str(), both(keys))).collect()
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    thread_local!(static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap());
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (document, keys) = (bytes[..at].to_vec(), bytes.get(at + 1..).unwrap_or_default().to_vec());
    let answers = Arc::new(Answers { document, keys, asked: Mutex::default() });
    let issuers: Arc<Issuers> = Arc::new([issuer()].into_iter().collect());
    let clock = Arc::new(ManualClock::at(datetime!(2026-03-01 12:00 UTC)));
    let fetch: Arc<dyn Fetch> = Arc::<Answers>::clone(&answers);
    let found = IssuerKeys::new(Arc::clone(&issuers), clock, fetch);
    let issuer = issuers.by_url(ISSUER).unwrap();
    let kid = KeySet::parse(&answers.keys).ok().and_then(|keys| keys.kids().next().map(str::to_owned));
    let asked_for = kid.as_deref().unwrap_or("none");
    let got = RUNTIME.with(|runtime| runtime.block_on(found.of(issuer, asked_for)));
    let asked = answers.asked.lock().unwrap().clone();
    assert_eq!(asked[0], format!("{ISSUER}/.well-known/openid-configuration"));
    assert!(asked.len() <= 2 && asked[1..].iter().all(|url| url.starts_with("https://")), "{asked:?}");
    match got {
        Ok(keys) => {
            // The other reader minds numbers and surrogates in members that ours reads past.
            if let Ok(document) = serde_json::from_slice::<serde_json::Value>(&answers.document) {
                assert_eq!((&document["issuer"], &document["jwks_uri"]), (&ISSUER.into(), &asked[1].as_str().into()));
            }
            assert!(keys.kids().eq(KeySet::parse(&answers.keys).unwrap().kids()));
            true
        }
        Err(error) => {
            law::can_be_shown(&error);
            false
        }
    }
}
