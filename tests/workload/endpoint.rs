//! What every call meets first: the header, the names that clients give us, and what is not offered.

use crate::raw::{Answer, CALLS, Raw, field};
use crate::support::beside::{Site, TWO_PROFILES, within};
use lanyard::clock::Clock;
use std::time::Duration;

const OK: i32 = 0;
const INVALID_ARGUMENT: i32 = 3;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;

/// HTTP/2: more streams than we offered to take (RFC 9113 §7).
const REFUSED_STREAM: u32 = 7;

/// A request of each call that would be served.
fn good(call: &str) -> Vec<u8> {
    match call {
        "FetchJWTSVID" => field(1, b"https://service.test"),
        "ValidateJWTSVID" => [field(1, b"https://service.test"), field(2, b"no token")].concat(),
        _ => Vec::new(),
    }
}

/// What a call that is let in is answered: a message, or for the token that is none, its refusal.
fn is_served(call: &str, answer: &Answer) -> bool {
    match call {
        "ValidateJWTSVID" => answer.field("grpc-message").is_some_and(|say| !say.contains("workload.spiffe.io")),
        "FetchJWTSVID" => answer.status() == Some(OK),
        _ => answer.status().is_none() && answer.messages().len() == 1,
    }
}

/// Shows: EP-4, EP-9, EP-11, WAPI-2.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_exactly_one_true_is_turned_away_before_anything_happens() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let before = site.intents();
    let mut raw = Raw::connect(&agent.socket).await;
    let name = "workload.spiffe.io";
    for call in CALLS {
        let path = format!("/SpiffeWorkloadAPI/{call}");
        for odd in [&[][..], &["TRUE"], &["True"], &["1"], &[""], &["true,true"], &["true", "true"], &["true", "1"]] {
            let fields: Vec<_> = odd.iter().map(|value| (name, *value)).collect();
            let stream = raw.call(&path, Some("localhost"), &fields, &good(call)).await;
            let answer = within(raw.answer(stream)).await;
            assert_eq!(answer.status(), Some(INVALID_ARGUMENT), "{call}: {odd:?}");
            assert_eq!(answer.body, b"", "{call}: {odd:?}");
        }
    }
    assert_eq!(site.intents(), before, "nothing was signed for any of them");
    for call in CALLS {
        let stream = raw.ask(call, &good(call)).await;
        let answer = match call {
            "FetchJWTSVID" | "ValidateJWTSVID" => within(raw.answer(stream)).await,
            _ => within(raw.messages(stream, 1)).await,
        };
        assert!(is_served(call, &answer), "{call}: {answer:?}");
    }
    assert!(site.intents() > before, "the header alone makes the difference");
}

/// Shows: RUN-1, EP-1, EP-8, EP-18.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_client_calls_us_it_is_served() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let socket = agent.socket.display().to_string();
    let encoded = socket.replace('/', "%2F");
    for authority in [
        None,
        Some(""),
        Some("localhost"),
        Some("localhost:8443"),
        Some("/tmp/a.sock"),
        Some("%2Ftmp%2Fa.sock"),
        Some(&*socket),
        Some(&*encoded),
        Some("unix:///tmp/a.sock"),
        Some("outbound|8080||spire-agent"),
        Some("[::1"),
        Some("a b\u{e9}"),
    ] {
        let mut raw = Raw::connect(&agent.socket).await;
        for call in CALLS {
            let path = format!("/SpiffeWorkloadAPI/{call}");
            let stream = raw.call(&path, authority, &[("workload.spiffe.io", "true")], &good(call)).await;
            let answer = match call {
                "FetchJWTSVID" | "ValidateJWTSVID" => within(raw.answer(stream)).await,
                _ => within(raw.messages(stream, 1)).await,
            };
            assert!(is_served(call, &answer), "{call} as {authority:?}: {answer:?}");
        }
    }
}

/// Shows: EP-14, WAPI-4, WIT-8, BRK-1.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_said_to_be_unimplemented() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut raw = Raw::connect(&agent.socket).await;
    for path in [
        "/SpiffeWorkloadAPI/Nope",
        "/SpiffeWorkloadAPI/FetchWITSVID",
        "/SpiffeWorkloadAPI/FetchWITBundles",
        "/SpiffeWorkloadAPI/fetchx509svid",
        "/SpiffeWorkloadAPI/",
        "/spiffe.SpiffeWorkloadAPI/FetchX509SVID",
        "/spiffe.broker.API/FetchJWTSVID",
        "/spiffe.broker.API/SubscribeToX509SVID",
        "/lanyard.v1.Issuer/Exchange",
        "/",
    ] {
        let stream = raw.call(path, Some("localhost"), &[("workload.spiffe.io", "true")], b"").await;
        assert_eq!(within(raw.answer(stream)).await.status(), Some(UNIMPLEMENTED), "{path}");
    }
    let stream = raw.ask("FetchX509Bundles", b"").await;
    assert_eq!(within(raw.messages(stream, 1)).await.messages().len(), 1, "the connection goes on");
}

/// Shows: WAPI-9, WAPI-26, WAPI-33.
#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_there_and_is_not_is_an_invalid_argument() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let before = site.intents();
    let mut raw = Raw::connect(&agent.socket).await;
    let good = field(1, b"https://service.test");
    for (call, message) in [
        ("FetchJWTSVID", Vec::new()),
        ("FetchJWTSVID", field(1, b"")),
        ("FetchJWTSVID", [good.clone(), field(1, b"")].concat()),
        ("FetchJWTSVID", field(2, b"spiffe://ci.example.org/acme")),
        ("ValidateJWTSVID", Vec::new()),
        ("ValidateJWTSVID", good),
        ("ValidateJWTSVID", field(2, b"a.b.c")),
    ] {
        let stream = raw.ask(call, &message).await;
        let answer = within(raw.answer(stream)).await;
        assert_eq!(answer.status(), Some(INVALID_ARGUMENT), "{call}: {message:?}");
    }
    assert_eq!(site.intents(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_larger_than_any_honest_one_is_refused_and_the_connection_goes_on() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut raw = Raw::connect(&agent.socket).await;
    // Within what a connection may have on its way unread; the length alone is refused.
    let large = field(2, "x".repeat(40_000).as_bytes());
    let stream = raw.ask("ValidateJWTSVID", &[field(1, b"a"), large].concat()).await;
    assert_eq!(within(raw.answer(stream)).await.status(), Some(INVALID_ARGUMENT), "read, and no token");
    let mut other = Raw::connect(&agent.socket).await;
    let stream = other.announce("ValidateJWTSVID", 200_000).await;
    assert_eq!(within(other.answer(stream)).await.status(), Some(OUT_OF_RANGE), "not even read");
    let stream = other.ask("FetchX509Bundles", b"").await;
    assert_eq!(within(other.messages(stream, 1)).await.messages().len(), 1);
}

/// More than a client can want, on one connection.
#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_bound_are_refused_and_all_others_go_on() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut raw = Raw::connect(&agent.socket).await;
    let mut held = Vec::new();
    for _ in 0..128 {
        let stream = raw.ask("FetchX509Bundles", b"").await;
        within(raw.messages(stream, 1)).await;
        held.push(stream);
    }
    for _ in 0..20 {
        let stream = raw.ask("FetchX509Bundles", b"").await;
        assert_eq!(within(raw.answer(stream)).await.reset, Some(REFUSED_STREAM));
    }
    assert_eq!(agent.x509().await.svids.len(), 2, "another client has its own");
    agent.stop();
    for stream in held {
        assert_eq!(within(raw.answer(stream)).await.status(), Some(14), "open until the agent stops");
    }
    within(agent.ended()).await;
}

/// Shows: WAPI-10.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_pinged_for_two_hours_stays_open_and_is_served_at_the_end() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.agent();
    let in_three_hours = site.clock.now().unix_timestamp() + 3 * 3600;
    agent.login(site.issuer.token_with(site.clock.now(), "exp", in_three_hours)).await.unwrap();
    let mut raw = Raw::connect(&agent.socket).await;
    let stream = raw.ask("FetchX509SVID", b"").await;
    within(raw.messages(stream, 1)).await;
    for renewals in 1..=12 {
        for _ping in 0..20 {
            site.clock.advance(Duration::from_secs(30));
            raw.ping().await;
        }
        // Within ten of fifteen minutes it was renewed; its message comes before the clock goes on.
        let answer = within(raw.messages(stream, renewals + 1)).await;
        assert_eq!((raw.goaway, answer.status()), (None, None));
    }
    within(async {
        while raw.pongs < 240 {
            raw.read().await.unwrap();
        }
    })
    .await;
    assert_eq!(raw.goaway, None);
}
