//! `/.well-known/openid-configuration` and `/keys` of the bundle port: what whoever reads OIDC verifies our
//! JWT-SVIDs with.

use super::cached::Named;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::bundle::{Discovery, IssuerUrl};
use crate::crypto::Digest;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;

/// Below the issuer's path, and at the root for those before whom a proxy takes the path away.
pub(super) fn routes(desk: &Desk) -> Router<Arc<Desk>> {
    let below = |path: &str| {
        Router::new()
            .route(&format!("{path}/.well-known/openid-configuration"), get(configuration))
            .route(&format!("{path}/keys"), get(keys))
    };
    let path = desk.issuance.consumers.issuer.as_ref().map(IssuerUrl::path).unwrap_or_default();
    if path.is_empty() { below("") } else { below("").merge(below(path)) }
}

async fn configuration(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Result<Response, Refused> {
    documents(&desk).map(|(all, kept)| named(all.configuration, &kept, &headers))
}

async fn keys(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Result<Response, Refused> {
    documents(&desk).map(|(all, kept)| named(all.keys, &kept, &headers))
}

/// Both documents, of the keys of now, and how long they may be kept.
fn documents(desk: &Desk) -> Result<(Discovery, String), Refused> {
    let issuer = desk.issuance.consumers.issuer.as_ref().ok_or_else(|| {
        let detail =
            "this server's JWT-SVIDs name no issuer; [jwt] issuer = \"https://…\" in its configuration says one";
        Refused::new(Class::Absent, "issuer_off", detail, &desk.request_id())
    })?;
    let bundle = &desk.bundle().bundle;
    Ok((bundle.discovery(issuer), format!("max-age={}", bundle.refresh_hint.as_secs())))
}

fn named(document: Vec<u8>, kept: &str, headers: &HeaderMap) -> Response {
    let (etag, body) = (format!("\"{}\"", Digest::of(&document)), Bytes::from(document));
    Named { etag: &etag, kept, content_type: "application/json", body }.for_whom(headers)
}
