//! Whose word counts and who is asked for it: neither can be chosen by whoever brings a token.

use crate::support::harness::{POLICY, settings, start, x509};
use crate::support::issuer::{FakeIssuer, URL};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::clock::{Clock, ManualClock};
use lanyard::config::{MapEnvironment, load_server};
use lanyard::crypto::Random;
use lanyard::discovery::{Fetch, FetchError, Fetching};
use lanyard::issuance::{Bearer, Request, RequestId};
use lanyard::server::{World, build};
use lanyard::telemetry::Door;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Answers for one GitLab, and remembers every address that it was asked for.
#[derive(Debug)]
struct Witness {
    answers: BTreeMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

impl Fetch for Witness {
    fn get<'a>(&'a self, url: &'a str, _ca_pem: Option<&'a [u8]>) -> Fetching<'a> {
        self.asked.lock().unwrap().push(url.to_owned());
        let answer = self.answers.get(url).cloned();
        Box::pin(async move { answer.ok_or_else(|| FetchError::TooLarge { url: url.to_owned(), max: 0 }) })
    }
}

/// Tokens that name the issuer nearly, or addresses of their own.
fn tokens_with_addresses(issuer: &FakeIssuer) -> Vec<(String, &'static str)> {
    let near = [
        "https://gitlab.example.com/",
        "https://GITLAB.example.com",
        "http://gitlab.example.com",
        "https://gitlab.example.com.evil.test",
        "https://gitlab.example.com@evil.test",
        "https://evil.test/gitlab.example.com",
        "https://gitlab.example.com:443",
        "https://gitlab-example.com",
        "https://x.gitlab.example.com",
        " https://gitlab.example.com",
        "https://gitlab.example.com/../evil",
        "corp",
        "",
        "*",
        "https://127.0.0.1/",
        "file:///etc/passwd",
    ];
    let near = near.map(|iss| (issuer.token_with(start(), "iss", iss), "issuer_unknown"));
    let genuine = issuer.token(start());
    let (_header, rest) = genuine.split_once('.').unwrap();
    let with = |more: Value| {
        let mut header = json!({"alg": "RS256", "kid": "k1", "typ": "JWT"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string())), "token_signature_wrong")
    };
    let keys = ["jku", "x5u", "url", "iss"].map(|name| with(json!({ name: "https://evil.test/keys" })));
    near.into_iter().chain(keys).collect()
}

#[tokio::test]
async fn an_issuer_is_its_exact_name_and_no_address_in_a_token_is_ever_asked() {
    lanyard::crypto::install_providers();
    let (folder, issuer) = (TempDir::new().unwrap(), FakeIssuer::new());
    fs::write(folder.path().join("jwks.json"), issuer.jwks()).unwrap();
    drop(settings(folder.path(), POLICY, "memory", ""));
    let file = folder.path().join("server.toml");
    let text = fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("jwks_file")).collect();
    fs::write(&file, kept.join("\n")).unwrap();
    let settings = load_server(&file, &MapEnvironment::default()).unwrap();
    let (document, keys) = (format!("{URL}/.well-known/openid-configuration"), format!("{URL}/oauth/discovery/keys"));
    let says = json!({"issuer": URL, "jwks_uri": keys}).to_string().into_bytes();
    let answers = [(document.clone(), says), (keys.clone(), issuer.jwks())].into();
    let fetch = Arc::new(Witness { answers, asked: Mutex::default() });
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(start()));
    let world = World { clock, random: Random::system(), fetch: Arc::<Witness>::clone(&fetch) };
    let parts = build(&settings, world).await.unwrap();
    let issue = async |token: String| {
        let (id, wanted) = (RequestId::random(&Random::system()), x509());
        let request = Request { id, door: Door::Rest, bearer: Bearer::Token(token), wanted, connection: None };
        parts.issuance.issue(request).await
    };
    let mut tried = 0;
    for (token, code) in tokens_with_addresses(&issuer) {
        let refused = issue(token).await.unwrap_err();
        assert!([code, "token_claim_malformed"].contains(&refused.code()), "{code}: {refused}");
        tried += 1;
    }
    assert_eq!(tried, 20);
    let svid = issue(issuer.token(start())).await.unwrap();
    assert_eq!(svid.spiffe_id().trust_domain().as_str(), "ci.example.org", "the server's own, not the issuer's host");
    let mut addresses = fetch.asked.lock().unwrap().clone();
    addresses.dedup();
    assert_eq!(addresses, [document, keys], "the configured issuer's own two documents, and only those");
}
