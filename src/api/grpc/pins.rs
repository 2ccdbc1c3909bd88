//! Pins at the admin door: which project a path belongs to, by an operator's word.

use super::reason;
use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::audit::PinnedBy;
use crate::issuance::{Refusal, RequestId};
use crate::policy::{Glob, PathPin};
use crate::session::Pin;
use crate::store::StoreError;
use crate::token::IssuerName;
use crate::wire::lanyard as wire;
use tonic::Status;

/// Pins looked at for one page: some hundred kilobytes, and no time that anybody notices.
const PAGE: usize = 1000;
/// GitLab's paths have at most 20 levels of 255 characters.
const PATH_BYTES_MAX: usize = 20 * 256;

/// One page of those that are asked for.
pub(super) fn list(desk: &Desk, asked: &wire::ListPinsRequest) -> Result<wire::ListPinsAnswer, Status> {
    let issuer = Some(asked.issuer.as_str()).filter(|issuer| !issuer.is_empty());
    let glob = Glob::parse(&PathPin::fold(&asked.path));
    let fits = |pin: &Pin| asked.path.is_empty() || glob.matches(&pin.of.folded_path);
    let page = desk.issuance.pins.page(issuer, &asked.after, PAGE);
    let (pins, next) = page.map_err(|fault| unavailable(fault, &desk.request_id()))?;
    let pins = pins.into_iter().filter(fits).map(shown).collect();
    Ok(wire::ListPinsAnswer { pins, next: next.unwrap_or_default() })
}

/// Gives a path to a project.
pub(super) async fn set(desk: &Desk, by: Operator, asked: wire::SetPinRequest) -> Result<wire::SetPinAnswer, Status> {
    let id = desk.request_id();
    let wire::SetPinRequest { issuer, path, project_id, reason } = asked;
    check_issuer(desk, &issuer, &id)?;
    check_path(&path).map_err(|detail| malformed(detail, &id))?;
    if project_id == 0 {
        return Err(malformed("a project's id is a number from 1 on", &id));
    }
    let pin = PathPin::of(IssuerName(issuer.into()), &path, project_id);
    let by = word_of(&by, &reason, &id)?;
    let old = desk.issuance.pins.set(&pin, &by, desk.issuance.now()).await;
    let old = old.map_err(|fault| unavailable(fault, &id))?;
    tracing::info!(issuer = %pin.issuer, path = pin.folded_path, project_id, old, %by, "a path was pinned");
    Ok(wire::SetPinAnswer { old: old.unwrap_or_default() })
}

/// Forgets whose a path is. The issuer may have left the configuration.
pub(super) async fn delete(
    desk: &Desk,
    by: Operator,
    asked: wire::DeletePinRequest,
) -> Result<wire::DeletePinAnswer, Status> {
    let id = desk.request_id();
    let wire::DeletePinRequest { issuer, path, reason } = asked;
    let pin = PathPin::of(IssuerName(issuer.into()), &path, 0);
    let by = word_of(&by, &reason, &id)?;
    let old = desk.issuance.pins.delete(&pin, &by, desk.issuance.now()).await;
    let Some(old) = old.map_err(|fault| unavailable(fault, &id))? else {
        let detail = format!("issuer {} has no pin for path {}", pin.issuer, pin.folded_path);
        return Err(Refused::new(Class::Absent, "pin_unknown", detail, &id).into_status());
    };
    tracing::info!(issuer = %pin.issuer, path = pin.folded_path, old, %by, "a pin was deleted");
    Ok(wire::DeletePinAnswer { old })
}

fn shown(Pin { of, since, by }: Pin) -> wire::Pin {
    wire::Pin {
        issuer: of.issuer.to_string(),
        path: of.folded_path,
        project_id: of.project_id,
        since: since.map_or(0, time::OffsetDateTime::unix_timestamp),
        by: by.and_then(|by| serde_json::to_string(&by).ok()).unwrap_or_default(),
    }
}

/// A pin of an issuer that is not configured would wait for ever.
pub(super) fn check_issuer(desk: &Desk, issuer: &str, id: &RequestId) -> Result<(), Status> {
    if desk.issuance.issuers.by_name(issuer).is_some() {
        return Ok(());
    }
    let known: Vec<String> = desk.issuance.issuers.iter().map(|issuer| issuer.name().to_string()).collect();
    let detail = format!("no issuer is named {issuer:?} in the server's configuration; it has: {}", known.join(", "));
    Err(Refused::new(Class::Malformed, "issuer_unknown", detail, id).into_status())
}

/// What no project can have would be pinned for nobody: a URL, a group, a path with a slash too many.
fn check_path(path: &str) -> Result<(), &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if path.len() > PATH_BYTES_MAX || !path.chars().all(fits) || path.split('/').any(str::is_empty) {
        return Err("write the project's path as GitLab has it, such as acme/payments/api");
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("no part of a project's path is . or ..");
    }
    if path.contains('/') { Ok(()) } else { Err("a project's path names its group or user too, such as acme/api") }
}

fn word_of(operator: &Operator, reason: &str, id: &RequestId) -> Result<PinnedBy, Status> {
    let reason = reason::read(reason, id)?;
    let who = operator.person();
    Ok(PinnedBy::Operator { who, reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()) })
}

fn malformed(detail: &'static str, id: &RequestId) -> Status {
    Refused::new(Class::Malformed, "pin_malformed", detail, id).into_status()
}

fn unavailable(fault: StoreError, id: &RequestId) -> Status {
    tracing::error!(request_id = %id, error = %crate::telemetry::chain(&fault), "pins cannot be used");
    Refused::of(&Refusal::Store(fault), id).into_status()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_no_project_has_is_not_pinned() {
        for path in ["acme/api", "Acme/payments/api.v2", "_/-x"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        let long = format!("acme/{}", "x".repeat(PATH_BYTES_MAX));
        for path in [
            "",
            "acme",
            "/acme/api",
            "acme/api/",
            "acme//api",
            "https://gitlab/acme",
            "acme/a b",
            "*/api",
            "acme/../x",
            &long,
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}
