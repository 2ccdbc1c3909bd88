//! Trust bundles at the admin door: ours, and by an operator's word those of other trust domains.

use super::reason;
use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::audit::Person;
use crate::bundle::Bundle;
use crate::federation::{FederationError, Kept, Relation};
use crate::identity::TrustDomain;
use crate::issuance::{Refusal, RequestId};
use crate::telemetry::chain;
use crate::wire::lanyard as wire;
use crate::wire::lanyard::set_bundle_request::Form;
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
    let all = desk.federation.list();
    wire::ListBundlesAnswer {
        bundle: all.iter().map(|(trust_domain, relation)| shown(trust_domain, relation)).collect(),
    }
}

/// Takes one.
pub(super) async fn set(
    desk: &Desk,
    by: Operator,
    asked: wire::SetBundleRequest,
) -> Result<wire::SetBundleAnswer, Status> {
    let id = desk.request_id();
    let wire::SetBundleRequest { trust_domain, form, reason } = asked;
    let trust_domain = named(&trust_domain, &id)?;
    let say = said(&reason, &id)?;
    let bundle = match form {
        Some(Form::Pem(text)) => Bundle::read_pem(trust_domain.clone(), &text),
        Some(Form::Spiffe(text)) => Bundle::read_json(trust_domain.clone(), &text),
        None => {
            return Err(malformed("bundle_malformed", "give a bundle, as PEM or as a SPIFFE bundle".to_owned(), &id));
        }
    };
    let bundle = bundle.map_err(|odd| refused(odd.into(), &id))?;
    let (who, now) = (Person::of(by.uid), desk.issuance.now());
    let was = desk.federation.set(bundle, (&who, say), now).await.map_err(|error| refused(error, &id))?;
    let is = desk.federation.now();
    let unchanged = was.as_ref().zip(is.of(&trust_domain)).is_some_and(|(was, is)| was == is);
    let bundle = desk.federation.relation(&trust_domain).map(|relation| shown(&trust_domain, &relation));
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
    let who = Person::of(by.uid);
    let deleted = desk.federation.delete(&trust_domain, (&who, say)).await;
    deleted.map(|()| wire::DeleteBundleAnswer {}).map_err(|error| refused(error, &id))
}

fn shown(trust_domain: &TrustDomain, relation: &Relation) -> wire::BundleShown {
    let Relation { source, kept, confirmed_at, problem } = relation;
    let of = wire::BundleShown {
        trust_domain: trust_domain.to_string(),
        source: source.to_string(),
        problem: problem.clone().unwrap_or_default(),
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
        confirmed_at: confirmed_at.map_or(0, time::OffsetDateTime::unix_timestamp),
        authorities_end_at: bundle.authorities_end_at().map_or(0, time::OffsetDateTime::unix_timestamp),
        by: by.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..of
    }
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
        FederationError::Own(_) => (Class::Malformed, "bundle_own"),
        FederationError::Store(fault) => {
            tracing::error!(request_id = %id, error = %chain(&fault), "a foreign bundle cannot be recorded");
            return Refused::of(&Refusal::Store(fault), id).into_status();
        }
        FederationError::TooLarge { .. } => (Class::TooLarge, "bundle_too_large"),
    };
    Refused::new(class, code, chain(&error), id).into_status()
}
