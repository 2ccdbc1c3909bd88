//! An object in a cluster: looked at, applied by the server's own reckoning of who manages what, and watched.

use super::PublishError;
use super::object::{Due, FIELD_MANAGER, ObjectKind, Write, due, holds};
use super::target::Outcome;
use crate::authority::Published;
use crate::clock::Clock;
use crate::discovery::{kubernetes, wait_of};
use crate::telemetry::quotable;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use kube::Client;
use kube::api::WatchEvent;
use kube::client::Body;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tokio_stream::StreamExt as _;

/// For an answer that is no watch.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The API ends a watch after so long; below what proxies give an idle connection.
const WATCH_SECONDS: u32 = 280;
/// A watch that is silent beyond its end has lost its connection.
const SILENT_AT_MOST: Duration = Duration::from_secs(300);
/// Server-side apply takes YAML by name, and JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";
/// The versions of `ClusterTrustBundle` that have one shape, the best first.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// How to come to the API; none for the pod's own service account.
pub type Kubeconfig = Option<PathBuf>;

/// Which object, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The way to the cluster.
    pub kubeconfig: Kubeconfig,
    /// Whether it is written even where it belongs to somebody else.
    pub take_over: bool,
}

/// An object that holds what it should, ready to be watched.
#[derive(Debug)]
pub(super) struct Seen {
    place: Place,
    version: String,
    wanted: Value,
}

/// Where objects of a kind are in an API.
struct Place {
    client: Client,
    path: String,
}

struct Answer {
    status: StatusCode,
    body: Value,
    wait: Option<Duration>,
}

impl ClusterObject {
    /// Looks, and writes what differs.
    pub(super) async fn put(
        &self,
        published: &Published,
        (is_again, clock): (bool, &dyn Clock),
    ) -> Result<(Outcome, Seen), PublishError> {
        // Each time anew: a token that was refused may have been replaced in its file.
        let client = kubernetes(self.kubeconfig.as_deref()).await?;
        let (path, version) = self.place(&client, clock).await?;
        let place = Place { client, path };
        let wanted = self.kind.wanted(&self.name, version, published);
        let found = place.look(&self.name, clock).await?;
        let (outcome, stored) = match due(found.as_ref(), &wanted, (self.take_over, is_again)) {
            Due::Newer(there) => return Err(PublishError::Newer { there, ours: published.bundle.sequence }),
            Due::NotOurs(owner) => return Err(PublishError::NotOurs { owner }),
            Due::Nothing => (Outcome::AsItWas, found.unwrap_or_default()),
            Due::Write(write) => {
                let stored = place.apply(&self.name, (&wanted, found.as_ref()), (&write, clock)).await?;
                (write.restores.map_or(Outcome::Written, Outcome::Restored), stored)
            }
        };
        if !holds(&stored, &wanted) {
            return Err(PublishError::Changed);
        }
        let version = version_of(&stored).unwrap_or_default().to_owned();
        Ok((outcome, Seen { place, version, wanted }))
    }

    /// The path of its collection, and the version of its kind.
    async fn place(&self, client: &Client, clock: &dyn Clock) -> Result<(String, &'static str), PublishError> {
        if let ObjectKind::ConfigMap { namespace, .. } = &self.kind {
            return Ok((format!("/api/v1/namespaces/{namespace}/configmaps"), "v1"));
        }
        for version in VERSIONS {
            let group = format!("/apis/certificates.k8s.io/{version}");
            let answer = call(client, (Method::GET, &group, None), clock).await?;
            let resources = answer.body.get("resources").and_then(Value::as_array).into_iter().flatten();
            let mut names = resources.filter_map(|resource| resource.get("name"));
            if answer.status == StatusCode::NOT_FOUND {
                continue;
            }
            answer.refused_unless(StatusCode::OK)?;
            if names.any(|name| name == "clustertrustbundles") {
                return Ok((format!("{group}/clustertrustbundles"), version));
            }
        }
        Err(PublishError::KindUnknown)
    }
}

impl Place {
    async fn look(&self, name: &str, clock: &dyn Clock) -> Result<Option<Value>, PublishError> {
        let answer = call(&self.client, (Method::GET, &format!("{}/{name}", self.path), None), clock).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.refused_unless(StatusCode::OK)?;
        Ok(Some(answer.body))
    }

    /// Nothing is written over what came between the look and this.
    async fn apply(
        &self,
        name: &str,
        (wanted, found): (&Value, Option<&Value>),
        (write, clock): (&Write, &dyn Clock),
    ) -> Result<Value, PublishError> {
        let mut object = wanted.clone();
        if let (Some(version), Some(metadata)) = (found.and_then(version_of), object.get_mut("metadata")) {
            metadata.as_object_mut().and_then(|of| of.insert("resourceVersion".to_owned(), json!(version)));
        }
        let path = format!("{}/{name}?fieldManager={FIELD_MANAGER}&force={}", self.path, write.force);
        let answer = call(&self.client, (Method::PATCH, &path, Some(object.to_string())), clock).await?;
        if answer.status == StatusCode::CONFLICT {
            return Err(PublishError::Conflict { said: answer.said() });
        }
        if answer.status != StatusCode::CREATED {
            answer.refused_unless(StatusCode::OK)?;
        }
        Ok(answer.body)
    }
}

impl Seen {
    /// Waits until the object may hold something else; when the watch is lost, too.
    pub(super) async fn disturbed(&self) {
        let name = self.wanted.get("metadata").and_then(|of| of.get("name")?.as_str()).unwrap_or_default();
        let (Place { client, path }, version) = (&self.place, &self.version);
        let of_it = format!(
            "{path}?watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
        );
        let Ok(request) = Request::get(of_it).body(Vec::new()) else { return };
        let opened = tokio::time::timeout(ANSWER_WITHIN, client.request_events::<Value>(request)).await;
        let Ok(Ok(events)) = opened else { return };
        let mut events = pin!(events);
        while let Ok(Some(Ok(event))) = tokio::time::timeout(SILENT_AT_MOST, events.next()).await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) if holds(&object, &self.wanted) => {}
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) | WatchEvent::Error(_) => {
                    return;
                }
            }
        }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.path)
    }
}

impl Answer {
    fn refused_unless(&self, status: StatusCode) -> Result<(), PublishError> {
        if self.status == status {
            return Ok(());
        }
        let (status, said, wait) = (self.status, self.said(), self.wait);
        Err(PublishError::Refused { what: "the Kubernetes API", status, said, wait })
    }

    fn said(&self) -> String {
        quotable(self.body.get("message").and_then(Value::as_str).unwrap_or("without a reason"))
    }
}

/// One question and its answer, whatever it is; this library's own calls keep back what an answer's head says.
async fn call(
    client: &Client,
    (method, path, body): (Method, &str, Option<String>),
    clock: &dyn Clock,
) -> Result<Answer, PublishError> {
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, APPLY);
    let request = request.body(Body::from(body.unwrap_or_default().into_bytes()));
    let request = request.map_err(|odd| PublishError::Odd(odd.to_string()))?;
    let asked = async {
        let answer = client.send(request).await?;
        let (head, body) = answer.into_parts();
        Ok::<_, kube::Error>((head, body.collect_bytes().await?))
    };
    let answered = tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(|slow| PublishError::Api(slow.into()))?;
    let (head, bytes) = answered.map_err(|fault| PublishError::Api(fault.into()))?;
    let body: Value = match serde_json::from_slice(&bytes) {
        Ok(body) => body,
        // A refusal may be plain text, and what stands before the API speaks as it likes.
        Err(_other) if !head.status.is_success() => json!({ "message": String::from_utf8_lossy(&bytes).trim() }),
        Err(odd) => return Err(PublishError::Odd(format!("the Kubernetes API answered no JSON: {odd}"))),
    };
    let header = head.headers.get(RETRY_AFTER).and_then(|text| wait_of(text.to_str().ok()?, clock.now()));
    let detail = || Some(Duration::from_secs(body.get("details")?.get("retryAfterSeconds")?.as_u64()?));
    let wait = header.or_else(detail);
    Ok(Answer { status: head.status, body, wait })
}

fn version_of(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("resourceVersion")?.as_str()
}
