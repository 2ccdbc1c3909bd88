//! Our bundle in objects of a cluster: applied, kept, restored, and never taken from somebody else.
#![expect(clippy::indexing_slicing, reason = "an object that lacks a member ends the test")]

use super::applying::{Cluster, merge};
use crate::golden;
use crate::support::foreign::ForeignCa;
use crate::support::harness::{Harness, POLICY};
use crate::support::https::Scripted;
use crate::support::kubernetes::{event, kubeconfig, status};
use lanyard::authority::{AuthorityKind, OrderKind};
use lanyard::clock::{Clock, ManualClock};
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/publish");
const LIMIT: Duration = Duration::from_secs(60);
const MAP: &str = "[[publish]]\nkubeconfig = \"kubeconfig\"\n\
    config_map = { namespace = \"istio-system\", name = \"lanyard-roots\", pem_key = \"ca.crt\", spiffe_key = \"bundle.json\" }\n";
const MAP_TAKEN_OVER: &str = "[[publish]]\nkubeconfig = \"kubeconfig\"\ntake_over = true\n\
    config_map = { namespace = \"istio-system\", name = \"lanyard-roots\", pem_key = \"ca.crt\", spiffe_key = \"bundle.json\" }\n";
const BUNDLE: &str = "[[publish]]\nkubeconfig = \"kubeconfig\"\n\
    cluster_trust_bundle = { name = \"example.org:ci:roots\", signer = \"example.org/ci\" }\n";
const MAP_PATH: &str = "/api/v1/namespaces/istio-system/configmaps/lanyard-roots";
const BUNDLE_PATH: &str = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles/example.org:ci:roots";

/// A server with one publisher that runs.
struct Site {
    harness: Harness,
    cluster: Arc<Cluster>,
    name: String,
    _served: Scripted,
    stop: Option<ShutdownTrigger>,
}

impl Site {
    async fn open(configured: &'static str, prepare: impl FnOnce(&Cluster)) -> Self {
        let cluster = Arc::<Cluster>::default();
        prepare(&cluster);
        let served = Scripted::serve(Arc::clone(&cluster)).await;
        let harness = Harness::whose_issuer_says(configured, POLICY, "memory").await;
        let token = harness.folder.path().join("token");
        let user = json!({ "tokenFile": token });
        put_token(&token, "of-a-pod");
        fs::write(harness.folder.path().join("kubeconfig"), kubeconfig(&served, &user)).unwrap();
        let name = harness.parts.rotator.desk().holders().all(|_| true, harness.now()).pop().unwrap().name;
        let mut site = Self { harness, cluster, name, _served: served, stop: None };
        site.start();
        site
    }

    fn start(&mut self) {
        let publisher = std::mem::take(&mut self.harness.parts.publishers).pop().unwrap();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.harness.clock);
        let (stop, shutdown) = Shutdown::pair();
        tokio::spawn(publisher.run(self.harness.parts.rotator.authorities().published(), clock, shutdown));
        self.stop = Some(stop);
    }

    /// Lets time pass until it is so.
    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let seen = async {
            while !so(self) {
                self.harness.advance(1);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let asked = &self.cluster.asked;
        assert!(tokio::time::timeout(LIMIT, seen).await.is_ok(), "{what}: {:?}\n{asked:#?}", self.trouble());
    }

    async fn until_applied(&self, times: usize) {
        self.until(&format!("applied {times} times"), |site| site.cluster.applied().len() == times).await;
    }

    async fn until_told(&self, what: &str) {
        self.until(what, |site| site.trouble().is_some_and(|told| told.contains(what))).await;
    }

    fn trouble(&self) -> Option<String> {
        self.harness.parts.rotator.desk().holders().troubles().remove(&self.name)
    }

    fn wrote(&self) -> Option<u64> {
        let holders = self.harness.parts.rotator.desk().holders().all(|_| true, self.harness.now());
        holders.into_iter().find(|holder| holder.name == self.name)?.holds
    }

    fn pem(&self) -> String {
        self.harness.parts.rotator.authorities().published().borrow().pem.clone()
    }

    fn sequence(&self) -> u64 {
        self.harness.parts.rotator.authorities().published().borrow().bundle.sequence
    }

    async fn changes_the_bundle(&mut self) {
        let order = super::keys::order(OrderKind::Prepare, AuthorityKind::X509Root);
        let now = self.harness.now();
        self.harness.parts.rotator.obey(&order, now).await.unwrap();
    }

    /// As it was sent, without what differs from run to run.
    fn golden(&self, name: &str) {
        let (path, mut body) = self.cluster.applied().pop().unwrap();
        let published = self.harness.parts.rotator.authorities().published().borrow().clone();
        let json_text = String::from_utf8(published.json.to_vec()).unwrap();
        let part = if body["data"].is_null() { "spec" } else { "data" };
        for value in body[part].as_object_mut().unwrap().values_mut() {
            let shown = match value.as_str().unwrap() {
                pem if pem == published.pem => "(the roots, PEM)",
                json if json == json_text => "(the SPIFFE bundle document)",
                other => other,
            };
            *value = shown.to_owned().into();
        }
        let text = format!("PATCH {path}\n{}\n", serde_json::to_string_pretty(&body).unwrap());
        golden::hold(&Path::new(GOLDEN).join(name), &text);
    }
}

fn put_token(path: &Path, token: &str) {
    fs::write(path, token).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_config_map_is_applied_and_follows_the_bundle() {
    let mut site = Site::open(MAP, |_| {}).await;
    site.until("written", |site| site.wrote() == Some(site.sequence())).await;
    assert_eq!(site.cluster.applied().len(), 1);
    site.golden("config_map.txt");
    let before = site.sequence();
    site.changes_the_bundle().await;
    site.until("followed", |site| site.wrote() == Some(site.sequence())).await;
    assert!(site.sequence() > before);
    let (_, second) = site.cluster.applied().pop().unwrap();
    assert_eq!(second["data"]["ca.crt"].as_str().unwrap().matches("BEGIN CERTIFICATE").count(), 2, "old and new");
    let stored = site.cluster.objects.lock().unwrap().get(MAP_PATH).cloned().unwrap();
    assert_eq!(stored["metadata"]["annotations"]["lanyard/sequence"], site.sequence().to_string());
}

#[tokio::test]
async fn a_cluster_trust_bundle_is_applied_in_the_version_that_the_api_offers() {
    let site = Site::open(BUNDLE, |cluster| cluster.serves.lock().unwrap().push("v1beta1")).await;
    site.until("written", |site| site.wrote() == Some(site.sequence())).await;
    site.golden("cluster_trust_bundle.txt");
    assert!(site.cluster.objects.lock().unwrap().contains_key(BUNDLE_PATH));
    let newer = Site::open(BUNDLE, |cluster| cluster.serves.lock().unwrap().extend(["v1beta1", "v1"])).await;
    newer.until_applied(1).await;
    let (path, body) = newer.cluster.applied().pop().unwrap();
    assert!(path.starts_with("/apis/certificates.k8s.io/v1/") && body["apiVersion"] == "certificates.k8s.io/v1");
    let without = Site::open(BUNDLE, |_| {}).await;
    without.until_told("serves no ClusterTrustBundle").await;
}

#[tokio::test]
async fn an_object_that_holds_the_bundle_already_is_not_written() {
    let mut site = Site::open(MAP, |_| {}).await;
    site.until_applied(1).await;
    drop(site.stop.take());
    site.harness = site.harness.restarted(None).await;
    assert_eq!(site.wrote(), None);
    site.start();
    site.until("found", |site| site.wrote() == Some(site.sequence())).await;
    assert_eq!(site.cluster.applied().len(), 1);
}

#[tokio::test]
async fn whatever_somebody_does_to_the_object_is_undone_and_a_lost_watch_is_taken_up_again() {
    let site = Site::open(MAP, |_| {}).await;
    site.until_applied(1).await;
    site.cluster.deletes(MAP_PATH);
    site.until_applied(2).await;
    let by = json!([{ "manager": "kubectl-edit", "operation": "Update" }]);
    site.cluster.edits(MAP_PATH, &json!({ "data": { "ca.crt": "" }, "metadata": { "managedFields": by } }));
    site.until_applied(3).await;
    let (path, _) = site.cluster.applied().pop().unwrap();
    assert!(path.contains("fieldManager=lanyard&force=true"), "who edits by hand is overruled: {path}");
    // What others add is theirs.
    site.cluster.edits(MAP_PATH, &json!({ "data": { "other": "x" }, "metadata": { "labels": { "team": "mesh" } } }));
    let looked = |site: &Site| site.cluster.asked.lock().unwrap().len();
    for event in ["{\"type\":\"MODI", "", &event("ERROR", &status(410, "gone"))] {
        let before = looked(&site);
        site.cluster.watched.lock().unwrap().push_back(event.to_owned());
        site.until("looked anew", |site| looked(site) > before).await;
    }
    assert_eq!((site.cluster.applied().len(), site.trouble()), (3, None));
    let stored = site.cluster.objects.lock().unwrap().get(MAP_PATH).cloned().unwrap();
    assert_eq!(stored["data"]["other"], "x");
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_left_alone_unless_the_operator_says_so() {
    let foreign = |metadata: &Value| {
        let mut object = json!({ "metadata": { "name": "lanyard-roots" }, "data": { "ca.crt": "theirs" } });
        merge(&mut object, &json!({ "metadata": metadata }));
        object
    };
    for (metadata, told) in [
        (json!({ "managedFields": [{ "manager": "helm", "operation": "Update" }] }), "belongs to helm"),
        (json!({ "labels": { "app.kubernetes.io/managed-by": "Linkerd" } }), "belongs to Linkerd"),
        (
            json!({ "labels": { "app.kubernetes.io/managed-by": "lanyard" }, "annotations": { "lanyard/trust-domain": "other.example" } }),
            "the trust domain other.example's",
        ),
    ] {
        let site = Site::open(MAP, |cluster| drop(cluster.put(MAP_PATH, foreign(&metadata)))).await;
        site.until_told(told).await;
        assert!(site.trouble().unwrap().contains("take_over = true") && site.cluster.applied().is_empty());
        let taken = Site::open(MAP_TAKEN_OVER, |cluster| drop(cluster.put(MAP_PATH, foreign(&metadata)))).await;
        taken.until_applied(1).await;
        taken.until("written", |site| site.wrote() == Some(site.sequence())).await;
    }
}

#[tokio::test]
async fn a_controller_that_declares_the_object_and_a_newer_server_are_not_overruled() {
    let site = Site::open(MAP, |_| {}).await;
    site.until_applied(1).await;
    let by = json!([{ "manager": "argocd", "operation": "Apply" }]);
    site.cluster.edits(MAP_PATH, &json!({ "data": { "ca.crt": "old" }, "metadata": { "managedFields": by } }));
    site.until_told("others manage what should be written").await;
    assert!(site.trouble().unwrap().contains("argocd"));
    let both = format!("{}{}", site.pem(), ForeignCa::new("of the other server").pem());
    let sequence = json!({ "lanyard/sequence": "1000" });
    let newer = json!({ "data": { "ca.crt": both }, "metadata": { "annotations": sequence, "managedFields": [] } });
    site.cluster.edits(MAP_PATH, &newer);
    site.until_told("another server writes for this trust domain").await;
    assert_eq!(site.wrote(), Some(site.sequence()), "what was written before stands");
}

#[tokio::test]
async fn a_number_that_an_editor_writes_or_that_stands_beside_foreign_keys_stops_nothing() {
    let mut site = Site::open(MAP, |_| {}).await;
    site.until_applied(1).await;
    let sequence = json!({ "lanyard/sequence": "1000000" });
    let wrote = json!({ "f:metadata": { "f:annotations": { "f:lanyard/sequence": {} } } });
    let by = json!([{ "manager": "kubectl-edit", "operation": "Update", "fieldsV1": wrote }]);
    site.cluster.edits(MAP_PATH, &json!({ "metadata": { "annotations": sequence, "managedFields": by } }));
    site.until_applied(2).await;
    let foreign = json!({ "ca.crt": ForeignCa::new("somebody").pem(), "bundle.json": "{}" });
    let metadata = json!({ "annotations": sequence, "managedFields": [] });
    site.cluster.edits(MAP_PATH, &json!({ "data": foreign, "metadata": metadata }));
    site.until_applied(3).await;
    assert_eq!(site.trouble(), None);
    site.changes_the_bundle().await;
    site.until("followed", |site| site.wrote() == Some(site.sequence())).await;
    let stored = site.cluster.objects.lock().unwrap().get(MAP_PATH).cloned().unwrap();
    assert_eq!(stored["metadata"]["annotations"]["lanyard/sequence"], site.sequence().to_string());
}

#[tokio::test]
async fn each_no_of_the_api_is_told_with_what_would_help_and_tried_again() {
    let site = Site::open(MAP, |cluster| {
        let mut troubles = cluster.troubles.lock().unwrap();
        troubles.push_back((401, None, status(401, "Unauthorized")));
    })
    .await;
    site.until_told("401 Unauthorized: Unauthorized; see whether the token or key is still good").await;
    put_token(&site.harness.folder.path().join("token"), "renewed");
    site.until("written", |site| site.wrote().is_some()).await;
    let said = site.cluster.said.lock().unwrap().clone();
    assert_eq!((said.first().unwrap().as_str(), said.last().unwrap().as_str()), ("Bearer of-a-pod", "Bearer renewed"));
    for (code, told) in [
        (403, "403 Forbidden: no; give the right to get, watch, create and patch"),
        (404, "404 Not Found: no; see whether the namespace or bucket is there"),
        (500, "500 Internal Server Error: no; it is tried again"),
    ] {
        let site = Site::open(MAP, |cluster| {
            let mut troubles = cluster.troubles.lock().unwrap();
            // The look finds nothing there, and the apply is refused.
            troubles.push_back((404, None, status(404, "not found")));
            troubles.push_back((code, None, status(code, "no")));
        })
        .await;
        site.until_told(told).await;
        site.until("written", |site| site.wrote().is_some() && site.trouble().is_none()).await;
    }
}

#[tokio::test]
async fn an_api_that_is_busy_is_left_alone_for_as_long_as_it_wants() {
    let busy = json!("Too many requests, please try again later.");
    let site = Site::open(MAP, |cluster| cluster.troubles.lock().unwrap().push_back((429, Some("900"), busy))).await;
    let began = site.harness.now();
    site.until_told("429").await;
    site.until_applied(1).await;
    assert!(site.harness.now() - began >= Duration::from_secs(900));
    let lost = Site::open(MAP, |cluster| {
        let mut troubles = cluster.troubles.lock().unwrap();
        troubles.push_back((404, None, status(404, "not found")));
        troubles.push_back((409, None, status(409, "the object has been modified")));
    })
    .await;
    lost.until_told("the object has been modified").await;
    lost.until("written", |site| site.wrote().is_some() && site.trouble().is_none()).await;
}
