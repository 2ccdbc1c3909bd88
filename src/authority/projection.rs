//! A whole rotation before it begins: when each of its steps could come at the earliest, whom it waits for, and what would
//! break if it came sooner. The same numbers that the gates will go by; whoever comes late moves all that follows.

use super::gate::{HolderKind, minimum};
use super::order::{Live, OrderKind};
use super::rotation::{JWT_TTL_MAX, Rotation};
use super::{Authority, AuthorityKind};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A step to come.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Milestone {
    /// `prepare`, `activate`, `renewed` or `remove`.
    pub step: String,
    /// When it could come at the earliest.
    #[serde(with = "time::serde::rfc3339")]
    pub earliest: OffsetDateTime,
    /// Who must have the new key before, whatever the time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// What it does, and to how many.
    pub effect: String,
    /// What would break if it came sooner; none if nothing would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks_sooner: Option<String>,
}

impl Rotation<'_> {
    /// The rotation of a kind that relying parties know keys of, from where it stands; nothing where it is not ours to begin.
    pub(super) fn projection(&self, kind: AuthorityKind, live: &Live) -> Vec<Milestone> {
        let Some(active) = self.keyring.active(kind).filter(|_| kind.is_published()) else { return Vec::new() };
        let prepared = self.prepared(kind).last();
        if prepared.is_none() && kind == AuthorityKind::X509Root && self.above.is_some() {
            return Vec::new();
        }
        let (activate, waits_for) = self.activation(kind, prepared);
        let ttl = if kind.signs_jwts() { JWT_TTL_MAX } else { self.known.longest_ttl };
        let by = if self.plan.automatic { "by itself" } else { "by `authority revoke`" };
        let left = match self.keyring.identities_on(active, live) {
            _ if kind.signs_jwts() => "the last JWT-SVID under the former key is over".to_owned(),
            1 => "the one identity on the former key is renewed".to_owned(),
            many => format!("the last of {many} identities on the former key is renewed"),
        };
        let row = |step: &str, earliest, effect| Milestone {
            step: step.to_owned(),
            earliest,
            waits_for: Vec::new(),
            effect,
            breaks_sooner: None,
        };
        let prepare = row("prepare", self.now, self.effect(active, (OrderKind::Prepare, None), live));
        let sooner = "whoever has not read the bundle by then refuses what the new key signs".to_owned();
        let activates = Milestone {
            waits_for,
            breaks_sooner: Some(sooner),
            ..row("activate", activate, self.effect(active, (OrderKind::Activate(None), prepared), live))
        };
        let removed = format!("the former key leaves the bundle {by}; until then `rollback` goes back to it");
        let leaves = Milestone {
            breaks_sooner: Some("whoever still shows what it signed is refused".to_owned()),
            ..row("remove", activate + self.span_of(active), removed)
        };
        let begins = prepared.is_none().then_some(prepare);
        begins.into_iter().chain([activates, row("renewed", activate + ttl, left), leaves]).collect()
    }

    /// When a new key could sign at the earliest, and who must have it before.
    fn activation(&self, kind: AuthorityKind, prepared: Option<&Authority>) -> (OffsetDateTime, Vec<String>) {
        let Some(next) = prepared else {
            let opens_at = self.now + minimum(kind, self.plan, self.known);
            return (opens_at, self.known.holders.iter().map(|holder| holder.name.clone()).collect());
        };
        let gate = self.gate(next);
        // An agent that falls silent is waited for no longer than its SVIDs live.
        let heard = gate.missing.iter().filter(|one| one.kind == HolderKind::Reporting);
        let opens_at = heard.filter_map(|one| one.waited_for_until).fold(gate.opens_at, OffsetDateTime::max);
        (opens_at, gate.missing.into_iter().map(|missing| missing.name).collect())
    }
}
