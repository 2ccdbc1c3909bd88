//! Whether a published key may sign by now: who is not proven to hold it, and what time must still pass.
//!
//! A span counts only as far as this process has seen it pass on an even clock: after a start, and after a clock that
//! jumped, it begins anew. A clock that was set must not make a slow holder look like a dead one.

use super::{Authority, AuthorityKind, KeyPlan, Publication};
use crate::crypto::KeyId;
use crate::telemetry::rfc3339;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;

/// What is known of those who keep copies of our bundle.
#[derive(Clone, Debug)]
pub struct Known {
    /// Those who are waited for. Anonymous readers are not among them.
    pub holders: Vec<Holder>,
    /// How long an SVID lives at most, by the policy of today.
    pub longest_ttl: Duration,
    /// Since when this process has watched, on a clock that did not jump.
    pub since: OffsetDateTime,
    /// Since when readers of revocation lists can have that of each authority; none where no lists are made.
    pub listed: Option<BTreeMap<KeyId, OffsetDateTime>>,
}

impl Known {
    /// Where nobody keeps a copy yet.
    pub const fn nobody(now: OffsetDateTime) -> Self {
        Self { holders: Vec::new(), longest_ttl: Duration::ZERO, since: now, listed: None }
    }

    /// What is seen to have passed since a time.
    pub fn passed(&self, since: OffsetDateTime, now: OffsetDateTime) -> Duration {
        // A time that is still to come was written before the clock was put back.
        let from = if since > now { self.since } else { since.max(self.since) };
        Duration::try_from(now - from).unwrap_or(Duration::ZERO)
    }

    /// How long somebody is waited for who says nothing, and how late whoever speaks has what it was sent. No relying party
    /// asks more rarely than the bundle's hint without knowing that it is behind.
    fn patience(&self, plan: &KeyPlan) -> Duration {
        self.longest_ttl.max(plan.refresh_hint)
    }
}

/// What was not waited for, beside holders.
pub(super) const MINIMUM_TIME: &str = "minimum time";

/// What stands before the key of an agent in its name.
pub(super) const AGENT: &str = "agent ";

/// Somebody who keeps a copy of our bundle and says which.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// The configured name, or the agent's key.
    pub name: String,
    /// How it is heard of.
    pub kind: HolderKind,
    /// The sequence that it said it holds; none if nothing was heard.
    pub holds: Option<u64>,
    /// When it was last heard.
    pub heard_at: Option<OffsetDateTime>,
    /// Since when the bundle of each sequence stands where a publisher writes it; empty for others.
    pub wrote_at: BTreeMap<u64, OffsetDateTime>,
}

/// How a holder is heard of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// An agent, which says itself what it holds; one that falls silent is waited for until its SVIDs are over.
    Reporting,
    /// Named in the configuration; an operator confirms it.
    Declared,
    /// Our own hand, which writes the bundle somewhere: it proves that this was done, and not that anybody has read it. So
    /// whoever reads there is given the time that readers take, from then on.
    Publisher,
}

/// Somebody without proof of a key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Missing {
    /// Who.
    pub name: String,
    /// How it is heard of.
    pub kind: HolderKind,
    /// What it holds.
    pub holds: Option<u64>,
    /// Until when it is waited for if nothing more is heard of it; none for one that must be confirmed,
    /// or write.
    #[serde(with = "time::serde::rfc3339::option")]
    pub waited_for_until: Option<OffsetDateTime>,
    /// Since when it lacks what it was sent again and again, for one that is heard all the same.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub stuck_since: Option<OffsetDateTime>,
}

/// What stands between a published key and its first signature.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Gate {
    /// When the minimum time has passed.
    #[serde(with = "time::serde::rfc3339")]
    pub opens_at: OffsetDateTime,
    /// Who has no proof of it.
    pub missing: Vec<Missing>,
}

impl Gate {
    /// The gate of a key.
    pub fn of(authority: &Authority, plan: &KeyPlan, known: &Known, now: OffsetDateTime) -> Self {
        let Some(published) = authority.published else { return Self { opens_at: now, missing: Vec::new() } };
        let left = minimum(authority.kind, plan, known).saturating_sub(known.passed(published.at, now));
        let (opens_at, span) = (now + left, reading(authority.kind, plan));
        let missing = known.holders.iter().filter_map(|holder| {
            if holder.lacks(published) {
                let stuck_since = holder.stuck_since(published, plan, known);
                return Some(Missing { stuck_since, ..holder.missing(plan, known, now)? });
            }
            let read_by = now + span.saturating_sub(known.passed(holder.wrote_at(published)?, now));
            (read_by > opens_at).then(|| holder.unproven(Some(read_by)))
        });
        Self { opens_at, missing: missing.collect() }
    }

    /// Both of them.
    pub(super) fn and(self, other: Self) -> Self {
        let missing = self.missing.into_iter().chain(other.missing).collect();
        Self { opens_at: self.opens_at.max(other.opens_at), missing }
    }

    /// The same gate for all but these, and who of them it would have waited for.
    pub(super) fn without(self, names: &BTreeSet<String>) -> (Self, Vec<String>) {
        let is_named = |missing: &Missing| names.iter().any(|name| is_called(&missing.name, name));
        let (aside, missing): (Vec<_>, Vec<_>) = self.missing.into_iter().partition(is_named);
        (Self { missing, ..self }, aside.into_iter().map(|missing| missing.name).collect())
    }

    /// Whether the key may sign.
    pub fn is_open(&self, now: OffsetDateTime) -> bool {
        self.missing.is_empty() && now >= self.opens_at
    }

    /// When it will be open by itself; none if somebody must confirm first, or say so.
    pub(super) fn safe_at(&self) -> Option<OffsetDateTime> {
        self.missing.iter().try_fold(self.opens_at, |at, missing| Some(at.max(missing.waited_for_until?)))
    }

    /// What whoever goes on now leaves aside, for the record.
    pub(super) fn left_aside(&self, now: OffsetDateTime) -> Vec<String> {
        let time = (now < self.opens_at).then(|| MINIMUM_TIME.to_owned());
        time.into_iter().chain(self.missing.iter().map(|missing| missing.name.clone())).collect()
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 5;
        write!(f, "not before {}", rfc3339(self.opens_at))?;
        if self.missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.missing.iter().take(NAMED).map(ToString::to_string).collect();
        write!(f, ", and without proof from {}", names.join(", "))?;
        let more = self.missing.len().saturating_sub(NAMED);
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stuck = if self.stuck_since.is_some() { " (stuck)" } else { "" };
        write!(f, "{}{stuck}", self.name)
    }
}

impl Holder {
    /// Whether it goes by this name: an agent by its key alone, too.
    pub(super) fn is_called(&self, name: &str) -> bool {
        is_called(&self.name, name)
    }

    /// Whether it has spoken of an older bundle so long after it could have had a newer one that a renewal must have brought
    /// it: something is broken there, and waiting does not help.
    pub fn is_stuck(&self, lacks_since: OffsetDateTime, patience: Duration) -> bool {
        self.kind == HolderKind::Reporting && self.heard_at.is_some_and(|heard_at| heard_at - lacks_since >= patience)
    }

    pub(super) fn lacks(&self, published: Publication) -> bool {
        self.holds.is_none_or(|holds| holds < published.sequence)
    }

    /// Since when it is stuck without what was published then.
    pub(super) fn stuck_since(&self, published: Publication, plan: &KeyPlan, known: &Known) -> Option<OffsetDateTime> {
        let since = published.at.max(known.since);
        (self.lacks(published) && self.is_stuck(since, known.patience(plan))).then_some(since)
    }

    /// As one who lacks a key, unless its silence has lasted so long that nothing of it can be in use.
    fn missing(&self, plan: &KeyPlan, known: &Known, now: OffsetDateTime) -> Option<Missing> {
        let waited_for_until = match self.kind {
            HolderKind::Declared | HolderKind::Publisher => None,
            HolderKind::Reporting => {
                let silent = known.passed(self.heard_at.unwrap_or(known.since), now);
                Some(now + known.patience(plan).checked_sub(silent).filter(|left| !left.is_zero())?)
            }
        };
        Some(self.unproven(waited_for_until))
    }

    fn unproven(&self, waited_for_until: Option<OffsetDateTime>) -> Missing {
        let (name, kind, holds) = (self.name.clone(), self.kind, self.holds);
        Missing { name, kind, holds, waited_for_until, stuck_since: None }
    }

    /// Since when a publisher has shown what was published then.
    fn wrote_at(&self, published: Publication) -> Option<OffsetDateTime> {
        self.wrote_at.range(published.sequence..).next().map(|(_, at)| *at)
    }
}

fn is_called(holder: &str, name: &str) -> bool {
    holder == name || holder.strip_prefix(AGENT).is_some_and(|key| key == name)
}

/// How long a key is published at least before it signs: three refreshes, or until the slowest relying party has read the
/// bundle again and the longest SVID is renewed; a JWT key, until the slowest reader of key sets has read ours again.
pub(super) fn minimum(kind: AuthorityKind, plan: &KeyPlan, known: &Known) -> Duration {
    (plan.refresh_hint * 3).max(plan.propagation + known.longest_ttl).max(reading(kind, plan))
}

/// How long the slowest reader takes to read again what stands somewhere.
fn reading(kind: AuthorityKind, plan: &KeyPlan) -> Duration {
    let keys = if kind.signs_jwts() { plan.jwks_cache } else { Duration::ZERO };
    plan.propagation.max(keys)
}

#[cfg(test)]
mod tests {
    use super::super::{KeyOf, Keyring};
    use super::*;
    use crate::crypto::KeyPair;
    use crate::custody::AuthorityKey;
    use crate::identity::TrustDomain;
    use std::sync::Arc;

    #[test]
    fn whoever_reads_where_a_publisher_was_late_has_the_time_that_readers_take() {
        let at = |minute: u64| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(minute * 60);
        let kind = AuthorityKind::X509Root;
        let key = KeyOf::Us(AuthorityKey::Held(Arc::new(KeyPair::generate(kind.key_algorithm()).unwrap())));
        let keyring = Keyring::empty(TrustDomain::parse("ci.example.org").unwrap());
        let root = keyring.newcomer(kind, key, (at(0), at(9999)), at(0));
        let root = Authority { published: Some(Publication { sequence: 4, at: at(0) }), ..root };
        // Three quarters of an hour at least, half an hour of which is the readers'.
        for (wrote, now, waits) in [
            (&[][..], 50, Some(None)),
            (&[(3, 1)], 50, Some(None)),
            (&[(4, 1)], 10, None),
            (&[(4, 15), (6, 44)], 20, None),
            (&[(4, 16)], 20, Some(Some(46))),
            (&[(3, 2), (6, 40)], 50, Some(Some(70))),
            (&[(6, 40)], 70, None),
        ] {
            let wrote_at: BTreeMap<_, _> = wrote.iter().map(|(sequence, minute)| (*sequence, at(*minute))).collect();
            let (name, kind, holds) = ("a file".to_owned(), HolderKind::Publisher, wrote.last().map(|last| last.0));
            let holders = vec![Holder { name, kind, holds, heard_at: None, wrote_at }];
            let known = Known { holders, longest_ttl: Duration::from_secs(900), ..Known::nobody(at(0)) };
            let gate = Gate::of(&root, &KeyPlan::DEFAULT, &known, at(now));
            let missing = gate.missing.first().map(|missing| missing.waited_for_until);
            assert_eq!(missing, waits.map(|until| until.map(at)), "{wrote:?} at {now}");
            assert_eq!(gate.opens_at, at(now.max(45)));
        }
    }
}
