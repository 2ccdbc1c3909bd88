//! `/.well-known/openid-configuration` and `/keys` of the bundle port: what whoever reads OIDC verifies our
//! JWT-SVIDs with.

use super::cached::Named;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::authority::{Document, IssuerDocuments};
use crate::bundle::IssuerUrl;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
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
    named(&desk, &headers, |all| &all.configuration)
}

async fn keys(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Result<Response, Refused> {
    named(&desk, &headers, |all| &all.keys)
}

/// One of the documents of the keys of now, for as long as it may be kept.
fn named(desk: &Desk, headers: &HeaderMap, one: impl Fn(&IssuerDocuments) -> &Document) -> Result<Response, Refused> {
    let issuer = desk.issuance.consumers.issuer.as_ref().ok_or_else(|| {
        let detail =
            "this server's JWT-SVIDs name no issuer; [jwt] issuer = \"https://…\" in its configuration says one";
        Refused::new(Class::Absent, "issuer_off", detail, &desk.request_id())
    })?;
    let published = desk.bundle();
    let (Document { body, etag }, hint) = (one(published.issuer_documents(issuer)), published.bundle.refresh_hint);
    let kept = format!("max-age={}", hint.as_secs());
    Ok(Named { etag, kept: &kept, content_type: "application/json", body: body.clone() }.for_whom(headers))
}
