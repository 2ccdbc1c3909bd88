//! Our signing keys at the admin door: what stands, what each step would do, and the orders.

use super::reason;
use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::authority::{AuthorityKind, Confirmation, Leeway, NotNow, Order, OrderError, OrderKind};
use crate::crypto::KeyId;
use crate::custody::Label;
use crate::issuance::RequestId;
use crate::telemetry::chain;
use crate::wire::lanyard as wire;
use bytes::Bytes;
use serde::Serialize;
use tonic::Status;

/// As many as log and journal show.
const KEY_DIGITS_MIN: usize = 8;

/// Keys, holders, and what can be done.
pub(super) async fn show(desk: &Desk, asked: &wire::ShowAuthorityRequest) -> Result<wire::ShowAuthorityAnswer, Status> {
    let id = desk.request_id();
    let outlook = desk.authority.outlook(kind(&asked.authority, &id)?).await.map_err(|error| refused(&error, &id))?;
    Ok(wire::ShowAuthorityAnswer { outlook: json(&outlook, &id)? })
}

/// How far everybody has come off the tainted keys.
pub(super) async fn rekeying(desk: &Desk) -> Result<wire::ShowRekeyingAnswer, Status> {
    let id = desk.request_id();
    let rekeying = desk.authority.rekeying().await.map_err(|error| refused(&error, &id))?;
    Ok(wire::ShowRekeyingAnswer { rekeying: json(&rekeying, &id)? })
}

/// Carries out an order.
pub(super) async fn change(
    desk: &Desk,
    Operator { uid, .. }: Operator,
    asked: wire::ChangeAuthorityRequest,
) -> Result<wire::ChangeAuthorityAnswer, Status> {
    use wire::AuthorityOrder::{Activate, Prepare, Revoke, Rollback, Taint, Unspecified};
    let id = desk.request_id();
    let key_id = match asked.key_id.as_str() {
        "" => None,
        text => Some(key_named(desk, (kind(&asked.authority, &id)?, text), &id).await?),
    };
    let named =
        || key_id.ok_or_else(|| malformed("key_missing", "say which key: `lanyard authority list` has them", &id));
    let kind_of_order = match asked.order() {
        Activate => OrderKind::Activate(key_id),
        Prepare => OrderKind::Prepare,
        Revoke => OrderKind::Revoke(named()?),
        Rollback => OrderKind::Rollback,
        Taint => OrderKind::Taint(named()?),
        Unspecified => return Err(malformed("order_missing", "say what is to be done", &id)),
    };
    let order = Order {
        kind: kind_of_order,
        authority: kind(&asked.authority, &id)?,
        leeway: leeway(&asked, &id)?,
        uid,
        say: say(&asked.reason, asked.force || !asked.without.is_empty(), &id)?,
    };
    let taken = match label(desk, &asked.adopt, &id)? {
        Some(orphan) => desk.authority.adopt(order, orphan).await,
        None => desk.authority.order(order).await,
    };
    let taken = taken.map_err(|error| refused(&error, &id))?;
    Ok(wire::ChangeAuthorityAnswer { taken: json(&taken, &id)? })
}

/// A key by its whole name, or by a beginning that only one of the kind has: log and journal name eight digits.
async fn key_named(desk: &Desk, (kind, text): (AuthorityKind, &str), id: &RequestId) -> Result<KeyId, Status> {
    if let Ok(key_id) = text.parse() {
        return Ok(key_id);
    }
    let beginning = text.to_ascii_lowercase();
    if beginning.len() < KEY_DIGITS_MIN || !beginning.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let detail = "a key is named by 64 hex digits, or by the first 8 or more of them";
        return Err(malformed("key_malformed", detail, id));
    }
    let outlook = desk.authority.outlook(kind).await.map_err(|error| refused(&error, id))?;
    let keys = outlook.keys.iter().map(|key| key.key_id);
    match *keys.filter(|key| key.to_string().starts_with(&beginning)).collect::<Vec<_>>() {
        [only] => Ok(only),
        [] => {
            let detail = format!("no key of kind {} begins so: `lanyard authority list` has them", kind.as_str());
            Err(Refused::new(Class::Absent, "key_unknown", detail, id).into_status())
        }
        [..] => Err(malformed("key_ambiguous", "several keys begin so: write more digits", id)),
    }
}

/// Whether an intermediate is known by this key id.
pub(super) async fn has_intermediate(desk: &Desk, key_id: &str) -> Result<bool, Status> {
    let id = desk.request_id();
    let outlook =
        desk.authority.outlook(AuthorityKind::X509Intermediate).await.map_err(|error| refused(&error, &id))?;
    let all = outlook.keys.iter().filter(|key| key.kind == AuthorityKind::X509Intermediate);
    Ok(all.map(|key| key.key_id.to_string()).any(|known| known == key_id))
}

/// Takes an operator's word for a declared holder.
pub(super) async fn confirm(
    desk: &Desk,
    Operator { uid, .. }: Operator,
    asked: wire::ConfirmHolderRequest,
) -> Result<wire::ConfirmHolderAnswer, Status> {
    let id = desk.request_id();
    let wire::ConfirmHolderRequest { holder, sequence, reason } = asked;
    let (sequence, say) = (Some(sequence).filter(|sequence| *sequence != 0), say(&reason, false, &id)?);
    let confirmed = desk.authority.confirm(Confirmation { holder, sequence, uid, say }).await;
    Ok(wire::ConfirmHolderAnswer { sequence: confirmed.map_err(|error| refused(&error, &id))? })
}

/// A label of ours, if one is named.
pub(super) fn label(desk: &Desk, text: &str, id: &RequestId) -> Result<Option<Label>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let ours = Label::of(text, desk.issuance.authorities.trust_domain());
    let detail = "no label of this trust domain's keys: `lanyard authority list --orphans` has them";
    ours.map(Some).ok_or_else(|| malformed("label_malformed", detail, id))
}

fn kind(text: &str, id: &RequestId) -> Result<AuthorityKind, Status> {
    let detail = "the kinds of keys are x509-root, x509-intermediate, jwt and jwt-rs256";
    let known = AuthorityKind::named(text).filter(|kind| *kind != AuthorityKind::Journal);
    known.ok_or_else(|| malformed("authority_kind", detail, id))
}

/// In spite of what an order is carried out.
fn leeway(asked: &wire::ChangeAuthorityRequest, id: &RequestId) -> Result<Leeway, Status> {
    let detail = "holders are left aside by `activate`, some by name or all by force";
    match (asked.force, asked.without.is_empty(), asked.order()) {
        (false, true, _) => Ok(Leeway::None),
        (true, true, _) => Ok(Leeway::Force),
        (false, false, wire::AuthorityOrder::Activate) => Ok(Leeway::Without(asked.without.iter().cloned().collect())),
        (_, false, _) => Err(malformed("without_what", detail, id)),
    }
}

/// What goes against proof needs a reason; all else may have one.
pub(super) fn say(text: &str, is_needed: bool, id: &RequestId) -> Result<Option<String>, Status> {
    if text.trim().is_empty() && !is_needed {
        return Ok(None);
    }
    Ok(Some(reason::given(text, id)?.to_owned()))
}

pub(super) fn json(facts: &impl Serialize, id: &RequestId) -> Result<Bytes, Status> {
    let text = serde_json::to_vec(facts);
    text.map(Bytes::from).map_err(|_odd| {
        Refused::new(Class::Broken, "not_rendered", "the answer cannot be written as JSON", id).into_status()
    })
}

pub(super) fn malformed(code: &'static str, detail: &'static str, id: &RequestId) -> Status {
    Refused::new(Class::Malformed, code, detail, id).into_status()
}

pub(super) fn refused(error: &OrderError, id: &RequestId) -> Status {
    let (class, code) = match error {
        OrderError::Failed(fault) => {
            tracing::error!(request_id = %id, fault = %chain(fault), "a key could not be changed");
            (Class::Broken, "authority_unchanged")
        }
        OrderError::GivenUp { .. } => (Class::Conflict, "key_revoked"),
        OrderError::NoHolder { .. } => (Class::Absent, "holder_unknown"),
        OrderError::NoOrphan { .. } => (Class::Absent, "orphan_unknown"),
        OrderError::NotAdopted { .. } => (Class::Conflict, "authority_kind"),
        OrderError::NotNow(why @ (NotNow::HolderUnknown { .. } | NotNow::Unknown { .. })) => {
            (Class::Absent, why.code())
        }
        OrderError::NotNow(why) => (Class::Conflict, why.code()),
        OrderError::NotPublished { .. } => (Class::Malformed, "sequence_unknown"),
        OrderError::Stopped => (Class::Unavailable, "stopping"),
        OrderError::Upstream { .. } => (Class::Unavailable, "upstream_unavailable"),
    };
    Refused::new(class, code, chain(error), id).into_status()
}
