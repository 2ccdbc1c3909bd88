//! Issuers that answer, change keys, lie and go away, under a clock that is moved by hand.

use super::issuer_keys::WAITING_MAX;
use super::{Answered, Answering, Fetch, FetchError, Fetching, IssuerKeys, Secret};
use crate::clock::{Clock, ManualClock};
use crate::token::{Expectations, Issuer, IssuerKind, IssuerName, Issuers, KeySource, OnReplay, Pins, TokenAlgorithm};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use time::OffsetDateTime;

const ISSUER: &str = "https://gitlab.example.com";
const DOCUMENT: &str = "https://gitlab.example.com/.well-known/openid-configuration";
const JWKS: &str = "https://gitlab.example.com/oauth/discovery/keys";

/// Answers by URL; what it has no answer for is an error.
#[derive(Debug, Default)]
struct FakeFetch {
    answers: Mutex<BTreeMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
    let_in: Mutex<Vec<(String, String)>>,
}

impl FakeFetch {
    fn answer(&self, url: &str, body: &serde_json::Value) {
        self.answers.lock().unwrap().insert(url.to_owned(), body.to_string().into_bytes());
    }

    fn fall_silent(&self) {
        self.answers.lock().unwrap().clear();
    }

    fn serve(&self, kids: &[&str]) {
        let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
        let keys: Vec<_> =
            kids.iter().map(|kid| json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y})).collect();
        self.answer(DOCUMENT, &json!({"issuer": ISSUER, "jwks_uri": JWKS}));
        self.answer(JWKS, &json!({ "keys": keys }));
    }

    fn fetches(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|url| url.ends_with("openid-configuration")).count()
    }
}

impl Fetch for FakeFetch {
    fn get<'a>(&'a self, url: &'a str, _ca_pem: Option<&'a [u8]>) -> Fetching<'a> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(url.to_owned());
            tokio::task::yield_now().await;
            let answer = self.answers.lock().unwrap().get(url).cloned();
            answer.ok_or_else(|| FetchError::TooLarge { url: url.to_owned(), max: 0 })
        })
    }

    fn ask<'a>(&'a self, url: &'a str, ca_pem: Option<&'a [u8]>, secret: Secret<'a>) -> Answering<'a> {
        self.let_in.lock().unwrap().push((url.to_owned(), secret.value.to_owned()));
        Box::pin(async move { Ok(Answered::of(self.get(url, ca_pem).await?)) })
    }
}

struct Scene {
    clock: Arc<ManualClock>,
    fetch: Arc<FakeFetch>,
    issuer: Arc<Issuer>,
    keys: IssuerKeys,
}

fn scene_at(document: &str) -> Scene {
    scene_let_in(document, None)
}

fn scene_let_in(document: &str, token_file: Option<PathBuf>) -> Scene {
    let expectations = Expectations {
        issuer: IssuerName("corp".into()),
        issuer_url: ISSUER.to_owned(),
        audience: "https://lanyard.example.com".to_owned(),
        allow_shared_audience: false,
        allow_missing_jti: false,
        kind: IssuerKind::GitLab,
        algorithms: vec![TokenAlgorithm::Rs256],
        leeway: Expectations::LEEWAY,
        max_token_age: Expectations::MAX_TOKEN_AGE,
    };
    let keys = KeySource::Discovery { url: document.to_owned(), ca_pem: None, token_file };
    let issuer =
        Issuer { expectations, keys, pins: Pins::Learned, on_replay: OnReplay::Refuse, namespaces: Vec::new() };
    let issuers: Arc<Issuers> = Arc::new([issuer].into_iter().collect());
    let issuer = Arc::clone(issuers.by_url(ISSUER).unwrap());
    let clock = Arc::new(ManualClock::at(OffsetDateTime::from_unix_timestamp(1_793_611_800).unwrap()));
    let fetch = Arc::new(FakeFetch::default());
    let (clock_of_keys, fetch_of_keys): (Arc<dyn Clock>, Arc<dyn Fetch>) =
        (Arc::<ManualClock>::clone(&clock), Arc::<FakeFetch>::clone(&fetch));
    let keys = IssuerKeys::new(issuers, clock_of_keys, fetch_of_keys);
    Scene { clock, fetch, issuer, keys }
}

fn scene() -> Scene {
    let scene = scene_at(DOCUMENT);
    scene.fetch.serve(&["a"]);
    scene
}

impl Scene {
    async fn code(&self, kid: &str) -> &'static str {
        match self.keys.of(&self.issuer, kid).await {
            Ok(_) => "ok",
            Err(error) => error.code(),
        }
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn keys_are_fetched_once_and_then_read_from_memory() {
    let scene = scene();
    assert!(scene.keys.warm().await.is_empty());
    for _ in 0..100 {
        assert_eq!(scene.code("a").await, "ok");
    }
    assert_eq!(scene.fetch.fetches(), 1);
}

#[tokio::test]
async fn a_silent_issuer_holds_a_few_requests_and_no_more() {
    let scene = scene();
    let mut asking: Vec<_> = (0..=WAITING_MAX).map(|_| Box::pin(scene.code("a"))).collect();
    let one_too_many = poll_fn(|context| {
        let turns: Vec<_> = asking.iter_mut().map(|asking| asking.as_mut().poll(context)).collect();
        Poll::Ready(turns.into_iter().filter_map(|turn| if let Poll::Ready(code) = turn { Some(code) } else { None }))
    });
    assert_eq!(one_too_many.await.collect::<Vec<_>>(), ["too_many_requests"]);
    asking.pop();
    for waiting in asking {
        assert_eq!(waiting.await, "ok");
    }
    assert_eq!((scene.code("a").await, scene.fetch.fetches()), ("ok", 1));
}

#[tokio::test]
async fn a_thousand_made_up_key_names_cost_one_fetch_in_thirty_seconds() {
    let scene = scene();
    scene.keys.warm().await;
    for name in 0..1000 {
        assert_eq!(scene.code(&format!("made-up-{name}")).await, "issuer_keys_just_fetched");
    }
    assert_eq!(scene.fetch.fetches(), 1);
    scene.wait(30);
    assert_eq!(scene.code("made-up").await, "token_key_unknown");
    assert_eq!(scene.code("made-up").await, "issuer_keys_just_fetched");
    assert_eq!(scene.fetch.fetches(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_as_soon_as_a_token_names_it() {
    let scene = scene();
    scene.keys.warm().await;
    scene.wait(60);
    scene.fetch.serve(&["a", "b"]);
    assert_eq!(scene.code("b").await, "ok");
}

#[tokio::test]
async fn many_who_wait_share_one_fetch() {
    let scene = scene();
    let (a, b, c) = tokio::join!(scene.code("a"), scene.code("a"), scene.code("a"));
    assert_eq!((a, b, c), ("ok", "ok", "ok"));
    assert_eq!(scene.fetch.fetches(), 1);
}

#[tokio::test]
async fn the_last_good_keys_outlive_an_outage_for_a_day_and_then_fail_closed() {
    let scene = scene();
    scene.keys.warm().await;
    scene.fetch.fall_silent();
    scene.wait(23 * 3600);
    assert_eq!(scene.code("a").await, "ok");
    assert_eq!(scene.code("b").await, "issuer_unavailable");
    scene.wait(3600 + 31);
    assert_eq!(scene.code("a").await, "issuer_unavailable");
    scene.wait(31);
    scene.fetch.serve(&["a"]);
    assert_eq!(scene.code("a").await, "ok");
}

#[tokio::test]
async fn a_key_that_the_issuer_withdrew_is_gone_within_the_hour() {
    let scene = scene();
    scene.keys.warm().await;
    scene.fetch.serve(&["b"]);
    scene.wait(3599);
    assert_eq!(scene.code("a").await, "ok");
    scene.wait(1);
    assert_eq!(scene.code("a").await, "token_key_unknown");
}

#[tokio::test]
async fn a_key_that_may_be_younger_than_the_last_fetch_is_not_refused_for_good() {
    let scene = scene();
    scene.keys.warm().await;
    scene.fetch.serve(&["a", "b"]);
    scene.wait(10);
    let error = scene.keys.of(&scene.issuer, "b").await.unwrap_err();
    assert!(error.is_unavailable());
    assert!(error.to_string().ends_with("lack \"b\"; try again in 21 s"), "{error}");
    scene.wait(21);
    assert_eq!(scene.code("b").await, "ok");
}

#[tokio::test]
async fn of_two_who_ask_before_a_fetch_both_hear_what_it_brought() {
    let scene = scene();
    let (first, second) = tokio::join!(scene.code("x"), scene.code("x"));
    assert_eq!((first, second), ("token_key_unknown", "token_key_unknown"));
    assert_eq!(scene.fetch.fetches(), 1);
}

#[tokio::test]
async fn a_stranger_who_hangs_up_does_not_end_the_fetch_he_caused() {
    let scene = scene();
    {
        let mut hung_up = Box::pin(scene.code("made-up"));
        tokio::select! {
            biased;
            _ = &mut hung_up => unreachable!("the fetch yields first"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(scene.code("a").await, "ok");
    assert_eq!(scene.fetch.fetches(), 1);
}

#[tokio::test]
async fn a_clock_put_back_does_not_stop_fetching() {
    let scene = scene();
    scene.fetch.fall_silent();
    assert_eq!(scene.code("a").await, "issuer_unavailable");
    scene.clock.set(scene.clock.now() - Duration::from_secs(3600));
    scene.fetch.serve(&["a"]);
    assert_eq!(scene.code("a").await, "ok");
}

#[tokio::test]
async fn a_document_of_another_issuer_is_refused_unless_its_url_was_given_separately() {
    let scene = scene();
    scene.fetch.answer(DOCUMENT, &json!({"issuer": format!("{ISSUER}/"), "jwks_uri": JWKS}));
    assert_eq!(scene.code("a").await, "issuer_unavailable");

    let separate = "https://inside.example.com/.well-known/openid-configuration";
    let scene = scene_at(separate);
    scene.fetch.serve(&["a"]);
    scene.fetch.answer(separate, &json!({"issuer": "https://inside.example.com", "jwks_uri": JWKS}));
    assert_eq!(scene.code("a").await, "ok");
}

#[tokio::test]
async fn a_key_set_that_is_not_on_https_is_never_fetched() {
    let scene = scene();
    scene.fetch.answer(DOCUMENT, &json!({"issuer": ISSUER, "jwks_uri": "http://gitlab.example.com/keys"}));
    assert_eq!(scene.code("a").await, "issuer_unavailable");
    assert_eq!(*scene.fetch.asked.lock().unwrap(), [DOCUMENT]);
}

#[tokio::test]
async fn a_token_goes_to_the_named_place_alone_and_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let put = |token: &str| {
        fs::write(&file, token).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    put("first");
    let inside = "https://kubernetes.default.svc/.well-known/openid-configuration";
    let scene = scene_let_in(inside, Some(file.clone()));
    scene.fetch.answer(inside, &json!({ "issuer": "https://another.example", "jwks_uri": JWKS }));
    assert_eq!(scene.code("a").await, "issuer_unavailable", "the document is another issuer's");
    // The API server calls itself by an address that nobody reaches.
    scene.fetch.serve(&["a"]);
    let keys = scene.fetch.answers.lock().unwrap().remove(JWKS).unwrap();
    scene.fetch.answer(inside, &json!({ "issuer": ISSUER, "jwks_uri": "https://10.0.0.1:6443/openid/v1/jwks" }));
    scene.fetch.answers.lock().unwrap().insert("https://kubernetes.default.svc/openid/v1/jwks".to_owned(), keys);
    put("second");
    scene.wait(31);
    assert_eq!(scene.code("a").await, "ok");
    let said = scene.fetch.let_in.lock().unwrap().clone();
    assert!(said.iter().all(|(url, _)| url.starts_with("https://kubernetes.default.svc/")), "{said:?}");
    let tokens: Vec<_> = said.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second", "Bearer second"]);
}
