//! How streams begin, go on and end: servers that are away, identities that end, agents that stop.

use crate::raw::{CALLS, Raw, field};
use crate::support::beside::{Beside, FIRST_ID, Site, TWO_PROFILES, asked, within};
use lanyard::wire::lanyard::JobEnd;
use lanyard::wire::workload::{JwtsvidRequest, X509svidResponse};
use std::time::Duration;
use tonic::{Code, Streaming};
use zeroize::Zeroizing;

const UNAVAILABLE: i32 = 14;
const PERMISSION_DENIED: i32 = 7;

/// Long enough to see that nothing comes, where what comes takes milliseconds.
const SILENCE: Duration = Duration::from_millis(300);

const STREAMS: [&str; 3] = ["FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"];

/// A request of each call that can be served.
fn request(call: &str) -> Vec<u8> {
    let audience = field(1, b"https://service.test");
    match call {
        "FetchJWTSVID" => audience,
        "ValidateJWTSVID" => [audience, field(2, b"a.b.c")].concat(),
        _ => Vec::new(),
    }
}

/// The next message, while the clock goes on as it would: whoever waits for a time to try again, tries.
async fn next_in_time(site: &Site, stream: &mut Streaming<X509svidResponse>) -> X509svidResponse {
    within(async {
        loop {
            tokio::select! {
                message = stream.message() => return message.unwrap().unwrap(),
                () = tokio::time::sleep(Duration::from_millis(50)) => site.clock.advance(Duration::from_secs(2)),
            }
        }
    })
    .await
}

/// Nobody is let in: every call ends with this code and the words that clients look for.
async fn nobody_is_served(agent: &Beside) {
    let mut raw = Raw::connect(&agent.socket).await;
    for call in CALLS {
        let stream = raw.ask(call, &request(call)).await;
        let answer = within(raw.answer(stream)).await;
        let said = (answer.status(), answer.field("grpc-message").map(|say| say.replace("%20", " ")));
        assert_eq!(said, (Some(PERMISSION_DENIED), Some("no identity issued".to_owned())), "{call}");
    }
}

/// Shows: RUN-2.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_agent_ends_every_stream_with_unavailable_and_never_with_ok() {
    let site = Site::open(TWO_PROFILES).await;
    let served = site.logged_in().await;
    let mut raw = Raw::connect(&served.socket).await;
    let mut open = Vec::new();
    for call in STREAMS {
        let stream = raw.ask(call, b"").await;
        within(raw.messages(stream, 1)).await;
        open.push((call, stream));
    }
    served.stop();
    for (call, stream) in open {
        assert_eq!(within(raw.answer(stream)).await.status(), Some(UNAVAILABLE), "{call}");
    }
    within(served.ended()).await;

    // The session of the first is not the second's: nothing has been served yet, and all still wait.
    let settings = lanyard::agent::AgentSettings { state_dir: site.path("another"), ..site.agent_settings() };
    let waiting = Beside::start(settings, &site.clock);
    let mut raw = Raw::connect(&waiting.socket).await;
    let mut open = Vec::new();
    for call in CALLS {
        open.push((call, raw.ask(call, &request(call)).await));
    }
    raw.ping().await;
    while raw.pongs == 0 {
        raw.read().await.unwrap();
    }
    waiting.stop();
    for (call, stream) in open {
        assert_eq!(within(raw.answer(stream)).await.status(), Some(UNAVAILABLE), "{call} that waited");
    }
}

/// Shows: RUN-3, EP-12.
#[tokio::test(flavor = "multi_thread")]
async fn calls_made_before_there_is_anything_wait_in_silence_and_are_all_answered() {
    let mut site = Site::open(TWO_PROFILES).await;
    let token = site.token();
    site.shut().await;
    let agent = site.agent();
    let login = {
        let handle = agent.handle.clone().unwrap();
        tokio::spawn(async move { handle.login(Zeroizing::new(token)).await })
    };
    let mut raw = Raw::connect(&agent.socket).await;
    let mut open = Vec::new();
    for call in CALLS {
        open.push((call, raw.ask(call, &request(call)).await));
    }
    let mut stream = agent.x509_stream().await;
    tokio::time::timeout(SILENCE, stream.message()).await.unwrap_err();
    site.open_again().await;
    assert_eq!(next_in_time(&site, &mut stream).await.svids[0].spiffe_id, FIRST_ID, "on its first call");
    within(login).await.unwrap().unwrap();
    for (call, stream) in open {
        match call {
            "FetchJWTSVID" => assert_eq!(within(raw.answer(stream)).await.status(), Some(0)),
            "ValidateJWTSVID" => assert_eq!(within(raw.answer(stream)).await.status(), Some(3), "it is no token"),
            _ => assert_eq!(within(raw.messages(stream, 1)).await.status(), None, "{call}"),
        }
    }
}

/// Shows: RUN-2, EP-12.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_closes_nothing_and_the_last_good_svid_is_served_on() {
    let mut site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut stream = agent.x509_stream().await;
    let first = within(stream.message()).await.unwrap().unwrap();
    site.shut().await;
    // Past the renewal, which fails, and before the end.
    site.advance(11);
    tokio::time::timeout(SILENCE, stream.message()).await.unwrap_err();
    assert_eq!(agent.x509().await, first, "a new client has it too");
    site.open_again().await;
    let renewed = next_in_time(&site, &mut stream).await;
    assert_ne!(renewed.svids[0].x509_svid, first.svids[0].x509_svid, "on the same stream");
}

/// Shows: RUN-2, WAPI-12.
#[tokio::test(flavor = "multi_thread")]
async fn an_svid_that_has_ended_is_served_to_nobody() {
    let mut site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut raw = Raw::connect(&agent.socket).await;
    let open = raw.ask("FetchX509SVID", b"").await;
    within(raw.messages(open, 1)).await;
    site.shut().await;
    site.advance(16);
    let answer = within(raw.answer(open)).await;
    assert_eq!((answer.status(), answer.messages().len()), (Some(UNAVAILABLE), 1));
    let mut stream = agent.x509_stream().await;
    tokio::time::timeout(SILENCE, stream.message()).await.unwrap_err();
    site.open_again().await;
    assert_eq!(next_in_time(&site, &mut stream).await.svids.len(), 2, "the session outlived its SVID");
}

/// Shows: EP-13, WAPI-12.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_policy_refuses_has_no_identity_and_no_empty_message() {
    let site = Site::open(&TWO_PROFILES.replace("[rule.when]", "[rule.when]\nrunner_id = 88")).await;
    let agent = site.agent();
    let refused = agent.login(site.issuer.token_with(now(&site), "runner_id", 9)).await.unwrap_err();
    assert_eq!(refused.status, 403, "{refused}");
    nobody_is_served(&agent).await;
}

fn now(site: &Site) -> time::OffsetDateTime {
    lanyard::clock::Clock::now(&*site.clock)
}

/// Ends what the agent serves, and sees that open streams and the next calls are told so.
async fn ends(site: &Site, agent: &Beside, end: impl AsyncFnOnce(&Site)) {
    let mut raw = Raw::connect(&agent.socket).await;
    let mut open = Vec::new();
    for call in STREAMS {
        let stream = raw.ask(call, b"").await;
        within(raw.messages(stream, 1)).await;
        open.push((call, stream));
    }
    end(site).await;
    for (call, stream) in open {
        let answer = within(raw.answer(stream)).await;
        assert_eq!((answer.status(), answer.messages().len()), (Some(UNAVAILABLE), 1), "{call}: nothing new was sent");
    }
    nobody_is_served(agent).await;
}

/// Shows: RUN-2, WAPI-22.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_open_streams_and_the_next_call_is_refused() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let handle = agent.handle.clone().unwrap();
    ends(&site, &agent, async |_| drop(handle.end(JobEnd::Logout).await)).await;
}

/// Shows: WAPI-22, WAPI-36.
#[tokio::test(flavor = "multi_thread")]
async fn no_new_key_comes_once_policy_has_changed_its_mind() {
    let mut site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    site.shut().await;
    site.open_again_with(&TWO_PROFILES.replace("[rule.when]", "[rule.when]\nrunner_id = 9")).await;
    // Reconnecting shows that the session lives; the renewal asks today's policy.
    ends(&site, &agent, async |site| site.advance(11)).await;
}

/// Shows: WAPI-36.
#[tokio::test(flavor = "multi_thread")]
async fn no_new_key_comes_once_the_job_s_time_is_over() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.agent();
    let in_ten_minutes = now(&site).unix_timestamp() + 600;
    agent.login(site.issuer.token_with(now(&site), "exp", in_ten_minutes)).await.unwrap();
    ends(&site, &agent, async |site| site.advance(11)).await;
}

/// Shows: RUN-3.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_waiting_is_let_go() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.agent();
    let audience = vec!["https://service.test".to_owned()];
    let mut request = asked(JwtsvidRequest { audience, spiffe_id: String::new() });
    request.set_timeout(Duration::from_millis(200));
    let status = within(agent.workload().fetch_jwtsvid(request)).await.unwrap_err();
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status}");
    agent.login(site.token()).await.unwrap();
    assert_eq!(agent.x509().await.svids[0].spiffe_id, FIRST_ID);
}
