//! What becomes of a look at a source: what it shows is taken, or what is wrong is remembered, and the last good bundle stays.

use super::keeper::NOBODY;
use super::{Federation, FederationError, Relation, Source};
use crate::bundle::{Bundle, OddEntry};
use crate::identity::TrustDomain;
use crate::store::StoreError;
use crate::telemetry::chain;
use time::OffsetDateTime;

/// The most odd entries that are named of one document.
const ODD_MAX: usize = 10;

/// What a source showed.
pub(super) enum Seen {
    /// What it showed before.
    AsBefore,
    /// A bundle, without these entries of its document.
    Bundle(Bundle, Vec<OddEntry>),
}

impl From<Bundle> for Seen {
    fn from(bundle: Bundle) -> Self {
        Self::Bundle(bundle, Vec::new())
    }
}

impl Federation {
    /// A source was looked at: takes what it shows, or remembers what is wrong with it. Whether it was good.
    pub(super) async fn looked(
        &self,
        (trust_domain, source): (&TrustDomain, &Source),
        found: Result<Seen, String>,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let _hand = self.hand().await;
        let Some(was) = self.relation(trust_domain).filter(|relation| relation.source == *source) else {
            // It is over, or another is asked: what a former one said is nobody's concern.
            return Ok(true);
        };
        let (odd, taken) = match found {
            Ok(Seen::AsBefore) => (None, Ok(())),
            Ok(Seen::Bundle(bundle, odd)) => (Some(named(&odd)), self.take(bundle, &was, now).await),
            Err(why) => {
                self.judged(trust_domain, &was, Err(why), now);
                return Ok(false);
            }
        };
        let problem = match taken {
            Err(FederationError::Store(fault)) => return Err(fault),
            taken => taken.map_err(|refused| chain(&refused)),
        };
        let is_good = problem.is_ok();
        if let Some(odd) = odd.filter(|odd| is_good && *odd != was.odd) {
            if !odd.is_empty() {
                let why = odd.join("; ");
                tracing::warn!(%trust_domain, why, "keys of a foreign bundle are left out");
            }
            self.alter(trust_domain, |relation| relation.odd = odd);
        }
        self.judged(trust_domain, &was, problem, now);
        Ok(is_good)
    }

    fn judged(&self, trust_domain: &TrustDomain, was: &Relation, judged: Result<(), String>, now: OffsetDateTime) {
        let problem = judged.err();
        match &problem {
            Some(why) if was.problem != problem => {
                let kept = was.kept.is_some();
                tracing::error!(%trust_domain, source = %was.source, why, kept, "a foreign bundle cannot be taken");
            }
            None if was.problem.is_some() => tracing::info!(%trust_domain, "its bundle can be read again"),
            Some(_) | None => {}
        }
        self.alter(trust_domain, |relation| {
            if problem.is_none() {
                relation.confirmed_at = Some(now);
            }
            relation.failures = if problem.is_some() { relation.failures.saturating_add(1) } else { 0 };
            relation.problem = problem;
        });
    }

    async fn take(&self, bundle: Bundle, relation: &Relation, now: OffsetDateTime) -> Result<(), FederationError> {
        let foreign = self.fitting(bundle)?;
        if let Some(held) = relation.is_behind(&foreign) {
            let is_endpoint = relation.source.endpoint().is_some();
            return Err(FederationError::Older { shown: foreign.bundle.sequence, held, is_endpoint });
        }
        if relation.holds(&foreign) && relation.kept_from_here().is_some() {
            return Ok(());
        }
        Ok(self.keep((foreign, relation), &NOBODY, now).await?)
    }

    /// An endpoint is asked then.
    pub(super) async fn asks_at(&self, (trust_domain, source): (&TrustDomain, &Source), at: OffsetDateTime) {
        let _hand = self.hand().await;
        if self.relation(trust_domain).is_some_and(|relation| relation.source == *source) {
            self.alter(trust_domain, |relation| relation.asked_at = Some(at));
        }
    }
}

fn named(odd: &[OddEntry]) -> Vec<String> {
    let mut named: Vec<String> = odd.iter().take(ODD_MAX).map(|one| chain(one)).collect();
    if let Some(more) = odd.len().checked_sub(ODD_MAX).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    named
}
