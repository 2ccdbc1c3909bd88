//! `POST /v1/hooks/gitlab/{issuer}`: what GitLab's webhooks say of jobs.

use super::answer::{Answer, Asker, body_refused, json_answer};
use super::body;
use crate::api::desk::Desk;
use crate::api::limits::HOOK_BYTES_MAX;
use crate::hooks::{Delivery, Signed};
use axum::extract::{Path, Request, State};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Told {
    sessions_ended: usize,
}

/// Hears one delivery. Whatever is genuine gets a 200: GitLab switches off a hook that gets other answers.
pub(super) async fn hear(
    State(desk): State<Arc<Desk>>,
    Asker(caller): Asker,
    Path(issuer): Path<String>,
    request: Request,
) -> Answer {
    let headers = request.headers().clone();
    let body = body::whole(request, "application/json", HOOK_BYTES_MAX).await.map_err(body_refused(&desk))?;
    let secret = headers.get("x-gitlab-token").map(HeaderValue::as_bytes);
    let delivery = Delivery { secret, signed: signed(&headers), body: &body };
    let heard = desk.hear(&caller, &issuer, &delivery).await?;
    json_answer(&desk, &Told { sessions_ended: heard.ended })
}

fn signed(headers: &HeaderMap) -> Option<Signed<'_>> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    Some(Signed {
        id: text("webhook-id")?,
        timestamp: text("webhook-timestamp")?,
        signature: text("webhook-signature")?,
    })
}
