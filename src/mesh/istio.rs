//! Istio: who may call a service, how callers know it, and what `istiod` must be told of our roots.

use super::kubernetes::{MatchLabels, Metadata, Name, Object, Workload};
use super::{Admitted, Document, NotAName, NotRendered, Peer};
use crate::crypto::PemLabel;
use crate::identity::{SpiffeId, TrustDomain};
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde_saphyr::LitString;
use std::collections::BTreeMap;
use std::time::Duration;

/// The service as its callers in the mesh see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IstioService {
    /// What is called.
    pub workload: Workload,
    /// The name that is called.
    pub host: String,
    /// The longest life of a connection.
    pub connection_age: Duration,
    /// The service's own SPIFFE ID, where one is known.
    pub server_id: Option<SpiffeId>,
}

#[derive(Clone, Debug, Serialize)]
struct AuthorizationSpec {
    selector: MatchLabels,
    action: &'static str,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Serialize)]
struct Rule {
    from: [From; 1],
}

#[derive(Clone, Debug, Serialize)]
struct From {
    source: Source,
}

/// Without principals it would be anybody; [`Admitted`] always has some.
#[derive(Clone, Debug, Serialize)]
struct Source {
    principals: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct PeerSpec {
    selector: MatchLabels,
    mtls: Mtls,
}

#[derive(Clone, Debug, Serialize)]
struct Mtls {
    mode: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DestinationSpec {
    host: String,
    traffic_policy: TrafficPolicy,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TrafficPolicy {
    connection_pool: ConnectionPool,
    tls: ClientTls,
}

#[derive(Clone, Debug, Serialize)]
struct ConnectionPool {
    tcp: TcpSettings,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TcpSettings {
    max_connection_duration: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientTls {
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subject_alt_names: Vec<SpiffeId>,
}

impl IstioService {
    /// The name by which a cluster's services are called, where no other is given.
    pub fn cluster_host(service: &Name, namespace: &Name) -> String {
        format!("{service}.{namespace}.svc.cluster.local")
    }

    /// The objects that let these callers, and nobody else, call the service.
    ///
    /// # Errors
    /// When the service's name leaves no room for a word behind it.
    pub fn objects(&self, admitted: &[Admitted], trust_domain: &TrustDomain) -> Result<Vec<Document>, NotRendered> {
        let Workload { service, namespace, selector } = &self.workload;
        let labels = MatchLabels { match_labels: selector.clone() };
        let named = |word| Ok::<_, NotAName>(Metadata::new(service.with(word)?, namespace));
        let authorization = Object {
            api_version: "security.istio.io/v1",
            kind: "AuthorizationPolicy",
            metadata: named("callers")?.for_rules(admitted),
            spec: AuthorizationSpec {
                selector: labels.clone(),
                action: "ALLOW",
                rules: admitted.iter().map(|one| Rule::of(one, trust_domain)).collect(),
            },
        };
        let peers = Object {
            api_version: "security.istio.io/v1",
            kind: "PeerAuthentication",
            metadata: named("mtls")?,
            spec: PeerSpec { selector: labels, mtls: Mtls { mode: "STRICT" } },
        };
        let connections = Object {
            api_version: "networking.istio.io/v1",
            kind: "DestinationRule",
            metadata: named("connections")?,
            spec: self.destination(),
        };
        Ok(vec![Document::of(&authorization)?, Document::of(&peers)?, Document::of(&connections)?])
    }

    fn destination(&self) -> DestinationSpec {
        let tcp = TcpSettings { max_connection_duration: format!("{}s", self.connection_age.as_secs()) };
        let subject_alt_names = self.server_id.iter().cloned().collect();
        let tls = ClientTls { mode: "ISTIO_MUTUAL", subject_alt_names };
        let traffic_policy = TrafficPolicy { connection_pool: ConnectionPool { tcp }, tls };
        DestinationSpec { host: self.host.clone(), traffic_policy }
    }
}

impl Rule {
    fn of(admitted: &Admitted, trust_domain: &TrustDomain) -> Self {
        let principals = admitted.peers.iter().filter_map(|peer| principal(peer, trust_domain)).collect();
        Self { from: [From { source: Source { principals } }] }
    }
}

/// A peer as Istio writes it: without `spiffe://`, a star at the end for all that goes on.
fn principal(peer: &Peer, trust_domain: &TrustDomain) -> Option<String> {
    match peer {
        Peer::Beginning(path) => Some(format!("{trust_domain}{path}*")),
        Peer::Exact(id) => Some(format!("{}{}", id.trust_domain_name(), id.path())),
        Peer::DnsBelow(_) | Peer::Shape(_) => None,
    }
}

/// Where `istiod` has our roots from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IstioTrust {
    /// From its own configuration.
    Pem(Vec<CertificateDer<'static>>),
    /// From our bundle endpoint.
    Url(String),
}

/// Values for the `istiod` chart.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Values {
    mesh_config: MeshConfig,
    pilot: Pilot,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MeshConfig {
    ca_certificates: Vec<CertificateData>,
    default_config: ProxyConfig,
}

/// One root: `istiod` takes a PEM text of several as one certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateData {
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<LitString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_bundle_url: Option<String>,
    trust_domains: [TrustDomain; 1],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProxyConfig {
    proxy_metadata: BTreeMap<&'static str, &'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct Pilot {
    env: BTreeMap<&'static str, &'static str>,
}

impl IstioTrust {
    /// Values for the `istiod` chart: our part of the MeshConfig, and what switches it on. Never an alias of the mesh's own
    /// trust domain: then whoever is named `…/ns/x/sa/y` by us would be one of its own workloads.
    ///
    /// # Errors
    /// Never for what it is made of.
    pub fn values(&self, trust_domain: &TrustDomain) -> Result<Document, NotRendered> {
        let entry =
            |pem, spiffe_bundle_url| CertificateData { pem, spiffe_bundle_url, trust_domains: [trust_domain.clone()] };
        let pem = |root| LitString(PemLabel::Certificate.armour(root).to_string());
        let ca_certificates = match self {
            Self::Pem(roots) => roots.iter().map(|root| entry(Some(pem(root)), None)).collect(),
            Self::Url(url) => vec![entry(None, Some(url.clone()))],
        };
        let default_config = ProxyConfig { proxy_metadata: BTreeMap::from([("PROXY_CONFIG_XDS_AGENT", "true")]) };
        Ok(Document::of(&Values {
            mesh_config: MeshConfig { ca_certificates, default_config },
            pilot: Pilot { env: BTreeMap::from([("ISTIO_MULTIROOT_MESH", "true")]) },
        })?)
    }
}
