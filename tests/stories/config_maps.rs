//! A bundle in a cluster's ConfigMap: listed, watched, and listed anew, whatever the cluster's API does meanwhile.

use crate::support::foreign::ForeignCa;
use crate::support::harness::{Harness, POLICY};
use crate::support::https::{Script, Scripted, json_answer};
use crate::support::kubernetes::{event, kubeconfig, status};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use lanyard::clock::{Clock, ManualClock};
use lanyard::federation::{Federation, Relation};
use lanyard::identity::TrustDomain;
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CONFIGURED: &str = "[[federation]]\ntrust_domain = \"mesh.test\"\nkubeconfig = \"kubeconfig\"\n\
    config_map = { namespace = \"istio-system\", name = \"roots\", key = \"root-cert.pem\" }\n";
const LIMIT: Duration = Duration::from_secs(20);
const TOKEN: &str = "a-service-account-s";

/// What a watch comes to.
enum Watch {
    /// The map is another one.
    Changed(Value),
    Deleted,
    /// The version is too old.
    Gone,
    /// The connection breaks in the middle of a line.
    Torn,
}

/// A cluster that does as it is told.
#[derive(Default)]
struct Cluster {
    listed: Mutex<VecDeque<(u16, Value)>>,
    watched: Mutex<VecDeque<Watch>>,
    asked: Mutex<Vec<String>>,
}

fn map(text: &str) -> Value {
    let metadata = json!({ "name": "roots", "namespace": "istio-system", "resourceVersion": "7" });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "root-cert.pem": text } })
}

fn list(items: &[Value]) -> (u16, Value) {
    let metadata = json!({ "resourceVersion": "5" });
    (200, json!({ "apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items }))
}

/// The next that a test wants to happen, when it does.
async fn next<T>(queue: &Mutex<VecDeque<T>>) -> T {
    loop {
        if let Some(next) = queue.lock().unwrap().pop_front() {
            return next;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Cluster {
    async fn watch(&self) -> Response<Full<Bytes>> {
        let next = next(&self.watched).await;
        let text = match next {
            Watch::Changed(map) => event("MODIFIED", &map),
            Watch::Deleted => event("DELETED", &map("")),
            Watch::Gone => event("ERROR", &status(410, "Expired")),
            Watch::Torn => "{\"type\":\"MODI".to_owned(),
        };
        Response::new(Full::new(text.into()))
    }
}

impl Script for Cluster {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path_and_query().unwrap().to_string();
        let is_ours = request.headers().get("authorization").is_some_and(|said| said == &format!("Bearer {TOKEN}"));
        assert!(is_ours && path.starts_with("/api/v1/namespaces/istio-system/configmaps?"), "{path}");
        assert!(path.contains("fieldSelector=metadata.name%3Droots"), "no other map is asked for: {path}");
        self.asked.lock().unwrap().push(path.clone());
        if path.contains("watch=true") {
            return self.watch().await;
        }
        let (code, body) = next(&self.listed).await;
        json_answer(code, &body)
    }
}

/// A server that follows the cluster's map.
struct Site {
    harness: Harness,
    cluster: Arc<Cluster>,
    federation: Federation,
    _served: Scripted,
    _stop: ShutdownTrigger,
}

impl Site {
    async fn open() -> Self {
        let cluster = Arc::<Cluster>::default();
        let served = Scripted::serve(Arc::clone(&cluster)).await;
        let mut harness = Harness::whose_issuer_says(CONFIGURED, POLICY, "memory").await;
        let kubeconfig = kubeconfig(&served, &json!({ "token": TOKEN }));
        fs::write(harness.folder.path().join("kubeconfig"), kubeconfig).unwrap();
        let federation = harness.parts.federation.clone();
        let follower = std::mem::take(&mut harness.parts.followers).pop().unwrap();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&harness.clock);
        let (stop, shutdown) = Shutdown::pair();
        tokio::spawn(follower.run(clock, shutdown));
        Self { harness, cluster, federation, _served: served, _stop: stop }
    }

    fn relation(&self) -> Relation {
        Relation::clone(&self.federation.relation(&TrustDomain::parse("mesh.test").unwrap()).unwrap())
    }

    fn lists(&self, answer: (u16, Value)) {
        self.cluster.listed.lock().unwrap().push_back(answer);
    }

    fn watches(&self, event: Watch) {
        self.cluster.watched.lock().unwrap().push_back(event);
    }

    /// Lets time pass until it is so.
    async fn until(&self, so: impl Fn(&Relation) -> bool) -> Relation {
        let seen = async {
            while !so(&self.relation()) {
                self.harness.advance(1);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, seen).await.is_ok(), "{:?}\n{:?}", self.relation(), self.cluster.asked);
        self.relation()
    }
}

fn holds(relation: &Relation, ca: &ForeignCa) -> bool {
    let kept = relation.kept.as_ref().map(|kept| &kept.foreign.bundle.x509_authorities);
    kept.is_some_and(|all| all.len() == 1 && all.iter().all(|der| der.to_vec() == ca.der()))
}

fn says(relation: &Relation, what: &str) -> bool {
    relation.problem.as_ref().is_some_and(|problem| problem.contains(what))
}

#[tokio::test]
async fn a_config_map_is_followed_through_changes_gone_versions_and_lost_connections() {
    let (one, two, three) = (ForeignCa::new("root 1"), ForeignCa::new("root 2"), ForeignCa::new("root 3"));
    let site = Site::open().await;
    site.lists(list(&[map(&one.pem())]));
    let first = site.until(|relation| holds(relation, &one)).await;
    assert_eq!(first.source.to_string(), "config map istio-system/roots root-cert.pem");
    site.watches(Watch::Changed(map(&two.pem())));
    site.until(|relation| holds(relation, &two)).await;
    // The watch is over, begins again, is too old, and breaks; each time the map is listed anew.
    for event in [Watch::Gone, Watch::Torn] {
        site.lists(list(&[map(&two.pem())]));
        site.watches(event);
    }
    site.lists(list(&[map(&three.pem())]));
    site.until(|relation| holds(relation, &three)).await;
    assert!(site.relation().problem.is_none(), "none of it was a fault of the source");
    let asked = site.cluster.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|path| path.contains("watch=true") && path.contains("resourceVersion=5")), "{asked:?}");
    assert_eq!(site.harness.entries("bundle_changed").len(), 3);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_config_map_is_told_and_the_last_good_bundle_stays() {
    let ca = ForeignCa::new("root");
    let without_key =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "roots" }, "data": { "ca": "x" } });
    let site = Site::open().await;
    site.lists((401, status(401, "Unauthorized")));
    let refused = site.until(|relation| says(relation, "Unauthorized")).await;
    assert!(says(&refused, "let the service account list and watch this config map"), "{refused:?}");
    site.lists(list(&[]));
    assert!(site.until(|relation| says(relation, "there is no config map")).await.kept.is_none());
    site.watches(Watch::Changed(map(&ca.pem())));
    assert!(holds(&site.until(|relation| relation.problem.is_none()).await, &ca));
    site.lists(list(&[map("not a bundle")]));
    assert!(holds(&site.until(|relation| says(relation, "neither PEM nor")).await, &ca));
    site.watches(Watch::Torn);
    site.lists((403, status(403, "Forbidden")));
    assert!(holds(&site.until(|relation| says(relation, "Forbidden")).await, &ca));
    site.lists(list(&[map(&ca.pem())]));
    site.until(|relation| relation.problem.is_none()).await;
    site.watches(Watch::Changed(without_key));
    assert!(holds(&site.until(|relation| says(relation, "has no key root-cert.pem; it has: ca")).await, &ca));
    site.lists(list(&[map(&ca.pem())]));
    site.until(|relation| relation.problem.is_none()).await;
    site.watches(Watch::Deleted);
    assert!(holds(&site.until(|relation| says(relation, "there is no config map")).await, &ca));
    site.lists(list(&[map(&ca.pem())]));
    site.until(|relation| relation.problem.is_none()).await;
    assert_eq!(site.harness.entries("bundle_changed").len(), 1);
}
