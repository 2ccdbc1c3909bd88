//! The Envoy beside a job: whoever reaches its port calls one service as this job.

use super::parts::{
    Admin, Bootstrap, CombinedValidation, DefaultValidation, Extension, FilterChain, HttpConnectionManager, HttpFilter,
    Listener, Node, Route, RouteAction, RouteConfig, RouteMatch, Router, SanMatcher, SdsSecret, StaticResources,
    StringMatcher, TlsContext, UpstreamTls, Validation, VirtualHost,
};
use super::{Endpoint, Place};
use crate::identity::SpiffeId;
use crate::mesh::{Document, NotRendered};

/// The agent's names for the SVID and for the trust bundle.
pub(super) const SVID: &str = "default";
pub(super) const BUNDLE: &str = "ROOTCA";

/// What it is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Where it runs.
    pub place: Place,
    /// Where the job calls it.
    pub listen: Endpoint,
    /// Whom it calls, by a name for statistics.
    pub service: String,
    /// Where that is.
    pub upstream: Endpoint,
    /// Who that must be.
    pub server_id: SpiffeId,
}

impl Caller {
    /// The whole bootstrap.
    ///
    /// # Errors
    /// Never for what it is made of.
    pub fn bootstrap(&self) -> Result<Document, NotRendered> {
        let Self { place, listen, service, upstream, .. } = self;
        let manager = HttpConnectionManager {
            stat_prefix: format!("to_{service}"),
            guard: None,
            http_filters: vec![HttpFilter::router()],
            route_config: RouteConfig::to(service),
        };
        let tls = UpstreamTls { max_session_keys: 0, common_tls_context: self.tls() };
        let mut cluster = upstream.cluster(service).with_http2();
        cluster.transport_socket = Some(Extension::of(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            tls,
        ));
        let chain = FilterChain { transport_socket: None, filters: [manager.extension()] };
        let listener = Listener { address: listen.address(), filter_chains: [chain] };
        let resources = StaticResources { listeners: [listener], clusters: [cluster, place.agent()] };
        Ok(Document::of(&Bootstrap::of(place, resources))?)
    }

    /// Without the exact name any job of the trust domain could stand in for the service.
    fn tls(&self) -> TlsContext {
        let matcher = StringMatcher::Exact { exact: self.server_id.as_str().to_owned() };
        let match_typed_subject_alt_names = [SanMatcher { san_type: "URI", matcher }];
        TlsContext {
            alpn_protocols: vec!["h2"],
            tls_certificate_sds_secret_configs: [SdsSecret::of(SVID)],
            validation: Validation::Named {
                combined_validation_context: CombinedValidation {
                    default_validation_context: DefaultValidation { match_typed_subject_alt_names },
                    validation_context_sds_secret_config: SdsSecret::of(BUNDLE),
                },
            },
        }
    }
}

impl Bootstrap {
    pub(super) fn of(place: &Place, static_resources: StaticResources) -> Self {
        let node = Node { id: place.node.clone(), cluster: place.cluster.clone() };
        Self { node, admin: Admin { address: place.admin() }, layered_runtime: None, static_resources }
    }
}

impl HttpConnectionManager {
    pub(super) fn extension(self) -> Extension<Self> {
        let message = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        Extension::of("envoy.filters.network.http_connection_manager", message, self)
    }
}

impl HttpFilter {
    pub(super) fn router() -> Self {
        let message = "envoy.extensions.filters.http.router.v3.Router";
        Self::Router(Extension::of("envoy.filters.http.router", message, Router {}))
    }
}

impl RouteConfig {
    /// All there is, to one cluster.
    pub(super) fn to(cluster: &str) -> Self {
        let route = RouteAction { cluster: cluster.to_owned() };
        let routes = [Route { matched: RouteMatch { prefix: "/" }, route }];
        Self { virtual_hosts: [VirtualHost { name: cluster.to_owned(), domains: ["*"], routes }] }
    }
}
