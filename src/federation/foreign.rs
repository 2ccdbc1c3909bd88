//! What is handed out of other trust domains: their bundles at one moment, rendered once.

use crate::bundle::Bundle;
use crate::identity::TrustDomain;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;

/// A trust domain's bundle, and its SPIFFE document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Foreign {
    /// The bundle.
    pub bundle: Bundle,
    /// As agents read it.
    pub json: Bytes,
    /// What tells its keys apart.
    pub keys: BTreeSet<String>,
}

/// A moment of what is handed out: comparable within one run of the server, and never with another's, whose clock may have
/// been ahead.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stamp {
    /// Names the run.
    pub run: u64,
    /// Grows with every change.
    pub number: u64,
}

impl Stamp {
    /// Of a run that begins.
    pub(super) fn first(now: OffsetDateTime) -> Self {
        // The low digits of the nanoseconds: no two starts have them all in common, whatever the clock says.
        let run = now.unix_timestamp_nanos().rem_euclid(i128::from(u64::MAX));
        Self { run: u64::try_from(run).unwrap_or_default(), number: 0 }.next(now)
    }

    /// After one more change: its milliseconds, for agents that compare no runs.
    pub(super) fn next(self, now: OffsetDateTime) -> Self {
        let now = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        Self { number: now.max(self.number.saturating_add(1)), ..self }
    }
}

/// All of them at one moment.
#[derive(Clone, Debug, Default)]
pub struct ForeignBundles {
    stamp: Stamp,
    of: BTreeMap<TrustDomain, Arc<Foreign>>,
}

impl From<Bundle> for Foreign {
    fn from(bundle: Bundle) -> Self {
        Self { json: bundle.to_json().into(), keys: bundle.key_ids().into_iter().collect(), bundle }
    }
}

impl ForeignBundles {
    /// Those of one moment.
    pub(super) const fn new(stamp: Stamp, of: BTreeMap<TrustDomain, Arc<Foreign>>) -> Self {
        Self { stamp, of }
    }

    /// Which moment that is.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Of one trust domain.
    pub fn of(&self, trust_domain: &TrustDomain) -> Option<&Arc<Foreign>> {
        self.of.get(trust_domain)
    }

    /// Of those trust domains that we hold, sorted, each once.
    pub fn among(&self, wanted: &[TrustDomain]) -> Vec<Arc<Foreign>> {
        // Few are wanted where many are held, and everybody asks when one changes.
        let wanted: BTreeSet<_> = wanted.iter().collect();
        wanted.into_iter().filter_map(|trust_domain| self.of.get(trust_domain).cloned()).collect()
    }
}
