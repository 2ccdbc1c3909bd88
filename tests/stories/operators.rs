//! What an operator types, at a running server: `lanyard session` and `lanyard ban`, and who hears of it.

use super::doors::{Doors, code_of, exchange};
use crate::support::harness::csr;
use lanyard::clock::{Clock, SystemClock};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::svid::inspect_certificate;
use lanyard::wire::lanyard::event::Kind;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{Event, RenewRequest, WatchRequest, X509Answer};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;
use tonic::Streaming;
use tonic::transport::Channel;

/// A command against the server's admin socket: its exit code, what it printed, and what it said besides.
pub(super) async fn lanyard(doors: &Doors, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.args(arguments).env("LANYARD_ADMIN_SOCKET", doors.folder.path().join("admin.sock"));
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

pub(super) async fn told(doors: &Doors, arguments: &[&str]) -> Value {
    let (code, printed, said) = lanyard(doors, &[arguments, &["--json"]].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {said}");
    serde_json::from_str(&printed).unwrap()
}

/// An agent with a job of its own, which listens.
pub(super) struct Job {
    pub(super) agent: IssuerClient<Channel>,
    pub(super) first: X509Answer,
    pub(super) events: Streaming<Event>,
}

impl Job {
    pub(super) async fn begin(doors: &Doors, user: &str) -> Self {
        let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
        let mut agent = doors.agent(Some(&key));
        let token = doors.issuer.token_with(SystemClock.now(), "user_login", user);
        let first = agent.exchange(exchange(token)).await.unwrap().into_inner();
        let asked = WatchRequest { session: vec![first.session.clone()], ..WatchRequest::default() };
        let mut events = agent.watch(asked).await.unwrap().into_inner();
        for _present in 0..2 {
            events.message().await.unwrap().unwrap();
        }
        Self { agent, first, events }
    }

    fn serial(&self) -> String {
        inspect_certificate(self.first.certificate_chain.first().unwrap()).unwrap().serial.to_string()
    }

    async fn hears(&mut self) -> (String, String) {
        let event = tokio::time::timeout(Duration::from_secs(20), self.events.message()).await.unwrap();
        let ended = event.unwrap().unwrap().kind.and_then(|kind| match kind {
            Kind::SessionEnded(ended) => Some((ended.session, ended.reason)),
            Kind::Sessions(_)
            | Kind::Bundle(_)
            | Kind::Tainted(_)
            | Kind::Crls(_)
            | Kind::CrlsOff(_)
            | Kind::Federation(_) => None,
        });
        ended.unwrap()
    }

    pub(super) async fn hears_nothing(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.events.message()).await.is_err()
    }

    async fn renews(&mut self) -> String {
        let asked = RenewRequest { session: self.first.session.clone(), csr: csr().into(), ..RenewRequest::default() };
        self.agent.renew(asked).await.map_or_else(|status| code_of(&status).to_owned(), |_| "issued".to_owned())
    }
}

#[tokio::test]
async fn an_operator_sees_who_lives_ends_what_is_meant_and_its_agent_alone_hears_of_it() {
    let doors = Doors::open().await;
    let (mut ada, mut bob) = (Job::begin(&doors, "ada").await, Job::begin(&doors, "bob").await);
    let all = told(&doors, &["session", "list"]).await;
    assert_eq!((&all["identities"], &all["jobs"]), (&json!(2), &json!(2)), "{all}");
    let shown = told(&doors, &["session", "list", "--user", "ada"]).await;
    assert_eq!(shown["sessions"][0]["session"], json!(ada.first.session));
    assert_eq!(shown["sessions"][0]["project_path"], "acme/payments/api");
    assert_eq!(told(&doors, &["session", "list", "--limit", "1"]).await["sessions"].as_array().unwrap().len(), 1);

    let dry = told(&doors, &["session", "revoke", "--user", "ada", "--dry-run"]).await;
    assert_eq!((&dry["identities"], ada.renews().await.as_str()), (&json!(1), "issued"));
    let revoke = ["session", "revoke", "--user", "ada", "--project", "acme/payments/api", "--reason", "a drill"];
    let ended = told(&doors, &revoke).await;
    assert_eq!((&ended["identities"], &ended["jobs"]), (&json!(1), &json!(1)), "{ended}");
    assert!(ended["svids_end_at"].as_str().unwrap() >= dry["svids_end_at"].as_str().unwrap());
    assert_eq!(ada.hears().await, (ada.first.session.clone(), "revoked".to_owned()));
    assert_eq!(ada.renews().await, "session_ended");
    assert!(bob.hears_nothing().await);
    assert_eq!(bob.renews().await, "issued");

    // By what a relying party saw: the serial number of a certificate, as openssl prints it or as the journal does.
    let serial = bob.serial();
    let colons: Vec<_> = serial.as_bytes().chunks(2).map(|two| String::from_utf8_lossy(two).to_uppercase()).collect();
    let dry = told(&doors, &["session", "revoke", "--serial", &colons.join(":"), "--dry-run"]).await;
    assert_eq!(dry["sessions"][0]["session"], json!(bob.first.session), "{dry}");
    let (code, printed, said) =
        lanyard(&doors, &["session", "revoke", "--serial", &serial, "--reason", "a drill"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(
        printed.contains("acme/payments/api") && said.contains("1 live identity of 1 job ended; the last"),
        "{said}"
    );
    assert_eq!(bob.hears().await.1, "revoked");
    doors.close().await;
}

#[tokio::test]
async fn a_ban_is_listed_refuses_with_its_name_and_is_lifted() {
    let doors = Doors::open().await;
    let mut ada = Job::begin(&doors, "ada").await;
    let dry = told(&doors, &["ban", "add", "--user", "ada", "--dry-run"]).await;
    assert_eq!((&dry["ban"], &dry["ended"]["identities"]), (&Value::Null, &json!(1)), "{dry}");
    assert_eq!(told(&doors, &["ban", "list"]).await, json!({ "bans": [] }));

    let nobody = ["ban", "add", "--rule", "no such rule", "--user", "ada", "--dry-run"];
    let doubted = told(&doors, &nobody).await;
    assert!(doubted["doubt"].as_str().unwrap().contains("no rule \"no such rule\""), "{doubted}");
    let set = told(&doors, &["ban", "add", "--user", "ada", "--reason", "left the company", "--until", "2h"]).await;
    assert_eq!(set["doubt"], Value::Null);
    assert_eq!(set["ended"]["identities"], 1);
    assert_eq!(ada.hears().await.1, "banned");
    let listed = told(&doors, &["ban", "list"]).await;
    assert_eq!((&listed["bans"][0], &set["ban"]["selector"]), (&set["ban"], &json!("user=ada")), "{listed}");
    assert_eq!(listed["bans"][0]["uid"], rustix::process::getuid().as_raw());
    let name = set["ban"]["ban"].as_str().unwrap();
    let token = doors.token();
    let (status, problem) =
        doors.post("/v1/svid/jwt", &json!({ "token": token, "audience": ["https://service.test"] })).await;
    assert_eq!((status, &problem["code"]), (403, &json!("banned")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(name), "{problem}");
    assert!(!problem.to_string().contains("company"), "the reason is between operators");
    Job::begin(&doors, "bob").await;

    assert_eq!(told(&doors, &["ban", "remove", name, "--reason", "came back"]).await, set["ban"]);
    Job::begin(&doors, "ada").await;
    let (code, _, said) = lanyard(&doors, &["ban", "remove", name, "--reason", "again"]).await;
    let told = "error: there is no such ban; `lanyard ban list` has those in force (ban_unknown)";
    assert!(code == 1 && said.contains(told), "{code}: {said}");
    let folder = doors.folder.path().join("data");
    let show = ["audit", "show", "--kind", "ban_added", "--data-dir", folder.to_str().unwrap()];
    let (_, printed, said) = lanyard(&doors, &show).await;
    assert!(printed.contains("user=ada (left the company), by user id"), "{printed}{said}");
    doors.close().await;
}

#[tokio::test]
async fn whoever_names_nobody_or_gives_no_reason_ends_nothing() {
    let doors = Doors::open().await;
    let mut ada = Job::begin(&doors, "ada").await;
    for (arguments, code, words) in [
        (&["session", "revoke", "--reason", "x"][..], 1, "selector_empty"),
        (&["ban", "add", "--reason", "x"], 1, "selector_empty"),
        (&["session", "revoke", "--user", "ada"], 2, "--reason"),
        (&["ban", "add", "--user", "ada"], 2, "--reason"),
        (&["session", "revoke", "--user", "ada", "--reason", "  "], 1, "reason_missing"),
        (&["session", "revoke", "--user", "ada", "--reason", "left\u{1b}[2J"], 1, "reason_malformed"),
        (&["ban", "add", "--user", "ada", "--reason", "one line\nand another"], 1, "reason_malformed"),
        (&["ban", "add", "--user", "ada", "--reason", "x", "--until", "2020-01-01T00:00:00Z"], 1, "until_passed"),
        (&["ban", "add", "--user", "ada", "--reason", "x", "--until", "soon"], 2, "a span such as 2h"),
        (&["session", "revoke", "--job", "many", "--reason", "x"], 2, "--job"),
        (&["session", "revoke", "--serial", "4242", "--reason", "x"], 1, "serial_unknown"),
        (&["session", "revoke", "--serial", &ada.serial(), "--job", "7", "--reason", "x"], 1, "serial_elsewhere"),
        (&["ban", "add", "--project", "acme/*", "--reason", "x"], 1, "--namespace acme means all that is below acme"),
        (&["session", "revoke", "--namespace", "acme/**", "--reason", "x"], 1, "selector_pattern"),
        (&["session", "list", "--project", "*"], 1, "selector_pattern"),
        (&["ban", "add", "--issuer", "nope", "--reason", "x"], 1, "issuer_unknown"),
        (&["session", "list", "--issuer", "nope"], 1, "issuer_unknown"),
    ] {
        let (found, _, said) = lanyard(&doors, arguments).await;
        assert!(found == code && said.contains(words), "{arguments:?}: {found}, {said}");
    }
    assert_eq!(ada.renews().await, "issued");
    doors.close().await;
}
