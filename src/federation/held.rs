//! What we know of each trust domain that we hold, or shall hold, a bundle of.

use super::record::Record;
use super::{Foreign, ForeignBundles, Source, Stamp};
use crate::audit::Person;
use crate::identity::TrustDomain;
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;

/// One trust domain's standing.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Where its bundle comes from.
    pub source: Source,
    /// Who told to ask an endpoint, where the configuration does not.
    pub told_by: Option<Person>,
    /// The last good one; none before the source's first.
    pub kept: Option<Kept>,
    /// When the source was last seen to hold that.
    pub confirmed_at: Option<OffsetDateTime>,
    /// What is wrong with the source now.
    pub problem: Option<String>,
    /// How often in a row it was.
    pub failures: u32,
    /// What was left out of the bundle, entry by entry.
    pub odd: Vec<String>,
    /// When an endpoint is asked again.
    pub asked_at: Option<OffsetDateTime>,
    /// Which key it shares with another trust domain, if it was seen to when it came.
    pub shared: Option<String>,
}

/// A bundle that is held.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The bundle.
    pub foreign: Arc<Foreign>,
    /// From where this one came: the source may have changed since.
    pub source: Source,
    /// Since when.
    pub since: OffsetDateTime,
    /// By whose word, where it was a person's.
    pub by: Option<Person>,
}

impl Relation {
    pub(super) const fn expected(source: Source, told_by: Option<Person>) -> Self {
        Self {
            source,
            told_by,
            kept: None,
            confirmed_at: None,
            problem: None,
            failures: 0,
            odd: Vec::new(),
            asked_at: None,
            shared: None,
        }
    }

    /// Whether the configuration says where its bundle comes from.
    pub const fn is_configured(&self) -> bool {
        self.source.is_configured(self.told_by.as_ref())
    }

    /// Whether this bundle is what is held already.
    pub(super) fn holds(&self, foreign: &Foreign) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.foreign.json == foreign.json)
    }

    /// What is held, if it came from the place that is asked now.
    pub(super) fn kept_from_here(&self) -> Option<&Kept> {
        self.kept.as_ref().filter(|kept| kept.source.is_same_place(&self.source))
    }

    /// The sequence that a source has gone behind, if it has: what it shows is older than what it gave (FED-5).
    pub(super) fn is_behind(&self, foreign: &Foreign) -> Option<u64> {
        let (held, shown) = (self.kept_from_here()?.foreign.bundle.sequence, foreign.bundle.sequence);
        (shown != 0 && shown < held).then_some(held)
    }
}

impl Kept {
    pub(super) fn of(record: Record, foreign: Arc<Foreign>) -> Self {
        let Record { source, since, by, .. } = record;
        Self { foreign, source, since, by }
    }
}

/// All of them. Many stand beside the one that changes.
pub(super) type Relations = BTreeMap<TrustDomain, Arc<Relation>>;

/// What of it is handed out.
pub(super) fn handed_out(relations: &Relations, stamp: Stamp) -> ForeignBundles {
    let held = relations.iter().filter_map(|(trust_domain, relation)| {
        Some((trust_domain.clone(), Arc::clone(&relation.kept.as_ref()?.foreign)))
    });
    ForeignBundles::new(stamp, held.collect())
}
