//! Linkerd: who may call a service, and a workload outside the cluster that does.

use super::kubernetes::{MatchLabels, Metadata, Object, Workload};
use super::{Admitted, Document, NotAName, NotRendered, Peer};
use crate::identity::{Narrow, SpiffeId};
use serde::Serialize;
use std::net::IpAddr;

/// The group of Linkerd's policy objects.
const POLICY: &str = "policy.linkerd.io";
/// The longest name of the domain name system (RFC 1035 §2.3.4), in text.
const SERVER_NAME_MAX: usize = 253;

/// The service, as Linkerd's proxies in front of it see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkerdService {
    /// What is called.
    pub workload: Workload,
    /// The port of its pods.
    pub port: u16,
    /// What is spoken there; Linkerd finds out where nothing is said.
    pub protocol: Option<String>,
}

/// A proxy outside the cluster, and where it is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalWorkload {
    /// Its name, namespace and labels in the cluster.
    pub workload: Workload,
    /// By which name it ends TLS.
    pub server_name: String,
    /// Its addresses, at most one of each kind.
    pub ips: Vec<IpAddr>,
    /// The port where it can be called, if it can.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerSpec {
    pod_selector: MatchLabels,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_protocol: Option<String>,
    access_policy: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct MeshTlsSpec {
    identities: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationSpec {
    target_ref: Reference,
    required_authentication_refs: [Reference; 1],
}

#[derive(Clone, Debug, Serialize)]
struct Reference {
    group: &'static str,
    kind: &'static str,
    name: super::Name,
}

#[derive(Clone, Debug, Serialize)]
struct ExternalSpec {
    #[serde(rename = "meshTLS")]
    mesh_tls: MeshTls,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<Port>,
    #[serde(rename = "workloadIPs")]
    workload_ips: Vec<WorkloadIp>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MeshTls {
    identity: SpiffeId,
    server_name: String,
}

#[derive(Clone, Debug, Serialize)]
struct Port {
    port: u16,
}

#[derive(Clone, Debug, Serialize)]
struct WorkloadIp {
    ip: IpAddr,
}

impl LinkerdService {
    /// The objects that let these callers, and nobody else, call the service.
    ///
    /// # Errors
    /// When the service's name leaves no room for a word behind it.
    pub fn objects(&self, admitted: &[Admitted]) -> Result<Vec<Document>, NotRendered> {
        let Workload { service, namespace, selector } = &self.workload;
        let (callers, port) = (service.with("callers")?, service.with(&format!("port-{}", self.port))?);
        let reference = |kind, name: &super::Name| Reference { group: POLICY, kind, name: name.clone() };
        let server = Object {
            api_version: "policy.linkerd.io/v1beta3",
            kind: "Server",
            metadata: Metadata::new(port.clone(), namespace),
            spec: ServerSpec {
                pod_selector: MatchLabels { match_labels: selector.clone() },
                port: self.port,
                proxy_protocol: self.protocol.clone(),
                access_policy: "deny",
            },
        };
        let authentication = Object {
            api_version: "policy.linkerd.io/v1alpha1",
            kind: "MeshTLSAuthentication",
            metadata: Metadata::new(callers.clone(), namespace).for_rules(admitted),
            spec: MeshTlsSpec { identities: admitted.iter().flat_map(|one| &one.peers).filter_map(identity).collect() },
        };
        let authorization = Object {
            api_version: "policy.linkerd.io/v1alpha1",
            kind: "AuthorizationPolicy",
            metadata: Metadata::new(callers.clone(), namespace),
            spec: AuthorizationSpec {
                target_ref: reference("Server", &port),
                required_authentication_refs: [reference("MeshTLSAuthentication", &callers)],
            },
        };
        Ok(vec![Document::of(&server)?, Document::of(&authentication)?, Document::of(&authorization)?])
    }
}

/// A peer as Linkerd writes it. A star is good before DNS names only: before a URI it admits nobody, or everybody.
fn identity(peer: &Peer) -> Option<String> {
    match peer {
        Peer::DnsBelow(name) => Some(format!("*.{name}")),
        Peer::Exact(id) => Some(id.as_str().to_owned()),
        Peer::Beginning(_) | Peer::Shape(_) => None,
    }
}

/// The only ID of some rules.
///
/// # Errors
/// `NotOneId`.
pub fn only_id(admitted: &[Admitted]) -> Result<&SpiffeId, NotRendered> {
    let peers: Vec<&Peer> = admitted.iter().flat_map(|one| &one.peers).collect();
    match peers.as_slice() {
        [Peer::Exact(id)] => Ok(id),
        [other] => Err(NotRendered::NotOneId { found: identity(other).unwrap_or_else(|| "a pattern".to_owned()) }),
        several => Err(NotRendered::NotOneId { found: format!("{} IDs", several.len()) }),
    }
}

impl ExternalWorkload {
    /// The object, for the workload that has this ID.
    ///
    /// # Errors
    /// `NotOneId`, `TooLong`.
    pub fn object(&self, admitted: &[Admitted]) -> Result<Document, NotRendered> {
        let identity = only_id(admitted)?.clone();
        if identity.too_long_for().contains(&Narrow::Linkerd) {
            return Err(NotRendered::TooLong { id: identity.to_string(), max: Narrow::Linkerd.max_bytes() });
        }
        let Workload { service, namespace, selector } = &self.workload;
        let metadata = Metadata::new(service.clone(), namespace).for_rules(admitted);
        Ok(Document::of(&Object {
            api_version: "workload.linkerd.io/v1beta1",
            kind: "ExternalWorkload",
            metadata: Metadata { labels: Some(selector.clone()), ..metadata },
            spec: ExternalSpec {
                mesh_tls: MeshTls { identity, server_name: self.server_name.clone() },
                ports: self.port.into_iter().map(|port| Port { port }).collect(),
                workload_ips: self.ips.iter().map(|ip| WorkloadIp { ip: *ip }).collect(),
            },
        })?)
    }
}

/// A DNS name by which a proxy ends TLS.
///
/// # Errors
/// `Name` where it is none.
pub fn server_name(text: &str) -> Result<String, NotAName> {
    let legal = text.len() <= SERVER_NAME_MAX && text.split('.').all(|label| label.parse::<super::Name>().is_ok());
    if legal { Ok(text.to_owned()) } else { Err(NotAName::ServerName) }
}
