//! `POST /v1/explain`: why a token would get what it gets.

use super::answer::{Answer, Asker, body_refused, json_answer};
use super::body;
use crate::api::desk::Desk;
use axum::extract::{Request, State};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    token: String,
}

/// The walk of the policy, as far as it concerns the holder of a genuine token.
pub(super) async fn walk(State(desk): State<Arc<Desk>>, Asker(caller): Asker, request: Request) -> Answer {
    let asked: Asked = body::json(request, "token").await.map_err(body_refused(&desk))?;
    json_answer(&desk, &desk.explain_to(&caller, &asked.token).await?.for_bearer())
}
