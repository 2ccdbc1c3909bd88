//! What other replicas record of foreign bundles, as this one hears it.

use super::held::Kept;
use super::keeper::unreadable;
use super::record::{PREFIX, Record};
use super::{Federation, Relation};
use crate::identity::TrustDomain;
use crate::store::{Heard, StoreError};
use std::sync::Arc;
use time::OffsetDateTime;

impl Federation {
    /// Takes in what another replica wrote. Keys of others are nothing to us.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub async fn hear(&self, heard: &Heard, now: OffsetDateTime) -> Result<(), StoreError> {
        let Some(Ok(trust_domain)) = heard.key.strip_prefix(PREFIX).map(TrustDomain::parse) else { return Ok(()) };
        let _hand = self.hand().await;
        let record = heard.now.as_ref().map(|kept| Record::parse(&kept.value)).transpose()?;
        let foreign = match &record {
            Some(record) => record.foreign(trust_domain.clone()).map_err(|odd| unreadable(&heard.key, &odd))?,
            None => None,
        };
        self.change(|relations| match record {
            Some(record) => {
                let new = || Arc::new(Relation::expected(record.source.clone(), record.told_by.clone()));
                let relation = Arc::make_mut(relations.entry(trust_domain).or_insert_with(new));
                relation.problem.clone_from(&record.set_aside);
                relation.kept = foreign.map(|foreign| Kept::of(record, foreign));
            }
            // A relationship of our own configuration stays, and waits for its bundle.
            None => match relations.get_mut(&trust_domain) {
                Some(relation) if relation.is_configured() => Arc::make_mut(relation).kept = None,
                Some(_) | None => drop(relations.remove(&trust_domain)),
            },
        });
        self.show(now);
        Ok(())
    }
}
