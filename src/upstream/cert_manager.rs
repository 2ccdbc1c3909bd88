//! cert-manager as the authority above ours: one `CertificateRequest` each time, watched until somebody has decided.
//!
//! What its `status.ca` says is not looked at: nobody vouches for it.

use super::request_state::{RequestState, state_of};
use super::roots::certificates_of;
use super::{AnswerError, Certifying, Upstream, UpstreamError, Wanted};
use crate::discovery::{NoWayToKubernetes, kubernetes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams, WatchEvent, WatchParams};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;
use tokio_stream::StreamExt as _;

/// For what comes before and after the wait.
const SLACK: Duration = Duration::from_secs(30);
/// How often a watch that broke off is taken up again; each lasts as long as is left, by the API's own clock.
const WATCHES: u32 = 5;
/// Digits of the key's name that tell one request from others.
const NAME_DIGITS: usize = 16;

/// Who signs in the cluster, and how to come there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterIssuer {
    /// Where our requests are made.
    pub namespace: String,
    /// The issuer's name.
    pub name: String,
    /// `Issuer`, `ClusterIssuer`, or what another group calls its own.
    pub kind: String,
    /// Whose kind that is.
    pub group: String,
    /// How to come to the API; none for the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// How long a request waits for its approval and its certificate.
    pub wait: Duration,
}

/// Why the cluster gave no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertManagerError {
    /// The API did not do it.
    #[error("the Kubernetes API did not {what}")]
    Api {
        /// What it should have done.
        what: &'static str,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The way to the API is not configured so that it could be gone.
    #[error(transparent)]
    NoWay(#[from] NoWayToKubernetes),
    /// An approver said no.
    #[error("CertificateRequest {name} was denied: {why}")]
    Denied {
        /// Which.
        name: String,
        /// In the approver's words.
        why: String,
    },
    /// The issuer could not, or would not.
    #[error("CertificateRequest {name} has failed: {why}")]
    Failed {
        /// Which.
        name: String,
        /// In the issuer's words.
        why: String,
    },
    /// Somebody took it away.
    #[error("CertificateRequest {name} was deleted before it was decided")]
    Gone {
        /// Which.
        name: String,
    },
    /// It waits for an approver.
    #[error("nobody approved CertificateRequest {name} within {} s", wait.as_secs())]
    Unapproved {
        /// Which.
        name: String,
        /// How long.
        wait: Duration,
    },
    /// It waits for its issuer.
    #[error("CertificateRequest {name} was approved, but not signed within {} s: {why}", wait.as_secs())]
    Unsigned {
        /// Which.
        name: String,
        /// How long.
        wait: Duration,
        /// What was last said of it.
        why: String,
    },
}

impl CertManagerError {
    /// What would help.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Api { source, .. } => match code_of(source) {
                Some(401 | 403) => {
                    "let the service account create, get, watch and delete certificaterequests in the namespace"
                }
                Some(404) => "look whether cert-manager is installed there",
                Some(429) => "the API is busy; it is asked again later",
                Some(_) | None => "see whether the API can be reached from here",
            },
            Self::NoWay(_) => "name a kubeconfig, or run in a pod with a service account",
            Self::Denied { .. } => "change the approver's policy, or the issuer that is asked",
            Self::Failed { .. } => "look at the issuer: kubectl describe it",
            Self::Gone { .. } => "look who deletes certificaterequests in the namespace",
            Self::Unapproved { .. } => {
                "approve it (cmctl approve), or let an approver do so: cert-manager's own needs the right to approve for the issuer"
            }
            Self::Unsigned { .. } => "look at the issuer: kubectl describe it; or let wait be longer",
        }
    }
}

/// See the file's words.
#[derive(Debug)]
pub struct CertManager(ClusterIssuer);

impl CertManager {
    /// Asks nobody yet.
    pub const fn new(issuer: ClusterIssuer) -> Self {
        Self(issuer)
    }

    async fn sign(&self, wanted: &Wanted) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
        let object = self.0.request(wanted)?;
        let requests: Api<DynamicObject> = Api::namespaced_with(
            kubernetes(self.0.kubeconfig.as_deref()).await.map_err(CertManagerError::NoWay)?,
            &self.0.namespace,
            &resource(),
        );
        let name = object.metadata.name.clone().unwrap_or_default();
        let signed = self.decided(&requests, &object, &name).await;
        // One that was refused stays for whoever asks why.
        if !matches!(signed, Err(CertManagerError::Denied { .. } | CertManagerError::Failed { .. })) {
            let deleted = requests.delete(&name, &DeleteParams::default()).await;
            deleted.map_or_else(|fault| tracing::debug!(%fault, name, "a request was left behind"), drop);
        }
        let malformed = || UpstreamError::Answer(AnswerError::Malformed { at: 0 });
        let pem = STANDARD.decode(signed?).map_err(|_not_base64| malformed())?;
        certificates_of(&pem).ok_or_else(malformed)
    }

    /// What was signed, in base64.
    async fn decided(
        &self,
        requests: &Api<DynamicObject>,
        object: &DynamicObject,
        name: &str,
    ) -> Result<String, CertManagerError> {
        let failed = |what| move |source| CertManagerError::Api { what, source: Box::new(source) };
        let created = match requests.create(&PostParams::default(), object).await {
            // Ours: its name is the key's, and an answer was lost.
            Err(fault) if code_of(&fault) == Some(409) => requests.get(name).await,
            created => created,
        };
        let mut newest = created.map_err(failed("take a CertificateRequest"))?;
        for _ in 0..WATCHES {
            if let Some(decided) = outcome(name, &newest) {
                return decided;
            }
            newest = self.watched(requests, newest, name).await.map_err(failed("show a CertificateRequest"))?;
            if newest.data.is_null() {
                return Err(CertManagerError::Gone { name: name.to_owned() });
            }
        }
        outcome(name, &newest).unwrap_or_else(|| Err(self.undecided(name, &newest)))
    }

    /// The object as it is after the next change that decides, or when the watch has ended.
    async fn watched(
        &self,
        requests: &Api<DynamicObject>,
        newest: DynamicObject,
        name: &str,
    ) -> Result<DynamicObject, kube::Error> {
        let seconds = u32::try_from(self.0.wait.as_secs()).unwrap_or(u32::MAX).clamp(1, 290) / WATCHES;
        let of_it = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(seconds.max(1));
        let version = newest.metadata.resource_version.clone().unwrap_or_default();
        let events = match requests.watch(&of_it, &version).await {
            Ok(events) => events,
            // A version that is too old, or an API that is busy: it is looked at anew.
            Err(kube::Error::Api(_)) => return requests.get(name).await,
            Err(fault) => return Err(fault),
        };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) if outcome(name, &object).is_some() => {
                    return Ok(object);
                }
                WatchEvent::Added(_) | WatchEvent::Bookmark(_) | WatchEvent::Modified(_) => {}
                WatchEvent::Deleted(object) => return Ok(DynamicObject { data: Value::Null, ..object }),
                WatchEvent::Error(_) => break,
            }
        }
        requests.get(name).await
    }

    fn undecided(&self, name: &str, object: &DynamicObject) -> CertManagerError {
        let (name, wait) = (name.to_owned(), self.0.wait);
        match state_of(&object.data) {
            RequestState::Approved(why) => CertManagerError::Unsigned { name, wait, why },
            RequestState::Denied(_) | RequestState::Failed(_) | RequestState::Signed(_) | RequestState::Unapproved => {
                CertManagerError::Unapproved { name, wait }
            }
        }
    }
}

/// What has become of a request, if that is decided.
fn outcome(name: &str, object: &DynamicObject) -> Option<Result<String, CertManagerError>> {
    let name = name.to_owned();
    match state_of(&object.data) {
        RequestState::Denied(why) => Some(Err(CertManagerError::Denied { name, why })),
        RequestState::Failed(why) => Some(Err(CertManagerError::Failed { name, why })),
        RequestState::Signed(certificate) => Some(Ok(certificate)),
        RequestState::Approved(_) | RequestState::Unapproved => None,
    }
}

/// What the API said, if it said anything.
const fn code_of(fault: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = fault { Some(status.code) } else { None }
}

fn resource() -> ApiResource {
    ApiResource {
        group: "cert-manager.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "cert-manager.io/v1".to_owned(),
        kind: "CertificateRequest".to_owned(),
        plural: "certificaterequests".to_owned(),
    }
}

impl ClusterIssuer {
    /// The object that is created.
    ///
    /// # Errors
    /// `Layout`.
    pub fn request(&self, wanted: &Wanted) -> Result<DynamicObject, UpstreamError> {
        let key: String = wanted.key.public().id().to_string().chars().take(NAME_DIGITS).collect();
        let mut object = DynamicObject::new(&format!("lanyard-{key}"), &resource());
        object.metadata.namespace = Some(self.namespace.clone());
        object.metadata.labels = Some([("app.kubernetes.io/managed-by".to_owned(), "lanyard".to_owned())].into());
        object.data = json!({ "spec": {
            "request": STANDARD.encode(wanted.request()?.as_bytes()),
            "isCA": true,
            "duration": format!("{}s", wanted.lifetime().as_secs()),
            "usages": ["cert sign", "crl sign"],
            "issuerRef": { "name": self.name, "kind": self.kind, "group": self.group },
        }});
        Ok(object)
    }
}

impl Upstream for CertManager {
    fn kind(&self) -> &'static str {
        "cert-manager"
    }

    fn within(&self) -> Duration {
        self.0.wait + SLACK
    }

    fn certify<'a>(&'a self, wanted: &'a Wanted, _now: OffsetDateTime) -> Certifying<'a> {
        Box::pin(self.sign(wanted))
    }
}
