//! The span of a request, below that of whoever asks.

use crate::telemetry::Door;
use http::{HeaderMap, header::AsHeaderName};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Requests are called by these names. A caller can write anything into a path, so no other is repeated.
const KNOWN: [&str; 11] = [
    "/lanyard.v1.Issuer/Acknowledge",
    "/lanyard.v1.Issuer/EndSession",
    "/lanyard.v1.Issuer/Exchange",
    "/lanyard.v1.Issuer/FetchJwt",
    "/lanyard.v1.Issuer/Renew",
    "/lanyard.v1.Issuer/Watch",
    "/v1/bundle",
    "/v1/explain",
    "/v1/oauth/token",
    "/v1/svid/jwt",
    "/v1/svid/x509",
];

/// The span of a request, below the one that its caller names (`traceparent`, W3C Trace Context §3.2); none where nobody
/// collects traces.
pub fn request_span(door: Door, path: &str, headers: &HeaderMap) -> Span {
    let span = tracing::trace_span!("request", "otel.name" = known(path), "otel.kind" = "server", lanyard.door = ?door);
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        // Without a layer that makes traces of spans there is nothing to be below.
        let _untraced = span.set_parent(parent).is_err();
    }
    span
}

/// The span of the work at hand; none where nobody collects traces.
pub fn traced() -> Option<Span> {
    tracing::span_enabled!(tracing::Level::TRACE).then(Span::current)
}

fn known(path: &str) -> &'static str {
    KNOWN.into_iter().find(|known| *known == path).unwrap_or("other")
}

struct Headers<'a>(&'a HeaderMap);

impl Headers<'_> {
    fn text(&self, name: impl AsHeaderName) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.text(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
