//! Okta let in by an app that signs (`private_key_jwt`): what is sent for a token, how long that is shown, and every answer that gives
//! none.
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test")]

use crate::asking::{Asking, corp, said};
use crate::okta::{ID, LOGIN, NEED, groups, identity, user};
use crate::scripted::{Reply, Scripted};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::crypto::{JwsAlgorithm, KeyAlgorithm, KeyPair, PublicKey};
use lanyard::facts::{LetIn, Limits, OktaApi, OktaClient, Place};
use lanyard::policy::Answer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOKEN_PATH: &str = "/oauth2/v1/token";

/// What Okta answers at its token endpoint; and what it was sent.
type Gives = Arc<Mutex<Vec<Reply>>>;
type Sent = Arc<Mutex<Vec<String>>>;

struct App {
    okta: Scripted,
    public: PublicKey,
    clock: Arc<ManualClock>,
    asking: Asking,
    gives: Gives,
    sent: Sent,
}

/// A token of this name, for so many seconds.
fn token(name: &str, seconds: u64) -> Reply {
    let scope = "okta.users.read okta.groups.read";
    Reply::json(&json!({"token_type": "Bearer", "expires_in": seconds, "access_token": name, "scope": scope}))
}

impl App {
    /// An Okta that gives these tokens, the first one first, and takes those that begin with `good`.
    fn new(algorithm: KeyAlgorithm, mut gives: Vec<Reply>) -> Self {
        let key = KeyPair::generate(algorithm).unwrap();
        let pem = pem::encode(key.pkcs8_der());
        gives.reverse();
        let (gives, sent): (Gives, Sent) = (Arc::new(Mutex::new(gives)), Arc::default());
        let (of_okta, by_okta) = (Arc::clone(&gives), Arc::clone(&sent));
        let okta = Scripted::new(move |path, let_in| match path {
            TOKEN_PATH => {
                by_okta.lock().unwrap().push(let_in.to_owned());
                of_okta.lock().unwrap().pop().unwrap_or_else(|| Reply::of("500 Oh", "no more tokens"))
            }
            _ if !let_in.starts_with("Bearer good") => Reply::of("401 Unauthorized", r#"{"errorCode":"E0000011"}"#),
            "/api/v1/users/00ub0oNGTSWTBKOLGLNR/groups?limit=200" => Reply::json(&groups(&["release"])),
            _ => Reply::json(&user("ACTIVE")),
        });
        let (clock, url) = (Arc::new(ManualClock::at(SystemClock.now())), okta.url.clone());
        let asking = Asking::at(Arc::<ManualClock>::clone(&clock), &pem, move |token_file| {
            let client = OktaClient {
                client_id: "0oa1".to_owned(),
                key_id: "k1".to_owned(),
                scopes: OktaClient::SCOPES.map(str::to_owned).into(),
            };
            let place = Place { url, let_in: LetIn::OktaClient(client), token_file, ca_pem: None };
            Arc::new(OktaApi { issuer: corp(), place, limits: Limits::default(), provider: "saml".to_owned() })
        });
        Self { okta, public: key.public().clone(), clock, asking, gives, sent }
    }

    /// What is said after so many seconds, of which nothing that was said before counts.
    async fn after(&self, seconds: u64) -> String {
        self.clock.advance(Duration::from_secs(seconds));
        said(self.asking.heard(NEED, &identity(LOGIN)).await.of("directory.group"))
    }

    fn tokens_asked_for(&self) -> usize {
        self.okta.asked().iter().filter(|path| *path == TOKEN_PATH).count()
    }
}

/// PEM of a private key.
mod pem {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    pub(super) fn encode(pkcs8: &[u8]) -> String {
        let body = BASE64_STANDARD.encode(pkcs8);
        let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }
}

fn json_of(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_is_asked_for_with_a_signature_that_is_for_this_okta_alone_and_for_minutes() {
    for (algorithm, alg, jws) in
        [(KeyAlgorithm::Rsa, "RS256", JwsAlgorithm::Rs256), (KeyAlgorithm::EcP256, "ES256", JwsAlgorithm::Es256)]
    {
        let app = App::new(algorithm, vec![token("good-1", 3600)]);
        assert_eq!(app.after(0).await, "[release]");
        let sent = app.sent.lock().unwrap().pop().unwrap();
        let form: BTreeMap<_, _> = sent.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["scope"], "okta.users.read%20okta.groups.read");
        assert_eq!(form["client_assertion_type"], "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer");
        let (signed, signature) = form["client_assertion"].rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        app.public.verify_jws(jws, signed.as_bytes(), &signature).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        assert_eq!(json_of(header), json!({"alg": alg, "kid": "k1", "typ": "JWT"}));
        let claims = json_of(claims);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("0oa1"), &json!("0oa1")));
        assert_eq!(claims["aud"], format!("{}{TOKEN_PATH}", app.okta.url));
        let lives = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((1..=3600).contains(&lives) && claims["jti"].as_str().is_some_and(|jti| jti.len() > 16), "{claims}");
    }
}

#[tokio::test]
async fn a_token_is_shown_until_shortly_before_its_end_and_another_one_when_it_was_taken_back() {
    let app = App::new(KeyAlgorithm::EcP256, vec![token("good-1", 3600), token("good-2", 86_400 * 365)]);
    assert_eq!((app.after(0).await, app.after(3539).await), ("[release]".to_owned(), "[release]".to_owned()));
    assert_eq!(app.tokens_asked_for(), 1);
    assert_eq!((app.after(61).await, app.tokens_asked_for()), ("[release]".to_owned(), 1), "a minute before its end");
    assert_eq!((app.after(3539).await, app.tokens_asked_for()), ("[release]".to_owned(), 0));
    app.gives.lock().unwrap().extend(["good-4", "good-3"].map(|name| token(name, 60)));
    let (said, count) = (app.after(61).await, app.tokens_asked_for());
    assert_eq!(
        (said.as_str(), count),
        ("[release]", 2),
        "an hour at most; and one that is too short to be kept is shown once"
    );

    // Taken back by an administrator: Okta answers 401, and gives another.
    let app = App::new(KeyAlgorithm::EcP256, vec![token("bad-1", 3600), token("good-2", 3600)]);
    assert_eq!((app.after(0).await, app.tokens_asked_for()), ("[release]".to_owned(), 2));
    let app = App::new(KeyAlgorithm::EcP256, vec![token("bad-1", 3600), token("bad-2", 3600)]);
    let told = app.after(0).await;
    assert!(told.starts_with("unavailable: ") && told.contains("granted the scopes"), "{told}");
    assert_eq!(app.tokens_asked_for(), 2, "once more, and not for ever");
}

#[tokio::test]
async fn what_gives_no_token_is_no_answer_and_says_what_would_help() {
    let refused = |status, code: &str| Reply::of(status, json!({"error": code, "error_description": "x"}).to_string());
    let given = |changes: Value| {
        let mut answer = json!({"token_type": "Bearer", "expires_in": 3600, "access_token": "good"});
        answer.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Reply::json(&answer)
    };
    for (reply, told) in [
        (refused("401 Unauthorized", "invalid_client"), "client_id and key_id must be the app's"),
        (refused("400 Bad Request", "invalid_scope"), "grant the app the scopes okta.users.read"),
        (refused("400 Bad Request", "invalid_dpop_proof"), "switch off for the app"),
        (refused("400 Bad Request", "unauthorized_client"), "an API services app"),
        (refused("400 Bad Request", "of_tomorrow"), "Okta's system log"),
        (Reply::of("302 Found", "").with("Location: https://elsewhere.example/"), "302"),
        (Reply::of("500 Oh", "<html>"), "500"),
        (Reply::of("200 OK", "<html>"), "no token"),
        (given(json!({"token_type": "DPoP"})), "the kind DPoP"),
        (given(json!({"access_token": ""})), "which is not shown"),
        (given(json!({"access_token": "two words"})), "which is not shown"),
        (given(json!({"expires_in": -1})), "no token"),
        (given(json!({"access_token": null})), "no token"),
    ] {
        let app = App::new(KeyAlgorithm::EcP256, vec![reply]);
        let answer = app.after(0).await;
        assert!(answer.starts_with("unavailable: ") && answer.contains(told), "{answer}, not {told}");
        assert_eq!(app.okta.asked(), [TOKEN_PATH], "nothing else is asked");
    }
    let busy = refused("429 Too Many Requests", "too_many").with("Retry-After: 40");
    let app = App::new(KeyAlgorithm::EcP256, vec![busy]);
    let heard = app.asking.heard(NEED, &identity(ID)).await;
    let answer = heard.of("directory.enabled");
    assert!(matches!(answer, Some(Answer::Unavailable { retry_after: Some(40), .. })), "{answer:?}");
}
