//! `GET /v1/bundle`, and `/` of the bundle port: the SPIFFE bundle document of our trust domain.

use super::cached::Named;
use crate::api::desk::Desk;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use std::sync::Arc;

/// The bundle, or 304 to whoever holds it already.
pub(super) async fn show(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let published = desk.bundle();
    desk.authority.holders().was_read(desk.issuance.now());
    let kept = format!("max-age={}", published.bundle.refresh_hint.as_secs());
    let (etag, body) = (&*published.etag, published.json.clone());
    Named { etag, kept: &kept, content_type: "application/json", body }.for_whom(&headers)
}
