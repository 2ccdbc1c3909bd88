//! `POST /v1/svid/x509` and `POST /v1/svid/jwt`: what curl and openssl alone can ask for.

use super::answer::{Answer, Asker, body_refused, json_answer};
use super::body;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::crypto::PemLabel;
use crate::issuance::{Bearer, Credential, Csr, IssuedSvid, Wanted};
use crate::telemetry::Door;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use time::serde::rfc3339;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct X509Asked {
    token: String,
    csr: String,
    profile: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JwtAsked {
    token: String,
    audience: Vec<String>,
    profile: Option<String>,
}

/// What both answers say.
#[derive(Serialize)]
struct Facts<'a> {
    spiffe_id: &'a str,
    #[serde(with = "rfc3339")]
    not_after: OffsetDateTime,
    limited_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct X509Given<'a> {
    certificate_chain: String,
    trust_bundle: &'a str,
    /// PEM, by trust domain.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    federated_bundles: BTreeMap<String, String>,
    #[serde(flatten)]
    facts: Facts<'a>,
}

#[derive(Serialize)]
struct JwtGiven<'a> {
    jwt_svid: &'a str,
    #[serde(flatten)]
    facts: Facts<'a>,
}

/// Trades a token and a certificate request for an X.509-SVID.
pub(super) async fn x509(State(desk): State<Arc<Desk>>, Asker(caller): Asker, request: Request) -> Answer {
    let asked: X509Asked = body::json(request, "token and csr").await.map_err(body_refused(&desk))?;
    let wanted = Wanted::X509 { csr: Csr::Pem(asked.csr), profile: asked.profile };
    let issued = desk.issue(Door::Rest, Bearer::Token(asked.token), wanted, &caller).await?;
    let Credential::X509(chain) = issued.credential() else { return json_answer(&desk, &Facts::of(&issued)) };
    json_answer(
        &desk,
        &X509Given {
            certificate_chain: chain.iter().map(|der| PemLabel::Certificate.armour(der).to_string()).collect(),
            trust_bundle: &desk.bundle().pem,
            federated_bundles: federated_bundles(&desk, &issued),
            facts: Facts::of(&issued),
        },
    )
}

fn federated_bundles(desk: &Desk, issued: &IssuedSvid) -> BTreeMap<String, String> {
    let all = desk.federation.now().among(issued.federates_with());
    all.iter().map(|foreign| (foreign.bundle.trust_domain.to_string(), foreign.bundle.to_pem())).collect()
}

/// Trades a token for a JWT-SVID.
pub(super) async fn jwt(State(desk): State<Arc<Desk>>, Asker(caller): Asker, request: Request) -> Answer {
    let asked: JwtAsked = body::json(request, "token and audience").await.map_err(body_refused(&desk))?;
    if asked.audience.is_empty() {
        return Err(Refused::new(Class::Malformed, "audience_missing", "audience is empty", &desk.request_id()));
    }
    let wanted = Wanted::Jwt { audiences: asked.audience, profile: asked.profile };
    let issued = desk.issue(Door::Rest, Bearer::Token(asked.token), wanted, &caller).await?;
    let Credential::Jwt(jwt_svid) = issued.credential() else { return json_answer(&desk, &Facts::of(&issued)) };
    json_answer(&desk, &JwtGiven { jwt_svid, facts: Facts::of(&issued) })
}

impl<'a> Facts<'a> {
    fn of(issued: &'a IssuedSvid) -> Self {
        Self {
            spiffe_id: issued.spiffe_id().as_str(),
            not_after: issued.not_after(),
            limited_by: issued.limited_by().as_str(),
            profile: issued.profile(),
            session: issued.session(),
            request_id: issued.request_id(),
        }
    }
}
