//! The span of a request, below that of whoever asks.

use crate::telemetry::Door;
use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";

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
        let parent = TraceContextPropagator::new().extract(&Parent(headers));
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

/// The parent alone: `tracestate` is for whoever set it, as long as its sender likes, and would be in every span.
struct Parent<'a>(&'a HeaderMap);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key == TRACEPARENT { self.0.get(TRACEPARENT)?.to_str().ok() } else { None }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}
