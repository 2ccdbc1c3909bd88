//! Bundle endpoints of other trust domains: asked as their bundles say, and whatever they answer, the last good bundle stays.

use crate::support::alone::runs_alone;
use crate::support::foreign::ForeignCa;
use crate::support::harness::{Harness, POLICY};
use crate::support::https::{Script, Scripted, Trouble};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use lanyard::bundle::Bundle;
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::federation::{Federation, Relation};
use lanyard::identity::TrustDomain;
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(20);

fn name(text: &str) -> TrustDomain {
    TrustDomain::parse(text).unwrap()
}

/// A trust domain's document with these roots.
pub(super) fn document(sequence: u64, roots: &[&ForeignCa]) -> Value {
    let x509_authorities = roots.iter().map(|root| CertificateDer::from(root.der())).collect();
    let (trust_domain, refresh_hint) = (name("peer.test"), Duration::from_secs(60));
    let bundle = Bundle { trust_domain, sequence, refresh_hint, x509_authorities, jwt_authorities: Vec::new() };
    serde_json::from_slice(&bundle.to_json()).unwrap()
}

/// A peer's endpoint: what it shows, but for what it does instead first.
#[derive(Default)]
pub(super) struct Peer {
    shows: Mutex<Vec<u8>>,
    pub(super) instead: Mutex<VecDeque<Trouble>>,
    asked: Mutex<Vec<String>>,
}

impl Peer {
    pub(super) fn shows(&self, document: &Value) {
        *self.shows.lock().unwrap() = document.to_string().into_bytes();
    }

    fn instead(&self, trouble: Trouble) {
        self.instead.lock().unwrap().push_back(trouble);
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(super) async fn asked_so_often(&self, count: usize) {
        while self.asked() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Script for Peer {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.asked.lock().unwrap().push(request.uri().to_string());
        let instead = self.instead.lock().unwrap().pop_front();
        match instead {
            Some(trouble) => trouble.answer().await,
            None => Response::new(self.shows.lock().unwrap().clone().into()),
        }
    }
}

/// A server that federates, on a clock of the test's.
pub(super) struct Site {
    pub(super) harness: Harness,
    federation: Federation,
    running: JoinSet<()>,
    _stop: ShutdownTrigger,
}

impl Site {
    async fn with(tables: String) -> Self {
        Self::under(POLICY, tables).await
    }

    pub(super) async fn under(policy: &str, tables: String) -> Self {
        Self::of(Harness::whose_issuer_says(tables.leak(), policy, "sled").await)
    }

    fn of(mut harness: Harness) -> Self {
        let federation = harness.parts.federation.clone();
        let (stop, shutdown) = Shutdown::pair();
        let mut running = JoinSet::new();
        for follower in std::mem::take(&mut harness.parts.followers) {
            let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&harness.clock);
            running.spawn(follower.run(clock, shutdown.clone()));
        }
        Self { harness, federation, running, _stop: stop }
    }

    pub(super) async fn restarted(mut self) -> Self {
        self.running.shutdown().await;
        drop(self.federation);
        Self::of(self.harness.restarted_without_index().await)
    }

    fn relation(&self, of: &str) -> Arc<Relation> {
        self.federation.relation(&name(of)).unwrap()
    }

    /// Waits until it is so, while no time passes.
    pub(super) async fn at_once(&self, of: &str, so: impl Fn(&Relation) -> bool) -> Arc<Relation> {
        self.once(of, so, || {}).await
    }

    /// Lets time pass until it is so.
    pub(super) async fn until(&self, of: &str, so: impl Fn(&Relation) -> bool) -> Arc<Relation> {
        self.once(of, so, || self.harness.advance(5)).await
    }

    async fn once(&self, of: &str, so: impl Fn(&Relation) -> bool, pass: impl Fn()) -> Arc<Relation> {
        let seen = async {
            while !so(&self.relation(of)) {
                pass();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, seen).await.is_ok(), "{:#?}", self.relation(of));
        self.relation(of)
    }
}

fn holds(relation: &Relation, roots: &[&ForeignCa]) -> bool {
    let kept = relation.kept.as_ref().map(|kept| &kept.foreign.bundle.x509_authorities);
    kept.is_some_and(|all| all.iter().map(|der| der.to_vec()).eq(roots.iter().map(|root| root.der())))
}

pub(super) fn is_good(relation: &Relation) -> bool {
    relation.problem.is_none() && relation.confirmed_at.is_some()
}

fn problem(relation: &Relation) -> &str {
    relation.problem.as_deref().unwrap_or_default()
}

/// The table that asks this peer, whose CA is laid down.
pub(super) fn table(folder: &TempDir, of: &str, peer: &Scripted) -> String {
    table_of(folder, of, (peer.port, &peer.ca_pem))
}

fn table_of(folder: &TempDir, of: &str, (port, ca_pem): (u16, &str)) -> String {
    let ca_file = folder.path().join(format!("{of}.pem"));
    fs::write(&ca_file, ca_pem).unwrap();
    format!(
        "[[federation]]\ntrust_domain = \"{of}\"\nurl = \"https://127.0.0.1:{}/bundle.json\"\nprofile = \"https_web\"\n\
         ca_file = \"{}\"\n",
        port,
        ca_file.display()
    )
}

/// Shows: FED-5, FED-14, FED-18, FED-19, FED-22.
#[tokio::test]
async fn whatever_a_peer_answers_the_last_good_bundle_stays_and_the_next_turn_begins_at_its_url() {
    let (folder, peer) = (TempDir::new().unwrap(), Arc::new(Peer::default()));
    let endpoint = Scripted::serve(Arc::clone(&peer)).await;
    let (one, two) = (ForeignCa::new("peer root 1"), ForeignCa::new("peer root 2"));
    peer.shows(&document(5, &[&one]));
    let site = Site::with(table(&folder, "peer.test", &endpoint)).await;
    site.until("peer.test", |relation| is_good(relation) && holds(relation, &[&one])).await;

    let answer = |status, headers: &[_], body: &[u8]| Trouble::Answer(status, headers.to_vec(), body.to_vec());
    let page = b"<!DOCTYPE html><html><body>log in</body></html>";
    let moved = [("Location", "http://elsewhere.test/")];
    let (older, nothing) = (document(4, &[&two]).to_string(), document(9, &[]).to_string());
    for (trouble, says) in [
        (answer(200, &[("Content-Type", "text/html")], page), "it answers with a page"),
        (answer(200, &[], &vec![b' '; (1 << 20) + 1]), "more than 1048576 bytes"),
        (answer(200, &[], older.as_bytes()), "its sequence is 4, and 5 is held"),
        (answer(200, &[], b"{\"keys\": 7}"), "no list \"keys\""),
        (answer(503, &[], nothing.as_bytes()), "503"),
        (answer(301, &moved, nothing.as_bytes()), "redirects to http://elsewhere.test/"),
        (answer(308, &moved, nothing.as_bytes()), "redirects to http://elsewhere.test/"),
        (answer(304, &[], b""), "304"),
    ] {
        peer.instead(trouble);
        let ill = site.until("peer.test", |relation| relation.problem.is_some()).await;
        assert!(problem(&ill).contains(says) && holds(&ill, &[&one]), "{says}: {ill:#?}");
        site.until("peer.test", is_good).await;
    }
    assert!(peer.asked.lock().unwrap().iter().all(|path| path == "/bundle.json"));

    // One odd key among good ones is left out alone, and named.
    let mut odd = document(6, &[&one, &two]);
    odd["keys"][0]["use"] = json!("x509-SVID");
    peer.shows(&odd);
    let without = site.until("peer.test", |relation| holds(relation, &[&two])).await;
    assert_eq!(
        (problem(&without), without.odd.as_slice()),
        ("", &["key 1: its use \"x509-SVID\" is not known".to_owned()][..])
    );
    peer.shows(&document(7, &[]));
    site.until("peer.test", |relation| holds(relation, &[])).await;
    assert_eq!(site.harness.entries("bundle_changed").len(), 3);
}

/// Shows: FED-4, FED-22.
#[tokio::test]
async fn a_peer_is_asked_as_often_as_it_says_and_one_that_hangs_delays_no_other() {
    let (folder, [slow, quick]) = (TempDir::new().unwrap(), [(); 2].map(|()| Arc::new(Peer::default())));
    let endpoints = [Scripted::serve(Arc::clone(&slow)).await, Scripted::serve(Arc::clone(&quick)).await];
    let root = ForeignCa::new("peer root");
    slow.instead(Trouble::Silence);
    quick.shows(&document(1, &[&root]));
    let tables = table(&folder, "slow.test", &endpoints[0]) + &table(&folder, "quick.test", &endpoints[1]);
    let site = Site::with(tables).await;
    let is_waiting = |relation: &Relation| relation.asked_at > Some(site.harness.now());
    let first = site.at_once("quick.test", |relation| holds(relation, &[&root]) && is_waiting(relation)).await;
    let wait = first.asked_at.unwrap() - first.confirmed_at.unwrap();
    assert!((54..=60).contains(&wait.whole_seconds()), "the hint is 60 s: {wait}");
    for turn in 2..6 {
        site.harness.advance(60);
        tokio::time::timeout(LIMIT, quick.asked_so_often(turn)).await.unwrap();
        site.at_once("quick.test", is_waiting).await;
    }
    tokio::time::timeout(LIMIT, slow.asked_so_often(1)).await.unwrap();
    assert!(slow.asked() == 1 && site.relation("slow.test").kept.is_none(), "it is still waited for");
}

/// Shows: FED-14, FED-21.
#[tokio::test]
async fn a_certificate_of_a_ca_that_is_not_believed_or_for_another_host_is_refused_in_words() {
    let (folder, peer) = (TempDir::new().unwrap(), Arc::new(Peer::default()));
    let [endpoint, other] = [Scripted::serve(Arc::clone(&peer)).await, Scripted::serve(Arc::clone(&peer)).await];
    peer.shows(&document(1, &[&ForeignCa::new("peer root")]));
    let strange = table_of(&folder, "strange.test", (endpoint.port, &other.ca_pem));
    let at_name = table(&folder, "other.test", &other).replace("127.0.0.1", "localhost");
    let site = Site::with(strange + &at_name).await;
    for (of, says) in [("strange.test", "signed by none that is believed here"), ("other.test", "for another host")] {
        let ill = site.until(of, |relation| relation.problem.is_some()).await;
        assert!(problem(&ill).contains(says) && ill.kept.is_none(), "{says}: {ill:#?}");
    }
    assert_eq!(peer.asked(), 0, "nobody is asked anything before");
}

/// Shows: FED-5, FED-17.
#[tokio::test]
async fn what_was_fetched_outlives_the_process_and_goes_before_the_first_bundle_of_the_configuration() {
    let (folder, peer) = (TempDir::new().unwrap(), Arc::new(Peer::default()));
    let endpoint = Scripted::serve(Arc::clone(&peer)).await;
    let (one, two) = (ForeignCa::new("peer root 1"), ForeignCa::new("peer root 2"));
    let first = folder.path().join("first.pem");
    fs::write(&first, one.pem()).unwrap();
    peer.shows(&document(5, &[&two]));
    let table = table(&folder, "peer.test", &endpoint) + &format!("bundle_file = \"{}\"\n", first.display());
    let site = Site::with(table).await;
    let given = site.relation("peer.test");
    assert!(holds(&given, &[&one]) && given.confirmed_at.is_none(), "before anybody was asked: {given:#?}");
    let site = Box::pin(site.restarted()).await;
    site.until("peer.test", |relation| holds(relation, &[&two])).await;
    peer.instead(Trouble::Answer(503, Vec::new(), Vec::new()));
    let site = Box::pin(site.restarted()).await;
    assert!(holds(&site.relation("peer.test"), &[&two]), "not the first one again");
    let ill = site.until("peer.test", |relation| relation.failures > 0).await;
    assert!(holds(&ill, &[&two]), "{ill:#?}");
    assert_eq!(site.harness.entries("bundle_changed").len(), 2);
}

#[tokio::test]
async fn the_end_of_a_last_root_is_told_while_two_operators_can_still_find_each_other() {
    let (folder, peer) = (TempDir::new().unwrap(), Arc::new(Peer::default()));
    let endpoint = Scripted::serve(Arc::clone(&peer)).await;
    peer.shows(&document(1, &[&ForeignCa::new("a hundred days")]));
    let site = Site::with(table(&folder, "peer.test", &endpoint)).await;
    let seen = site.at_once("peer.test", is_good).await;
    let unseen = Relation { confirmed_at: None, ..Relation::clone(&seen) };
    let now = SystemClock.now();
    for (hours, told) in [
        (69 * 24, None),
        (71 * 24, Some("its last root ends in 28 days: its operator must publish the next")),
        (100 * 24 - 5, Some("its last root ends in less than a day: its operator must publish the next")),
        (100 * 24 + 1, Some("its last root has ended: nobody of it is believed any more")),
    ] {
        let at = now + Duration::from_secs(hours * 3600);
        assert_eq!(unseen.warning(at).as_deref(), told, "after {hours} h");
    }
    assert!(
        seen.warning(site.harness.now() + Duration::from_secs(200)).unwrap().starts_with("it was not seen for 3 min")
    );
}

/// What is logged, as it comes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Shows: FED-25.
#[tokio::test]
async fn each_question_is_logged_with_whom_was_asked_and_what_is_held_then() {
    // Where another thread comes by first, without a log, it is kept that nobody listens there.
    if !runs_alone("endpoints::each_question_is_logged_with_whom_was_asked_and_what_is_held_then") {
        return;
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
    let _here = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    let (folder, peer) = (TempDir::new().unwrap(), Arc::new(Peer::default()));
    let endpoint = Scripted::serve(Arc::clone(&peer)).await;
    let root = ForeignCa::new("peer root");
    peer.shows(&document(5, &[&root]));
    let site = Site::with(table(&folder, "peer.test", &endpoint)).await;
    let held =
        site.until("peer.test", |relation| is_good(relation) && relation.asked_at > Some(site.harness.now())).await;
    let key = held.kept.as_ref().unwrap().foreign.bundle.key_ids().remove(0);
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = said.lines().find(|line| line.contains("a bundle endpoint was asked")).unwrap();
    let url = format!("url=https://127.0.0.1:{}/bundle.json", endpoint.port);
    for fact in ["trust_domain=peer.test", &url, "peer=\"127.0.0.1\"", "sequence=5", &key, "is_good=true"] {
        assert!(line.contains(fact), "{fact}: {line}");
    }
}
