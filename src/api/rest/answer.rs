//! What all REST handlers share: answers in JSON, and who asks.

use super::body::BodyError;
use crate::api::crowd::Caller;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::{header, request::Parts};
use serde::Serialize;
use std::sync::Arc;

/// An answer, or a problem document.
pub(super) type Answer = Result<Response, Refused>;

/// Whose connection a request came over, as the accept loop says on every request.
pub(super) struct Asker(pub(super) Arc<Caller>);

impl FromRequestParts<Arc<Desk>> for Asker {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Refused> {
        let caller = parts.extensions.get::<Arc<Caller>>().cloned();
        let unknown = "the connection's key is not known";
        caller.map(Self).ok_or_else(|| Refused::new(Class::Broken, "internal", unknown, &desk.request_id()))
    }
}

/// A body in JSON that nobody keeps: it may hold a credential (RFC 6749 §5.1).
pub(super) fn json_answer(desk: &Desk, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).map_err(|_odd| {
        let detail = "the answer cannot be written as JSON";
        Refused::new(Class::Broken, "internal", detail, &desk.request_id())
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// How a body that is not read is refused.
pub(super) fn body_refused(desk: &Arc<Desk>) -> impl Fn(BodyError) -> Refused {
    let desk = Arc::clone(desk);
    move |error| {
        let (class, code) = match &error {
            BodyError::Broken => (Class::Malformed, "body_incomplete"),
            BodyError::Doubled { .. } | BodyError::Malformed { .. } | BodyError::Missing { .. } => {
                (Class::Malformed, "body_malformed")
            }
            BodyError::MediaType { .. } => (Class::MediaType, "content_type"),
            BodyError::TooLarge { .. } => (Class::TooLarge, "body_too_large"),
        };
        Refused::new(class, code, error.to_string(), &desk.request_id())
    }
}
