//! `POST /v1/oauth/token`: OAuth 2.0 token exchange (RFC 8693), a CI token for a JWT-SVID.

use super::answer::{Asker, body_refused, json_answer};
use super::body::{self, Form};
use crate::api::crowd::Caller;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::issuance::{Bearer, Credential, Wanted};
use crate::telemetry::Door;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;

/// RFC 8693 §2.1.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 §3.
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// RFC 8693 §3.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// RFC 8693 §2.2.1. A JWT-SVID is no OAuth access token, hence `N_A`.
#[derive(Serialize)]
struct Given<'a> {
    access_token: &'a str,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: i64,
}

/// Trades a token for a JWT-SVID.
pub(super) async fn token(State(desk): State<Arc<Desk>>, Asker(caller): Asker, request: Request) -> Response {
    exchange(&desk, &caller, request).await.unwrap_or_else(Refused::into_oauth)
}

async fn exchange(desk: &Arc<Desk>, caller: &Caller, request: Request) -> Result<Response, Refused> {
    let mut form = body::form(request).await.map_err(body_refused(desk))?;
    let (bearer, wanted) = asked(desk, &mut form)?;
    let issued = desk.issue(Door::Rest, bearer, wanted, caller).await?;
    let access_token = match issued.credential() {
        Credential::Jwt(jwt) => jwt,
        Credential::X509(_) => "",
    };
    let expires_in = (issued.not_after() - desk.issuance.now()).whole_seconds().max(0);
    json_answer(desk, &Given { access_token, issued_token_type: JWT, token_type: "N_A", expires_in })
}

fn asked(desk: &Arc<Desk>, form: &mut Form) -> Result<(Bearer, Wanted), Refused> {
    let id = desk.request_id();
    let refused = |class, code, detail: &'static str| Refused::new(class, code, detail, &id);
    let missing = body_refused(desk);
    if form.needed("grant_type").map_err(&missing)? != TOKEN_EXCHANGE {
        let detail = "grant_type must be urn:ietf:params:oauth:grant-type:token-exchange";
        return Err(refused(Class::GrantType, "grant_type_unsupported", detail));
    }
    if !matches!(form.needed("subject_token_type").map_err(&missing)?.as_str(), ID_TOKEN | JWT) {
        let detail = "subject_token_type must be urn:ietf:params:oauth:token-type:id_token or \
                      urn:ietf:params:oauth:token-type:jwt";
        return Err(refused(Class::Malformed, "subject_token_type_unsupported", detail));
    }
    if form.one("requested_token_type").map_err(&missing)?.is_some_and(|wanted| wanted != JWT) {
        let detail = "requested_token_type must be urn:ietf:params:oauth:token-type:jwt";
        return Err(refused(Class::Malformed, "requested_token_type_unsupported", detail));
    }
    if form.one("actor_token").map_err(&missing)?.is_some() {
        return Err(refused(Class::Malformed, "actor_token_unsupported", "an actor_token is not taken"));
    }
    if !form.all("resource").is_empty() {
        return Err(refused(Class::Forbidden, "resource_unsupported", "name the service by audience, not by resource"));
    }
    let audiences = form.all("audience");
    if audiences.is_empty() {
        return Err(refused(Class::Malformed, "audience_missing", "the parameter audience is missing"));
    }
    let token = form.needed("subject_token").map_err(&missing)?;
    Ok((Bearer::Token(token), Wanted::Jwt { audiences, profile: None }))
}
