//! What a thousand federated trust domains cost, and how soon a change of one reaches two thousand streams: `tests/run --all`, or
//! `cargo test --release --test stories -- --ignored --nocapture --test-threads 1 many_peers` on a machine with nothing else to do.

use super::doors::Doors;
use super::operators::Job;
use crate::support::beside::channel;
use crate::support::foreign::ForeignCa;
use crate::support::harness::{Harness, POLICY};
use crate::support::https::{Script, Scripted};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use lanyard::bundle::Bundle;
use lanyard::clock::{Clock, ManualClock};
use lanyard::federation::{Federation, Relation};
use lanyard::identity::TrustDomain;
use lanyard::telemetry::Shutdown;
use lanyard::wire::lanyard::SetBundleRequest;
use lanyard::wire::lanyard::admin_client::AdminClient;
use lanyard::wire::lanyard::event::Kind;
use lanyard::wire::lanyard::set_bundle_request::Form;
use rustls_pki_types::CertificateDer;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::task::JoinSet;

const PEERS: u32 = 1000;
const STREAMS: usize = 2000;
/// In seconds; what a document says that says nothing.
const HINT: u64 = 300;
/// Of one core, for all of them.
const PERCENT_MAX: f64 = 2.0;
/// From an operator's word to the last stream.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// An endpoint that shows everybody the same.
struct Endpoint {
    document: Bytes,
    asked: AtomicUsize,
}

impl Script for Endpoint {
    async fn answer(&self, _request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Response::new(self.document.clone().into())
    }
}

/// A bundle with two roots and the hint.
fn document() -> Bytes {
    let roots = ["one", "two"].map(|name| CertificateDer::from(ForeignCa::new(name).der()));
    let (trust_domain, refresh_hint) = (TrustDomain::parse("any.test").unwrap(), Duration::from_secs(HINT));
    let x509_authorities = roots.to_vec();
    let bundle = Bundle { trust_domain, sequence: 1, refresh_hint, x509_authorities, jwt_authorities: Vec::new() };
    bundle.to_json().into()
}

/// What this thread has spent, which has all tasks of its test.
fn spent() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// On a thread of its own, so that it costs ours nothing.
fn serve(endpoint: Arc<Endpoint>) -> (u16, String) {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let serving = Scripted::serve(endpoint).await;
            tell.send((serving.port, serving.ca_pem.clone())).unwrap();
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
}

/// Once each has shown its bundle since then, within the time that it may be kept.
async fn refreshed(federation: &Federation, (endpoint, rounds): (&Endpoint, u32), since: OffsetDateTime) {
    let is_fresh = |relation: &Relation| relation.problem.is_none() && relation.confirmed_at >= Some(since);
    let all = usize::try_from(PEERS * rounds).unwrap();
    let seen = async {
        while endpoint.asked.load(Ordering::SeqCst) < all
            || !federation.list().iter().all(|(_, relation)| is_fresh(relation))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let is_so = tokio::time::timeout(Duration::from_secs(HINT), seen).await.is_ok();
    let listed = federation.list();
    let stale = listed.iter().find(|(_, relation)| !is_fresh(relation));
    assert!(is_so && listed.len() == usize::try_from(PEERS).unwrap(), "{stale:#?}");
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), all, "each is asked once a turn");
}

#[tokio::test]
#[ignore = "minutes, and alone: `tests/run --all`"]
async fn a_thousand_trust_domains_are_refreshed_for_a_fiftieth_of_a_core() {
    let endpoint = Arc::new(Endpoint { document: document(), asked: AtomicUsize::new(0) });
    let (port, ca_pem) = serve(Arc::clone(&endpoint));
    let folder = TempDir::new().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, ca_pem).unwrap();
    let mut tables = String::new();
    for peer in 0..PEERS {
        write!(
            tables,
            "[[federation]]\ntrust_domain = \"p{peer}.test\"\nurl = \"https://127.0.0.1:{port}/{peer}\"\nprofile = \
             \"https_web\"\nca_file = \"{}\"\n",
            ca_file.display()
        )
        .unwrap();
    }
    let mut harness = Harness::whose_issuer_says(tables.leak(), POLICY, "memory").await;
    let (_stop, shutdown) = Shutdown::pair();
    let mut running = JoinSet::new();
    let before = spent();
    for follower in std::mem::take(&mut harness.parts.followers) {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&harness.clock);
        running.spawn(follower.run(clock, shutdown.clone()));
    }
    let federation = harness.parts.federation.clone();
    refreshed(&federation, (&endpoint, 1), harness.now()).await;
    println!("first bundles of {PEERS}: {:?} of CPU", spent().saturating_sub(before));
    let (before, rounds) = (spent(), 5);
    for round in 2..2 + rounds {
        harness.advance(HINT);
        refreshed(&federation, (&endpoint, round), harness.now()).await;
    }
    let each = spent().saturating_sub(before) / (PEERS * rounds);
    let rate = f64::from(PEERS) / Duration::from_secs(HINT).mul_f64(0.95).as_secs_f64();
    let percent = each.as_secs_f64() * rate * 100.0;
    println!("{each:?} of CPU a refresh; {rate:.2} refreshes/s for {PEERS}: {percent:.3} % of a core");
    assert!(percent < PERCENT_MAX, "{percent:.3} %");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes, and alone: `tests/run --all`"]
async fn a_change_reaches_two_thousand_streams_within_a_second() {
    let doors = Doors::with(&POLICY.replace("ttl =", "federates_with = [\"mesh.test\"]\nttl =")).await;
    let mut admin = AdminClient::new(channel(&doors.folder.path().join("admin.sock")));
    let set = |name: String, root: &ForeignCa| SetBundleRequest {
        trust_domain: name,
        form: Some(Form::Pem(root.pem().into())),
        ..SetBundleRequest::default()
    };
    let root = ForeignCa::new("one");
    for peer in 0..PEERS {
        admin.set_bundle(set(format!("p{peer}.test"), &root)).await.unwrap();
    }
    let mut jobs = Vec::new();
    for _ in 0..STREAMS {
        jobs.push(Job::begin(&doors, "ada").await);
    }
    for turn in 0..3 {
        let began = Instant::now();
        admin.set_bundle(set("mesh.test".to_owned(), &ForeignCa::new("mesh"))).await.unwrap();
        let mut last = Duration::ZERO;
        for job in &mut jobs {
            let event = job.events.message().await.unwrap().unwrap();
            assert!(matches!(event.kind, Some(Kind::Federation(_))));
            last = began.elapsed();
        }
        println!("change {turn}: {STREAMS} streams had it after {last:?}, beside {PEERS} other trust domains");
        assert!(last < HEARD_WITHIN, "{last:?}");
    }
    doors.close().await;
}
