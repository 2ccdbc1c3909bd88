//! What is held, held against what we are now: a restart or a change of our keys may have made one of them ours as well.

use super::keeper::Word;
use super::record::Record;
use super::{Federation, Relation};
use crate::identity::TrustDomain;
use crate::store::StoreError;
use crate::telemetry::chain;
use time::OffsetDateTime;

impl Federation {
    /// Sets aside each bundle that would not be taken now (TDB-25): it is handed out no more, and its relation says why, over
    /// restarts too, until its source or an operator brings another.
    ///
    /// # Errors
    /// When that cannot be recorded.
    pub async fn review(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        let _hand = self.hand().await;
        for (trust_domain, relation) in self.list() {
            let unfit = relation.kept.as_ref().and_then(|kept| self.check(&kept.foreign).err());
            if let Some(why) = unfit {
                self.set_aside((&trust_domain, &relation), chain(&why), now).await?;
            }
        }
        Ok(())
    }

    async fn set_aside(
        &self,
        (trust_domain, relation): (&TrustDomain, &Relation),
        why: String,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        tracing::error!(%trust_domain, source = %relation.source, why, "a foreign bundle that was held is set aside");
        let write = Record::without(relation, why.clone(), now).write(trust_domain)?;
        self.record(trust_domain, (None, &relation.source), &Word { by: None, say: Some(&why) }, write).await?;
        self.alter(trust_domain, |relation| {
            relation.kept = None;
            relation.problem = Some(why);
        });
        self.show(now);
        self.turns().hurry(trust_domain);
        Ok(())
    }
}
