//! The Envoy before a service: it lets in those whom our rules name, for a while.

use super::caller::{BUNDLE, SVID};
use super::parts::{
    Authenticated, Bootstrap, CertificateDetails, DownstreamTls, Extension, FilterChain, Guard, HttpConnectionManager,
    HttpFilter, HttpOptions, LayeredRuntime, Listener, Permission, Principal, ProgramSize, Rbac, RbacPolicy, RbacRules,
    Re2, Regex, RouteConfig, RuntimeLayer, SdsSecret, StaticLayer, StaticResources, StringMatcher, TlsContext,
    Validation,
};
use super::{Endpoint, Place};
use crate::identity::TrustDomain;
use crate::mesh::{Admitted, Document, NotRendered, Peer};
use crate::policy::{IdPart, IdSet};
use std::time::Duration;

/// How long an old connection may end what it has begun.
const DRAIN: &str = "5s";

/// One name in a path: anything but the lone `-` that ends a path. Envoy's regular expressions look neither ahead nor back,
/// and the more ranges they have the longer is their program; between `0` and `z` an ID has letters, digits and `_` alone.
const NAME: &str = "(?:-[.0-z-]|[.0-z])[.0-z-]*";
const DIGITS: &str = "[1-9][0-9]*";

/// The longest program of an expression that Envoy takes here: twice the longest ID (2048 bytes). By itself it takes 100,
/// which is less than many a literal path.
const PROGRAM_MAX: u32 = 4096;

/// What it is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Callee {
    /// Where it runs.
    pub place: Place,
    /// Where callers come in.
    pub listen: Endpoint,
    /// The service, by a name for statistics.
    pub service: String,
    /// Where that is.
    pub upstream: Endpoint,
    /// The longest life of a connection.
    pub connection_age: Duration,
}

impl Callee {
    /// The whole bootstrap.
    ///
    /// # Errors
    /// Never for what it is made of.
    pub fn bootstrap(&self, admitted: &[Admitted], trust_domain: &TrustDomain) -> Result<Document, NotRendered> {
        let Self { place, listen, service, upstream, .. } = self;
        let rbac = Rbac { rules: RbacRules::of(admitted, trust_domain) };
        let rbac = Extension::of("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC", rbac);
        let manager = HttpConnectionManager {
            stat_prefix: service.clone(),
            guard: Some(self.guard()),
            http_filters: vec![HttpFilter::Rbac(rbac), HttpFilter::router()],
            route_config: RouteConfig::to(service),
        };
        let chain = FilterChain { transport_socket: Some(tls()), filters: [manager.extension()] };
        let listener = Listener { address: listen.address(), filter_chains: [chain] };
        let clusters = [upstream.cluster(service), place.agent()];
        let has_expressions = admitted.iter().flat_map(|one| &one.peers).any(|peer| matches!(peer, Peer::Shape(_)));
        let layered_runtime = has_expressions.then(LayeredRuntime::for_expressions);
        let bootstrap = Bootstrap::of(place, StaticResources { listeners: [listener], clusters });
        Ok(Document::of(&Bootstrap { layered_runtime, ..bootstrap })?)
    }

    fn guard(&self) -> Guard {
        let max_connection_duration = format!("{}s", self.connection_age.as_secs());
        Guard {
            common_http_protocol_options: HttpOptions { max_connection_duration },
            drain_timeout: DRAIN.to_owned(),
            forward_client_cert_details: "SANITIZE_SET",
            set_current_client_cert_details: CertificateDetails { uri: true },
        }
    }
}

impl LayeredRuntime {
    fn for_expressions() -> Self {
        let re2 = Re2 { max_program_size: ProgramSize { error_level: PROGRAM_MAX } };
        Self { layers: [RuntimeLayer { name: "expressions", static_layer: StaticLayer { re2 } }] }
    }
}

/// A resumed connection would be judged by a certificate of before.
fn tls() -> Extension<DownstreamTls> {
    let context = TlsContext {
        alpn_protocols: vec!["h2", "http/1.1"],
        tls_certificate_sds_secret_configs: [SdsSecret::of(SVID)],
        validation: Validation::Anybody { validation_context_sds_secret_config: SdsSecret::of(BUNDLE) },
    };
    let downstream = DownstreamTls {
        require_client_certificate: true,
        disable_stateless_session_resumption: true,
        disable_stateful_session_resumption: true,
        common_tls_context: context,
    };
    let message = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    Extension::of("envoy.transport_sockets.tls", message, downstream)
}

impl RbacRules {
    fn of(admitted: &[Admitted], trust_domain: &TrustDomain) -> Self {
        let policy = |one: &Admitted| {
            let matchers = one.peers.iter().filter_map(|peer| matcher(peer, trust_domain));
            let principals =
                matchers.map(|principal_name| Principal { authenticated: Authenticated { principal_name } });
            (one.rule.clone(), RbacPolicy { permissions: [Permission { any: true }], principals: principals.collect() })
        };
        Self { action: "ALLOW", policies: admitted.iter().map(policy).collect() }
    }
}

fn matcher(peer: &Peer, trust_domain: &TrustDomain) -> Option<StringMatcher> {
    match peer {
        Peer::Beginning(path) => Some(StringMatcher::Prefix { prefix: format!("spiffe://{trust_domain}{path}") }),
        Peer::DnsBelow(_) => None,
        Peer::Exact(id) => Some(StringMatcher::Exact { exact: id.as_str().to_owned() }),
        Peer::Shape(ids) => {
            let regex = format!("spiffe://{}{}", quoted(trust_domain.as_str()), regex(ids));
            Some(StringMatcher::Regex { safe_regex: Regex { regex } })
        }
    }
}

/// Envoy holds it against the whole URI.
fn regex(ids: &IdSet) -> String {
    let part = |part: &IdPart| match part {
        IdPart::Digits => DIGITS.to_owned(),
        IdPart::Literal(text) => quoted(text),
        IdPart::Name => NAME.to_owned(),
        IdPart::Path => format!("{NAME}(?:/{NAME})*"),
        IdPart::Rest => ".+".to_owned(),
    };
    ids.parts().iter().map(part).collect()
}

/// In trust domains and paths only a dot means something to a regular expression.
fn quoted(text: &str) -> String {
    text.replace('.', "\\.")
}
