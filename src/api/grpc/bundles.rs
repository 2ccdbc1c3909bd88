//! Trust bundles at the admin door: ours, and by an operator's word those of other trust domains.

use super::reason;
use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::bundle::{Bundle, EndpointUrlError};
use crate::federation::{Endpoint, FederationError, Kept, Profile, Relation};
use crate::identity::{SpiffeId, TrustDomain};
use crate::issuance::{Refusal, RequestId};
use crate::telemetry::chain;
use crate::tls::ServerTrust;
use crate::wire::lanyard as wire;
use crate::wire::lanyard::set_bundle_request::Form;
use time::OffsetDateTime;
use tonic::Status;

/// Ours, or the one that is held of another trust domain.
pub(super) fn show(desk: &Desk, asked: &wire::ShowBundleRequest) -> Result<wire::ShowBundleAnswer, Status> {
    let published = desk.bundle();
    let own = &published.bundle.trust_domain;
    if asked.trust_domain.is_empty() || asked.trust_domain == own.as_str() {
        return Ok(wire::ShowBundleAnswer { trust_domain: own.to_string(), document: published.json.clone() });
    }
    let id = desk.request_id();
    let trust_domain = named(&asked.trust_domain, &id)?;
    let now = desk.federation.now();
    let foreign = now.of(&trust_domain).ok_or_else(|| refused(FederationError::Absent(trust_domain.clone()), &id))?;
    Ok(wire::ShowBundleAnswer { trust_domain: trust_domain.to_string(), document: foreign.json.clone() })
}

/// Every trust domain but ours.
pub(super) fn list(desk: &Desk) -> wire::ListBundlesAnswer {
    let (all, now) = (desk.federation.list(), desk.issuance.now());
    wire::ListBundlesAnswer {
        bundle: all.iter().map(|(trust_domain, relation)| shown(trust_domain, relation, now)).collect(),
    }
}

/// Takes one.
pub(super) async fn set(
    desk: &Desk,
    by: Operator,
    asked: wire::SetBundleRequest,
) -> Result<wire::SetBundleAnswer, Status> {
    let id = desk.request_id();
    let wire::SetBundleRequest { trust_domain, form, reason, endpoint } = asked;
    let trust_domain = named(&trust_domain, &id)?;
    let say = said(&reason, &id)?;
    let bundle = match form {
        Some(Form::Pem(text)) => Some(Bundle::read_pem(trust_domain.clone(), &text)),
        Some(Form::Spiffe(text)) => Some(Bundle::read_json(trust_domain.clone(), &text)),
        None => None,
    };
    let bundle = bundle.transpose().map_err(|odd| refused(odd.into(), &id))?;
    let (who, now) = (by.person(), desk.issuance.now());
    let (federation, word) = (&desk.federation, (&who, say));
    let was = match (endpoint, bundle) {
        (Some(endpoint), first) => {
            federation.set_endpoint(&trust_domain, (read_endpoint(endpoint, &id)?, first), word, now).await
        }
        (None, Some(bundle)) => federation.set(bundle, word, now).await,
        (None, None) => {
            let detail = "give a bundle, as PEM or as a SPIFFE bundle, or an endpoint to ask".to_owned();
            return Err(malformed("bundle_malformed", detail, &id));
        }
    };
    let was = was.map_err(|error| refused(error, &id))?;
    let is = desk.federation.now();
    let unchanged = was.as_ref().zip(is.of(&trust_domain)).is_some_and(|(was, is)| was == is);
    let bundle = desk.federation.relation(&trust_domain).map(|relation| shown(&trust_domain, &relation, now));
    Ok(wire::SetBundleAnswer { bundle, replaced: was.is_some(), unchanged })
}

/// Gives one up.
pub(super) async fn delete(
    desk: &Desk,
    by: Operator,
    asked: wire::DeleteBundleRequest,
) -> Result<wire::DeleteBundleAnswer, Status> {
    let id = desk.request_id();
    let trust_domain = named(&asked.trust_domain, &id)?;
    let say = said(&asked.reason, &id)?;
    let who = by.person();
    let deleted = desk.federation.delete(&trust_domain, (&who, say), desk.issuance.now()).await;
    deleted.map(|()| wire::DeleteBundleAnswer {}).map_err(|error| refused(error, &id))
}

fn read_endpoint(asked: wire::BundleEndpoint, id: &RequestId) -> Result<Endpoint, Status> {
    let wire::BundleEndpoint { url, profile, endpoint_spiffe_id, ca_pem } = asked;
    let odd = |detail: String| malformed("endpoint_malformed", detail, id);
    let url = url.parse().map_err(|fault: EndpointUrlError| odd(fault.to_string()))?;
    let profile = match (profile.as_str(), endpoint_spiffe_id.is_empty(), ca_pem.is_empty()) {
        ("https_spiffe", false, true) => {
            let endpoint_id = SpiffeId::parse(&endpoint_spiffe_id).map_err(|fault| odd(chain(&fault)))?;
            Profile::HttpsSpiffe { endpoint_id }
        }
        ("https_spiffe", true, _) => {
            return Err(odd("https_spiffe needs the SPIFFE ID that the endpoint shows".to_owned()));
        }
        ("https_web", true, true) => Profile::HttpsWeb { ca_pem: None },
        ("https_web", true, false) => {
            ServerTrust::from_pem(&ca_pem, "the CA file").map_err(|fault| odd(chain(&fault)))?;
            Profile::HttpsWeb { ca_pem: Some(String::from_utf8_lossy(&ca_pem).into_owned()) }
        }
        ("https_spiffe" | "https_web", ..) => {
            return Err(odd("a CA is for https_web, a SPIFFE ID for https_spiffe: give the one that fits".to_owned()));
        }
        _ => return Err(odd("a profile is https_web or https_spiffe".to_owned())),
    };
    Ok(Endpoint { url, profile })
}

fn shown(trust_domain: &TrustDomain, relation: &Relation, now: OffsetDateTime) -> wire::BundleShown {
    let Relation { source, told_by: _, kept, confirmed_at, problem, failures, odd, asked_at, shared: _ } = relation;
    let of = wire::BundleShown {
        trust_domain: trust_domain.to_string(),
        source: source.to_string(),
        problem: problem.clone().unwrap_or_default(),
        failures: *failures,
        asked_at: seconds(*asked_at),
        warning: relation.warning(now).unwrap_or_default(),
        ..wire::BundleShown::default()
    };
    let Some(Kept { foreign, since, by, .. }) = kept else { return of };
    let many = |some: usize| u32::try_from(some).unwrap_or(u32::MAX);
    let bundle = &foreign.bundle;
    wire::BundleShown {
        held: true,
        sequence: bundle.sequence,
        x509_authorities: many(bundle.x509_authorities.len()),
        jwt_authorities: many(bundle.jwt_authorities.len()),
        since: since.unix_timestamp(),
        confirmed_at: seconds(*confirmed_at),
        authorities_end_at: seconds(bundle.authorities_end_at()),
        refresh_hint: bundle.refresh_hint.as_secs(),
        left_out: odd.clone(),
        by: by.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..of
    }
}

fn seconds(at: Option<OffsetDateTime>) -> i64 {
    at.map_or(0, OffsetDateTime::unix_timestamp)
}

fn named(text: &str, id: &RequestId) -> Result<TrustDomain, Status> {
    TrustDomain::parse(text).map_err(|odd| malformed("trust_domain_malformed", odd.to_string(), id))
}

fn said<'a>(text: &'a str, id: &RequestId) -> Result<Option<&'a str>, Status> {
    Ok(Some(reason::read(text, id)?).filter(|say| !say.is_empty()))
}

fn malformed(code: &'static str, detail: String, id: &RequestId) -> Status {
    Refused::new(Class::Malformed, code, detail, id).into_status()
}

fn refused(error: FederationError, id: &RequestId) -> Status {
    let (class, code) = match error {
        FederationError::Absent(_) => (Class::Absent, "bundle_unknown"),
        FederationError::Bundle(_) => (Class::Malformed, "bundle_malformed"),
        FederationError::Configured { .. } => (Class::Conflict, "bundle_configured"),
        FederationError::Older { .. } => (Class::Conflict, "bundle_older"),
        FederationError::OurKey { .. } => (Class::Malformed, "bundle_own_key"),
        FederationError::NoFirst(_) => (Class::Conflict, "bundle_missing"),
        FederationError::Own(_) | FederationError::OwnEndpoint(_) => (Class::Malformed, "bundle_own"),
        FederationError::Store(fault) => {
            tracing::error!(request_id = %id, error = %chain(&fault), "a foreign bundle cannot be recorded");
            return Refused::of(&Refusal::Store(fault), id).into_status();
        }
        FederationError::TooLarge { .. } => (Class::TooLarge, "bundle_too_large"),
    };
    Refused::new(class, code, chain(&error), id).into_status()
}
