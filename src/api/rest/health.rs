//! `/live`, `/ready` and `/metrics`, for probes and Prometheus on a plain loopback port.

use crate::telemetry::{Metrics, Readiness, Standing};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;

/// The routes of the health port.
pub(in crate::api) fn routes(readiness: Readiness, metrics: Metrics) -> Router {
    let probes = Router::new().route("/live", get(|| async { "live\n" })).route("/ready", get(ready));
    let probes = probes.with_state(readiness);
    probes.merge(Router::new().route("/metrics", get(page)).with_state(metrics))
}

/// In words, for people and probes; as JSON for whoever asks for that.
#[derive(Serialize)]
struct Health {
    ready: bool,
    answer: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_for: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    worries: Vec<&'static str>,
    #[serde(flatten)]
    stands: Option<Standing>,
}

async fn ready(State(readiness): State<Readiness>, headers: HeaderMap) -> Response {
    let (waiting_for, worries, stands) = (readiness.missing(), readiness.worries(), readiness.standing());
    let ready = waiting_for.is_empty();
    let among = stands.as_ref().map(|so| format!(" ({so})")).unwrap_or_default();
    let answer = if ready {
        let but = if worries.is_empty() { String::new() } else { format!(", but {}", worries.join(", ")) };
        format!("ready{among}{but}")
    } else {
        format!("waiting for {}{among}", waiting_for.join(", "))
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if headers.get(header::ACCEPT).is_some_and(|accepted| accepted == "application/json") {
        return (status, Json(Health { ready, answer, waiting_for, worries, stands })).into_response();
    }
    (status, answer + "\n").into_response()
}

async fn page(State(metrics): State<Metrics>) -> Response {
    // OpenMetrics 1.0, section "Content-Type".
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.render()).into_response()
}
