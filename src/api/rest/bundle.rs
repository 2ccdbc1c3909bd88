//! `GET /v1/bundle`: the SPIFFE bundle document of our trust domain.

use crate::api::desk::Desk;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;

/// The bundle, or 304 to whoever holds it already (RFC 9110 §13.1.2).
pub(super) async fn show(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let published = desk.bundle();
    desk.authority.holders().was_read(desk.issuance.now());
    let fresh_for = format!("max-age={}", published.bundle.refresh_hint.as_secs());
    let facts = [(header::ETAG, published.etag.clone()), (header::CACHE_CONTROL, fresh_for)];
    let held = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|held| held.to_str().ok());
    if held.flat_map(|held| held.split(',')).any(|held| names(held.trim(), &published.etag)) {
        return (StatusCode::NOT_MODIFIED, facts).into_response();
    }
    (facts, [(header::CONTENT_TYPE, "application/json")], published.json.clone()).into_response()
}

/// Weak comparison, as RFC 9110 §13.1.2 asks.
fn names(held: &str, etag: &str) -> bool {
    held == "*" || held.strip_prefix("W/").unwrap_or(held) == etag
}
