//! What both proxies need: a name, their agent's socket, and whom they call.

use super::parts::{
    Address, Any, ApiSource, Cluster, Endpoint as EndpointPart, Endpoints, EnvoyGrpc, GrpcService, Http2, HttpProtocol,
    LbEndpoint, LoadAssignment, Pipe, SdsConfig, SdsSecret, SocketAddress,
};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The cluster by which the agent is known.
const AGENT: &str = "agent";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Where a proxy runs, and what it is called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The node's id in Envoy's words.
    pub node: String,
    /// Its cluster in Envoy's words.
    pub cluster: String,
    /// The socket of Envoy's own administration.
    pub admin_socket: String,
    /// The agent's Workload API socket, which speaks SDS too.
    pub workload_socket: String,
}

/// A host and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// A text that is no host with a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write a host with its port, as 127.0.0.1:8080 or ledger.example.org:8443")]
pub struct NotAnEndpoint;

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnEndpoint)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(NotAnEndpoint)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let is_name = !host.is_empty() && host.bytes().all(legal);
        if is_name || host.parse::<IpAddr>().is_ok() {
            Ok(Self { host: host.to_owned(), port })
        } else {
            Err(NotAnEndpoint)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Endpoint {
    pub(super) fn address(&self) -> Address {
        Address::Socket { socket_address: SocketAddress { address: self.host.clone(), port_value: self.port } }
    }

    /// The cluster that is this endpoint alone. A name is looked up again and again; an address never.
    pub(super) fn cluster(&self, name: &str) -> Cluster {
        let kind = self.host.parse::<IpAddr>().is_err().then_some("STRICT_DNS");
        Cluster { kind, ..Cluster::of(name, self.address()) }
    }
}

impl Place {
    pub(super) fn admin(&self) -> Address {
        Address::Pipe { pipe: Pipe { path: self.admin_socket.clone(), mode: Some(0o600) } }
    }

    /// The agent, spoken to in gRPC.
    pub(super) fn agent(&self) -> Cluster {
        let pipe = Pipe { path: self.workload_socket.clone(), mode: None };
        Cluster::of(AGENT, Address::Pipe { pipe }).with_http2()
    }
}

impl SdsSecret {
    /// A secret of the agent's.
    pub(super) fn of(name: &'static str) -> Self {
        let grpc_services = [GrpcService { envoy_grpc: EnvoyGrpc { cluster_name: AGENT } }];
        let api_config_source = ApiSource { api_type: "GRPC", transport_api_version: "V3", grpc_services };
        Self { name, sds_config: SdsConfig { resource_api_version: "V3", api_config_source } }
    }
}

impl Cluster {
    fn of(name: &str, address: Address) -> Self {
        let endpoint = LbEndpoint { endpoint: EndpointPart { address } };
        let endpoints = [Endpoints { lb_endpoints: [endpoint] }];
        let load_assignment = LoadAssignment { cluster_name: name.to_owned(), endpoints };
        let name = name.to_owned();
        Self { name, kind: None, load_assignment, typed_extension_protocol_options: None, transport_socket: None }
    }

    pub(super) fn with_http2(self) -> Self {
        let options = Any::of(HTTP_OPTIONS, HttpProtocol::from(Http2::default()));
        Self { typed_extension_protocol_options: Some(BTreeMap::from([(HTTP_OPTIONS, options)])), ..self }
    }
}
