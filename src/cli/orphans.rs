//! `lanyard authority list --orphans` and `revoke --orphan`: keys that places keep for us and no authority names.

use super::admin::AdminArgs;
use super::render;
use crate::authority::{LooseKey, Looseness, Orphan, Orphans};
use crate::wire::lanyard::{DeleteOrphanRequest, ListOrphansRequest};

/// Shows all of them.
pub(super) async fn list(server: AdminArgs, json: bool) -> anyhow::Result<()> {
    let answer = server.ask(async move |mut admin| admin.list_orphans(ListOrphansRequest {}).await).await?;
    let found: Orphans = serde_json::from_slice(&answer.orphans)?;
    render::unless_closed(if json { render::json(&found) } else { told(&found) })
}

/// Deletes one.
pub(super) async fn delete(
    label: String,
    reason: Option<String>,
    (server, json): (AdminArgs, bool),
) -> anyhow::Result<()> {
    let asked = DeleteOrphanRequest { label, reason: reason.unwrap_or_default() };
    let answer = server.ask(async move |mut admin| admin.delete_orphan(asked).await).await?;
    let orphan: Orphan = serde_json::from_slice(&answer.orphan)?;
    render::unless_closed(if json {
        render::json(&orphan)
    } else {
        render::say(&format!("deleted: {} in {}", orphan.label, orphan.place))
    })
}

fn told(found: &Orphans) -> anyhow::Result<()> {
    let row = |orphan: &Orphan| {
        let why = match orphan.known.as_ref().map(|known| known.why) {
            Some(Looseness::Begun) => "begun, and not taken yet",
            Some(Looseness::GivenUp) => "revoked, and not deleted yet",
            None => "not known here",
        };
        let is_there = match orphan.is_there {
            Some(true) => "yes",
            Some(false) => "no",
            None => "it does not say",
        };
        let since = orphan.known.as_ref().map(|LooseKey { since, .. }| render::time(*since)).unwrap_or_default();
        vec![orphan.label.to_string(), orphan.place.clone(), is_there.to_owned(), why.to_owned(), since]
    };
    render::rows(&["label", "place", "there", "why", "since"], found.orphans.iter().map(row).collect())?;
    for why in &found.silent {
        render::aside(why);
    }
    Ok(())
}
