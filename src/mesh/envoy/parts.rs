//! Envoy's messages (API v3), as far as a caller's and a callee's bootstrap need them, in the order in which a person reads.

use serde::Serialize;
use std::collections::BTreeMap;

/// A message that says its own type.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Any<T> {
    #[serde(rename = "@type")]
    kind: String,
    #[serde(flatten)]
    message: T,
}

/// A part of Envoy by its name, with its configuration.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Extension<T> {
    name: &'static str,
    typed_config: Any<T>,
}

impl<T> Any<T> {
    pub(super) fn of(message_type: &str, message: T) -> Self {
        Self { kind: format!("type.googleapis.com/{message_type}"), message }
    }
}

impl<T> Extension<T> {
    pub(super) fn of(name: &'static str, message_type: &str, message: T) -> Self {
        Self { name, typed_config: Any::of(message_type, message) }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Bootstrap {
    pub(super) node: Node,
    pub(super) admin: Admin,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layered_runtime: Option<LayeredRuntime>,
    pub(super) static_resources: StaticResources,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LayeredRuntime {
    pub(super) layers: [RuntimeLayer; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RuntimeLayer {
    pub(super) name: &'static str,
    pub(super) static_layer: StaticLayer,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct StaticLayer {
    pub(super) re2: Re2,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Re2 {
    pub(super) max_program_size: ProgramSize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ProgramSize {
    pub(super) error_level: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) cluster: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Admin {
    pub(super) address: Address,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct StaticResources {
    pub(super) listeners: [Listener; 1],
    pub(super) clusters: [Cluster; 2],
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Address {
    Pipe { pipe: Pipe },
    Socket { socket_address: SocketAddress },
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Pipe {
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<u32>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SocketAddress {
    pub(super) address: String,
    pub(super) port_value: u16,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Listener {
    pub(super) address: Address,
    pub(super) filter_chains: [FilterChain; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct FilterChain {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transport_socket: Option<Extension<DownstreamTls>>,
    pub(super) filters: [Extension<HttpConnectionManager>; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct HttpConnectionManager {
    pub(super) stat_prefix: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) guard: Option<Guard>,
    pub(super) http_filters: Vec<HttpFilter>,
    pub(super) route_config: RouteConfig,
}

/// What stands before a service only.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Guard {
    pub(super) common_http_protocol_options: HttpOptions,
    pub(super) drain_timeout: String,
    pub(super) forward_client_cert_details: &'static str,
    pub(super) set_current_client_cert_details: CertificateDetails,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct HttpOptions {
    pub(super) max_connection_duration: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct CertificateDetails {
    pub(super) uri: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum HttpFilter {
    Rbac(Extension<Rbac>),
    Router(Extension<Router>),
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Router {}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Rbac {
    pub(super) rules: RbacRules,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RbacRules {
    pub(super) action: &'static str,
    pub(super) policies: BTreeMap<String, RbacPolicy>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RbacPolicy {
    pub(super) permissions: [Permission; 1],
    pub(super) principals: Vec<Principal>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Permission {
    pub(super) any: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Principal {
    pub(super) authenticated: Authenticated,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Authenticated {
    pub(super) principal_name: StringMatcher,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum StringMatcher {
    Exact { exact: String },
    Prefix { prefix: String },
    Regex { safe_regex: Regex },
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Regex {
    pub(super) regex: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RouteConfig {
    pub(super) virtual_hosts: [VirtualHost; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct VirtualHost {
    pub(super) name: String,
    pub(super) domains: [&'static str; 1],
    pub(super) routes: [Route; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Route {
    #[serde(rename = "match")]
    pub(super) matched: RouteMatch,
    pub(super) route: RouteAction,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RouteMatch {
    pub(super) prefix: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RouteAction {
    pub(super) cluster: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Cluster {
    pub(super) name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    pub(super) load_assignment: LoadAssignment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) typed_extension_protocol_options: Option<BTreeMap<&'static str, Any<HttpProtocol>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transport_socket: Option<Extension<UpstreamTls>>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LoadAssignment {
    pub(super) cluster_name: String,
    pub(super) endpoints: [Endpoints; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Endpoints {
    pub(super) lb_endpoints: [LbEndpoint; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LbEndpoint {
    pub(super) endpoint: Endpoint,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Endpoint {
    pub(super) address: Address,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct HttpProtocol {
    explicit_http_config: Http2,
}

impl From<Http2> for HttpProtocol {
    fn from(explicit_http_config: Http2) -> Self {
        Self { explicit_http_config }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Http2 {
    http2_protocol_options: Defaults,
}

/// A message with nothing in it.
#[derive(Clone, Debug, Default, Serialize)]
struct Defaults {}

#[derive(Clone, Debug, Serialize)]
pub(super) struct DownstreamTls {
    pub(super) require_client_certificate: bool,
    pub(super) disable_stateless_session_resumption: bool,
    pub(super) disable_stateful_session_resumption: bool,
    pub(super) common_tls_context: TlsContext,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct UpstreamTls {
    pub(super) max_session_keys: u32,
    pub(super) common_tls_context: TlsContext,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct TlsContext {
    pub(super) alpn_protocols: Vec<&'static str>,
    pub(super) tls_certificate_sds_secret_configs: [SdsSecret; 1],
    #[serde(flatten)]
    pub(super) validation: Validation,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Validation {
    /// Somebody of the trust domain; RBAC says who.
    Anybody { validation_context_sds_secret_config: SdsSecret },
    /// Nobody but those of these names.
    Named { combined_validation_context: CombinedValidation },
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct CombinedValidation {
    pub(super) default_validation_context: DefaultValidation,
    pub(super) validation_context_sds_secret_config: SdsSecret,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct DefaultValidation {
    pub(super) match_typed_subject_alt_names: [SanMatcher; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SanMatcher {
    pub(super) san_type: &'static str,
    pub(super) matcher: StringMatcher,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SdsSecret {
    pub(super) name: &'static str,
    pub(super) sds_config: SdsConfig,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SdsConfig {
    pub(super) resource_api_version: &'static str,
    pub(super) api_config_source: ApiSource,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ApiSource {
    pub(super) api_type: &'static str,
    pub(super) transport_api_version: &'static str,
    pub(super) grpc_services: [GrpcService; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct GrpcService {
    pub(super) envoy_grpc: EnvoyGrpc,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct EnvoyGrpc {
    pub(super) cluster_name: &'static str,
}
