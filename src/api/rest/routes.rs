//! Which path is whose. What has no path is told so as a problem document too.

use super::{bundle, crl, discovery, explain, hooks, oauth, svid};
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use std::sync::Arc;

/// The routes of the issuer port.
pub(in crate::api) fn routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/bundle", get(bundle::show))
        .route("/v1/explain", post(explain::walk))
        .route("/v1/hooks/gitlab/{issuer}", post(hooks::hear))
        .route("/v1/oauth/token", post(oauth::token))
        .route("/v1/svid/jwt", post(svid::jwt))
        .route("/v1/svid/x509", post(svid::x509))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .with_state(desk)
}

/// The routes of the bundle port.
pub(in crate::api) fn public_routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/", get(bundle::show))
        .route("/crl", get(crl::all))
        .route("/crl/{authority}", get(crl::one))
        .merge(discovery::routes(&desk))
        .fallback(nothing_public)
        .method_not_allowed_fallback(other_method)
        .with_state(desk)
}

/// The routes of the bundle endpoint's SPIFFE profile.
pub(in crate::api) fn spiffe_routes(desk: Arc<Desk>) -> Router {
    let root = Router::new().route("/", get(bundle::show));
    root.fallback(nothing_spiffe).method_not_allowed_fallback(other_method).with_state(desk)
}

async fn nothing_spiffe(State(desk): State<Arc<Desk>>) -> Refused {
    let detail = "there is nothing at this path; the trust bundle is at /, and all else on the other bundle port";
    Refused::new(Class::Absent, "path_unknown", detail, &desk.request_id())
}

async fn nothing_public(State(desk): State<Arc<Desk>>) -> Refused {
    let detail = "there is nothing at this path; the trust bundle is at /, the revocation lists are at /crl, and what \
                  OpenID Connect reads is at /.well-known/openid-configuration and /keys";
    Refused::new(Class::Absent, "path_unknown", detail, &desk.request_id())
}

async fn nothing_here(State(desk): State<Arc<Desk>>) -> Refused {
    let detail = "there is nothing at this path; SVIDs are at POST /v1/svid/x509 and /v1/svid/jwt";
    Refused::new(Class::Absent, "path_unknown", detail, &desk.request_id())
}

async fn other_method(State(desk): State<Arc<Desk>>) -> Refused {
    let detail = "this path takes another method; the Allow header says which";
    Refused::new(Class::Method, "method_not_allowed", detail, &desk.request_id())
}
