//! `/live`, `/ready` and `/metrics`, for probes and Prometheus on a plain loopback port.

use crate::telemetry::{Metrics, Readiness};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

/// The routes of the health port.
pub(in crate::api) fn routes(readiness: Readiness, metrics: Metrics) -> Router {
    let probes = Router::new().route("/live", get(|| async { "live\n" })).route("/ready", get(ready));
    let probes = probes.with_state(readiness);
    probes.merge(Router::new().route("/metrics", get(page)).with_state(metrics))
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        let worries = readiness.worries();
        let but = if worries.is_empty() { String::new() } else { format!(", but {}", worries.join(", ")) };
        let stands = readiness.standing().map(|so| format!(" ({so})")).unwrap_or_default();
        return format!("ready{stands}{but}\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", missing.join(", "))).into_response()
}

async fn page(State(metrics): State<Metrics>) -> Response {
    // OpenMetrics 1.0, section "Content-Type".
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.render()).into_response()
}
