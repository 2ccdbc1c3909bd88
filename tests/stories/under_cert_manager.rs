//! cert-manager above us: the one object that is made, and whatever may become of it.
#![expect(clippy::indexing_slicing, reason = "an object that lacks a member ends the test")]

use crate::support::hierarchy::{Hierarchy, OURS};
use crate::support::https::{Script, Scripted, json_answer};
use crate::support::kubernetes::{event, kubeconfig, status};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use lanyard::authority::{KeyPlan, first_wanted};
use lanyard::clock::{Clock as _, SystemClock};
use lanyard::crypto::Random;
use lanyard::identity::TrustDomain;
use lanyard::telemetry::chain as told;
use lanyard::upstream::{CertManager, Certified, ClusterIssuer, UpstreamError, Wanted, ask_once};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PLACE: &str = "/apis/cert-manager.io/v1/namespaces/ci/certificaterequests";

/// What a watch of the object brings, before it ends.
#[derive(Clone, Copy, Debug)]
enum Watch {
    /// These conditions one after another.
    States(&'static [&'static str]),
    /// An end without a word.
    Lost,
    /// The version is too old.
    Gone,
    /// Somebody deleted it.
    Deleted,
    /// A refusal.
    Refused(u16),
}

#[derive(Default)]
struct Cluster {
    made: Option<Hierarchy>,
    /// What creating it answers, unless that is to do it.
    creating: Mutex<Option<u16>>,
    watches: Mutex<VecDeque<Watch>>,
    object: Mutex<Value>,
    /// In place of the certificate.
    garbage: Mutex<Option<&'static str>>,
    asked: Mutex<Vec<String>>,
}

impl Cluster {
    /// The object with one more condition.
    fn becomes(&self, condition: &str) -> Value {
        let mut object = self.object.lock().unwrap();
        let (kind, status, reason) = match condition {
            "approved" => ("Approved", "True", "policy"),
            "denied" => ("Denied", "True", "policy.example"),
            "failed" => ("Ready", "False", "Failed"),
            "issued" => ("Ready", "True", "Issued"),
            _ => ("Ready", "False", "Pending"),
        };
        if condition == "issued" {
            let csr = STANDARD.decode(object["spec"]["request"].as_str().unwrap()).unwrap();
            let made = self.made.as_ref().unwrap();
            let signed = made.sign(str::from_utf8(&csr).unwrap(), "upstream", (OURS, "2")) + &made.pem("upstream");
            let pem = self.garbage.lock().unwrap().map_or(signed, str::to_owned);
            object["status"]["certificate"] = STANDARD.encode(pem).into();
            object["status"]["ca"] = STANDARD.encode("not looked at").into();
        }
        let one = json!({ "type": kind, "status": status, "reason": reason, "message": format!("it is {condition}") });
        let mut all: Vec<Value> = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.retain(|other| other["type"] != kind);
        all.push(one);
        object["status"]["conditions"] = all.into();
        object.clone()
    }

    fn watch(&self) -> Response<Full<Bytes>> {
        let next = self.watches.lock().unwrap().pop_front().unwrap_or(Watch::Lost);
        let events: String = match next {
            Watch::States(states) => states.iter().map(|state| event("MODIFIED", &self.becomes(state))).collect(),
            Watch::Lost => String::new(),
            Watch::Gone => event("ERROR", &status(410, "Expired")),
            Watch::Deleted => event("DELETED", &self.object.lock().unwrap()),
            Watch::Refused(code) => return json_answer(code, &status(code, "no")),
        };
        Response::builder().header("content-type", "application/json").body(events.into()).unwrap()
    }
}

impl Script for Cluster {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let is_watch = head.uri.query().is_some_and(|query| query.contains("watch=true"));
        let verb = if is_watch { "WATCH" } else { head.method.as_str() };
        assert!(head.uri.path().starts_with(PLACE), "{}", head.uri);
        assert_eq!(head.headers.get("authorization").unwrap(), "Bearer of-a-pod");
        self.asked.lock().unwrap().push(verb.to_owned());
        if is_watch {
            return self.watch();
        }
        match head.method {
            Method::POST => {
                let code = self.creating.lock().unwrap().take();
                if code.is_none_or(|code| code == 409) {
                    let mut object: Value = serde_json::from_slice(&body).unwrap();
                    object["metadata"]["resourceVersion"] = "7".into();
                    *self.object.lock().unwrap() = object;
                }
                match code {
                    Some(code) => json_answer(code, &status(code, "no")),
                    None => json_answer(201, &self.object.lock().unwrap()),
                }
            }
            Method::DELETE => json_answer(200, &json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" })),
            _ => json_answer(200, &self.object.lock().unwrap()),
        }
    }
}

fn wanted() -> Wanted {
    let domain = TrustDomain::parse("ci.example.org").unwrap();
    first_wanted(&domain, &KeyPlan::DEFAULT, (SystemClock.now(), &Random::system())).unwrap()
}

async fn asked(cluster: &Arc<Cluster>) -> Result<Certified, UpstreamError> {
    let (served, made) = (Scripted::serve(Arc::clone(cluster)).await, cluster.made.as_ref().unwrap());
    let way = made.path("kubeconfig");
    fs::write(&way, kubeconfig(&served, &json!({ "token": "of-a-pod" }))).unwrap();
    let issuer = ClusterIssuer { kubeconfig: Some(way), ..issuer() };
    let roots = made.roots().read(SystemClock.now()).unwrap();
    let least = Duration::from_secs(900);
    ask_once(Arc::new(CertManager::new(issuer)), wanted(), &roots, (Arc::new(SystemClock), least)).await
}

fn issuer() -> ClusterIssuer {
    ClusterIssuer {
        namespace: "ci".to_owned(),
        name: "corp-ca".to_owned(),
        kind: "ClusterIssuer".to_owned(),
        group: "cert-manager.io".to_owned(),
        kubeconfig: None,
        wait: Duration::from_secs(20),
    }
}

fn cluster(watches: &[Watch]) -> Arc<Cluster> {
    let (made, watches) = (Some(Hierarchy::two_tiers()), Mutex::new(watches.iter().copied().collect()));
    Arc::new(Cluster { made, watches, ..Cluster::default() })
}

#[test]
fn a_certificate_request_is_exactly_this_object() {
    let wanted = wanted();
    let mut object = serde_json::to_value(issuer().request(&wanted).unwrap()).unwrap();
    let csr = STANDARD.decode(object["spec"]["request"].take().as_str().unwrap()).unwrap();
    assert_eq!(str::from_utf8(&csr).unwrap().lines().next(), Some("-----BEGIN CERTIFICATE REQUEST-----"));
    let key = wanted.key.public().id().to_string();
    assert_eq!(object["metadata"]["name"].take(), format!("lanyard-{}", key.get(..16).unwrap()));
    let golden = include_str!("../golden/certificaterequest.json");
    assert_eq!(object, serde_json::from_str::<Value>(golden).unwrap());
}

#[tokio::test]
async fn a_request_is_watched_until_it_is_signed_and_then_taken_away() {
    for watches in [
        &[Watch::States(&["approved", "pending", "issued"])][..],
        &[Watch::States(&["approved"]), Watch::Lost, Watch::States(&["pending", "issued"])],
        &[Watch::Gone, Watch::Refused(429), Watch::States(&["approved", "issued"])],
        &[Watch::Refused(500), Watch::States(&["approved", "issued"])],
    ] {
        let cluster = cluster(watches);
        let certified = asked(&cluster).await.unwrap_or_else(|fault| panic!("{watches:?}: {}", told(&fault)));
        assert_eq!(certified.above.len(), 1);
        assert_eq!(cluster.asked.lock().unwrap().last().unwrap(), "DELETE");
    }
    // An answer was lost, and it is there already.
    let there = cluster(&[Watch::States(&["approved", "issued"])]);
    *there.creating.lock().unwrap() = Some(409);
    asked(&there).await.unwrap();
    assert_eq!(there.asked.lock().unwrap()[..2], ["POST", "GET"]);
}

#[tokio::test]
async fn a_request_that_is_not_signed_is_told_with_what_would_help() {
    for (watches, says, helps) in [
        (&[Watch::States(&["denied"])][..], "was denied: policy.example: it is denied", "approver's policy"),
        (&[Watch::States(&["approved", "failed"])], "has failed: Failed: it is failed", "kubectl describe"),
        (&[], "nobody approved", "cmctl approve"),
        (&[Watch::States(&["approved", "pending"])], "was approved, but not signed", "describe"),
        (&[Watch::Deleted], "was deleted", "who deletes"),
    ] {
        let cluster = cluster(watches);
        let fault = asked(&cluster).await.unwrap_err();
        assert!(told(&fault).contains(says) && fault.remedy().contains(helps), "{}; {}", told(&fault), fault.remedy());
        let is_kept = says.contains("denied") || says.contains("failed");
        assert_eq!(cluster.asked.lock().unwrap().last().unwrap() == "DELETE", !is_kept, "{says}");
    }
    for (code, helps) in
        [(401, "service account"), (403, "service account"), (404, "installed"), (429, "busy"), (500, "reached")]
    {
        let cluster = cluster(&[]);
        *cluster.creating.lock().unwrap() = Some(code);
        let fault = asked(&cluster).await.unwrap_err();
        assert!(
            told(&fault).contains("did not take") && fault.remedy().contains(helps),
            "{code}: {}; {}",
            told(&fault),
            fault.remedy()
        );
    }
    let garbage = cluster(&[Watch::States(&["approved", "issued"])]);
    *garbage.garbage.lock().unwrap() = Some("no certificate");
    assert!(matches!(asked(&garbage).await.unwrap_err(), UpstreamError::Answer(_)));
}
