//! Keys at the admin door that places keep for us and no authority names.

use super::authorities::{json, label, malformed, refused, say};
use crate::api::Operator;
use crate::api::desk::Desk;
use crate::authority::OrphanDeletion;
use crate::wire::lanyard as wire;
use tonic::Status;

/// All of them, and which places did not say.
pub(super) async fn list(desk: &Desk) -> Result<wire::ListOrphansAnswer, Status> {
    let id = desk.request_id();
    let orphans = desk.authority.orphans().await.map_err(|error| refused(&error, &id))?;
    Ok(wire::ListOrphansAnswer { orphans: json(&orphans, &id)? })
}

/// Deletes one.
pub(super) async fn delete(
    desk: &Desk,
    Operator { uid, .. }: Operator,
    asked: &wire::DeleteOrphanRequest,
) -> Result<wire::DeleteOrphanAnswer, Status> {
    let id = desk.request_id();
    let named = label(desk, &asked.label, &id)?;
    let label = named.ok_or_else(|| malformed("label_missing", "say which key: its label", &id))?;
    let say = say(&asked.reason, false, &id)?;
    let deleted = desk.authority.delete_orphan(OrphanDeletion { label, uid, say }).await;
    let orphan = deleted.map_err(|error| refused(&error, &id))?;
    Ok(wire::DeleteOrphanAnswer { orphan: json(&orphan, &id)? })
}
