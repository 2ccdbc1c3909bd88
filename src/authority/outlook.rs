//! What each step would do now, and to whom: the same decisions that an order meets, told before anybody gives it.

use super::gate::{Gate, HolderKind, minimum};
use super::holders::Readers;
use super::order::{Leeway, Live, NotNow, Order, OrderKind};
use super::rotation::Rotation;
use super::{Authority, AuthorityKind, AuthorityState, Milestone, Publication, UpstreamState};
use crate::crypto::KeyId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// Keys, holders, and what can be done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outlook {
    /// When this was so.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Of the published bundle.
    pub sequence: u64,
    /// Whether keys change by themselves.
    pub automatic: bool,
    /// How long a key is published at least before it signs, in seconds.
    pub minimum_seconds: u64,
    /// The keys of the kind that was asked for, oldest first; a root's with the intermediates.
    pub keys: Vec<KeyOutlook>,
    /// What can come next, in the order of a rotation.
    pub steps: Vec<StepOutlook>,
    /// A whole rotation from here on, as it could go at the earliest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projection: Vec<Milestone>,
    /// Who says what it holds.
    pub holders: Vec<HolderOutlook>,
    /// What keeps publishers from writing, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, String>,
    /// What keeps them from seeing whether what they wrote is still there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub doubts: BTreeMap<String, String>,
    /// How often the bundle was read by others since the start.
    pub anonymous_reads: u64,
    /// When last.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_read_at: Option<OffsetDateTime>,
    /// The authority above ours; none where our own roots sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamState>,
}

/// A key, without the key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyOutlook {
    /// What it is for.
    pub kind: AuthorityKind,
    /// The key.
    pub key_id: KeyId,
    /// Counts the keys of a kind.
    pub generation: u64,
    /// Where it stands.
    pub state: AuthorityState,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// From which bundle on it is published.
    pub published: Option<Publication>,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The root above it.
    pub issuer: Option<KeyId>,
    /// How many live identities show a chain to it.
    pub identities: usize,
    /// Until when something that it signed may be valid.
    #[serde(with = "time::serde::rfc3339::option")]
    pub valid_until: Option<OffsetDateTime>,
    /// Until when a thief of the key could pass as us: relying parties trust its root until then, or until it is revoked
    /// and they have read the bundle again. None for one that nobody trusts.
    #[serde(with = "time::serde::rfc3339::option")]
    pub exposed_until: Option<OffsetDateTime>,
    /// The place that it lives in; none for the keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What could be done next.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StepOutlook {
    /// The command.
    pub step: String,
    /// To which kind of key.
    pub authority: AuthorityKind,
    /// The key; none for one that is still to be made.
    pub key_id: Option<KeyId>,
    /// What it does, and to how many.
    pub effect: String,
    /// What would break now; none if nothing would.
    pub breaks: Option<String>,
    /// The stable code of that.
    pub code: Option<String>,
    /// When it would be safe by what is known now; none if that depends on others.
    #[serde(with = "time::serde::rfc3339::option")]
    pub safe_at: Option<OffsetDateTime>,
    /// When the plan does it by itself.
    #[serde(with = "time::serde::rfc3339::option")]
    pub automatic_at: Option<OffsetDateTime>,
    /// Who has no proof of the key.
    pub gate: Option<Gate>,
}

/// A holder as it is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HolderOutlook {
    /// Who.
    pub name: String,
    /// How it is heard of.
    pub kind: HolderKind,
    /// The sequence that it holds.
    pub holds: Option<u64>,
    /// When it was last heard.
    #[serde(with = "time::serde::rfc3339::option")]
    pub heard_at: Option<OffsetDateTime>,
    /// Since when it lacks a bundle that it was sent again and again, though it is heard.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub stuck_since: Option<OffsetDateTime>,
}

impl Rotation<'_> {
    /// What can be done to the keys of a kind.
    pub(super) fn outlook(&self, kind: AuthorityKind, live: &Live, readers: Readers) -> Outlook {
        let with_intermediates = |one: &&Authority| {
            one.kind == kind || (kind == AuthorityKind::X509Root && one.kind == AuthorityKind::X509Intermediate)
        };
        let keys = self.keyring.authorities.iter().filter(with_intermediates);
        let publications: Vec<_> = self.keyring.authorities.iter().filter_map(|one| one.published).collect();
        let holders = self.known.holders.iter().map(|holder| HolderOutlook {
            name: holder.name.clone(),
            kind: holder.kind,
            holds: holder.holds,
            heard_at: holder.heard_at,
            stuck_since: publications.iter().find_map(|one| holder.stuck_since(*one, self.plan, self.known)),
        });
        Outlook {
            at: self.now,
            sequence: self.keyring.published_sequence,
            automatic: self.plan.automatic,
            minimum_seconds: minimum(kind, self.plan, self.known).as_secs(),
            keys: keys.map(|one| self.key_outlook(one, live)).collect(),
            steps: self.steps(kind, live),
            projection: self.projection(kind, live),
            holders: holders.collect(),
            troubles: BTreeMap::new(),
            doubts: BTreeMap::new(),
            anonymous_reads: readers.reads,
            last_read_at: readers.last_at,
            upstream: None,
        }
    }

    fn key_outlook(&self, one: &Authority, live: &Live) -> KeyOutlook {
        let root = one.issuer.and_then(|root| self.keyring.find(root)).unwrap_or(one);
        let is_trusted = root.kind.is_published() && root.state != AuthorityState::Removed;
        KeyOutlook {
            kind: one.kind,
            key_id: one.key_id(),
            generation: one.generation,
            state: one.state,
            since: one.since,
            published: one.published,
            not_after: one.not_after,
            issuer: one.issuer,
            identities: self.keyring.identities_on(one, live),
            valid_until: self.valid_until(one),
            exposed_until: is_trusted.then_some(one.not_after),
            place: one.placed_key().map(|placed| placed.place.to_string()),
        }
    }

    fn steps(&self, kind: AuthorityKind, live: &Live) -> Vec<StepOutlook> {
        let Some(active) = self.keyring.active(kind) else { return Vec::new() };
        let mut wishes = vec![(OrderKind::Prepare, None)];
        wishes.extend(self.prepared(kind).last().map(|next| (OrderKind::Activate(None), Some(next))));
        wishes.extend(self.former(kind).map(|former| (OrderKind::Rollback, Some(former))));
        let retired = |one: &&Authority| !matches!(one.state, AuthorityState::Active);
        for one in self.keyring.of_kind(kind).filter(retired) {
            let old = one.state == AuthorityState::Old;
            wishes.extend(old.then_some((OrderKind::Taint(one.key_id()), Some(one))));
            wishes.push((OrderKind::Revoke(one.key_id()), Some(one)));
        }
        wishes.into_iter().filter_map(|(wish, key)| self.step(active, (wish, key), live)).collect()
    }

    /// What an order would meet now; none where it makes no sense.
    fn step(
        &self,
        active: &Authority,
        (wish, key): (OrderKind, Option<&Authority>),
        live: &Live,
    ) -> Option<StepOutlook> {
        let order = Order { kind: wish, authority: active.kind, leeway: Leeway::None, uid: 0, say: None };
        let refused = match self.ordered(&order, live) {
            Err(NotNow::PreparedAlready { .. } | NotNow::Kind { .. } | NotNow::Upstream { .. }) => return None,
            outcome => outcome.err(),
        };
        let gate = key.filter(|_| matches!(wish, OrderKind::Activate(_))).map(|key| self.gate(key));
        let safe_at = match (&refused, &gate) {
            (None, _) => Some(self.now),
            (Some(NotNow::InUse { ends_at, .. }), _) => Some(*ends_at),
            (Some(_), Some(gate)) => gate.safe_at(),
            (Some(_), None) => None,
        };
        Some(StepOutlook {
            step: wish.as_str().to_owned(),
            authority: active.kind,
            key_id: key.map(Authority::key_id),
            effect: self.effect(active, (wish, key), live),
            code: refused.as_ref().map(|why| why.code().to_owned()),
            breaks: refused.map(|why| why.to_string()),
            safe_at,
            automatic_at: self.automatic_at(active, (wish, key)),
            gate,
        })
    }

    fn automatic_at(&self, active: &Authority, (wish, key): (OrderKind, Option<&Authority>)) -> Option<OffsetDateTime> {
        let is_intermediate = active.kind == AuthorityKind::X509Intermediate;
        let at = match (wish, key) {
            (OrderKind::Prepare, _) if is_intermediate => self.next_at(active).max(self.now),
            (OrderKind::Prepare, _) => self.half_life(active).max(self.now),
            (OrderKind::Activate(_), Some(next)) if is_intermediate => {
                self.gate(next).opens_at.max(self.half_life(active))
            }
            (OrderKind::Activate(_), Some(next)) => {
                let gate = self.gate(next);
                let safe = gate.safe_at().map_or_else(|| self.deadline(active), |safe| safe.min(self.deadline(active)));
                safe.max(gate.opens_at).max(self.half_life(active))
            }
            (OrderKind::Revoke(_), Some(spent)) if is_retired(spent) => self.valid_until(spent)?,
            _ => return None,
        };
        (self.plan.automatic || is_intermediate).then_some(at)
    }

    pub(super) fn effect(
        &self,
        active: &Authority,
        (wish, key): (OrderKind, Option<&Authority>),
        live: &Live,
    ) -> String {
        let holders = self.known.holders.len();
        let on = |one: &Authority| match self.keyring.identities_on(one, live) {
            1 => "1 identity".to_owned(),
            many => format!("{many} identities"),
        };
        let moved = match active.kind {
            AuthorityKind::X509Root => "an intermediate under it signs at once",
            AuthorityKind::X509Intermediate | AuthorityKind::Jwt | AuthorityKind::JwtRs256 | AuthorityKind::Journal => {
                "it signs at once"
            }
        };
        match (wish, key) {
            (OrderKind::Prepare, _) if active.kind == AuthorityKind::X509Intermediate => {
                "makes a new key, whose revocation list is out before it signs; nothing is signed with it yet"
                    .to_owned()
            }
            (OrderKind::Prepare, _) => {
                format!("publishes a new key to {holders} known holders; nothing is signed with it yet")
            }
            (OrderKind::Activate(_) | OrderKind::Rollback, _) => {
                let within = spoken(self.known.longest_ttl);
                format!(
                    "{moved}; {} will follow by renewal, within {within}; the former key stays published",
                    on(active)
                )
            }
            (OrderKind::Taint(_), Some(one)) => {
                format!(
                    "{} on it will renew at once; it stays published until it is revoked; revocation lists name its \
                     intermediates as soon as no live identity is on them",
                    on(one)
                )
            }
            (OrderKind::Revoke(_), Some(one)) => {
                format!("leaves the bundle and is erased; {} on it can no longer be verified", on(one))
            }
            (OrderKind::Revoke(_) | OrderKind::Taint(_), None) => String::new(),
        }
    }
}

impl OrderKind {
    /// The command that gives it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Activate(_) => "activate",
            Self::Prepare => "prepare",
            Self::Revoke(_) => "revoke",
            Self::Rollback => "rollback",
            Self::Taint(_) => "taint",
        }
    }
}

const fn is_retired(one: &Authority) -> bool {
    matches!(one.state, AuthorityState::Old | AuthorityState::Tainted)
}

/// A span as a person says it.
fn spoken(span: Duration) -> String {
    let seconds = span.as_secs();
    if seconds.is_multiple_of(60) { format!("{} min", seconds / 60) } else { format!("{seconds} s") }
}
