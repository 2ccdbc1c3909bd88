//! What operators tell: a bundle, an endpoint to ask, or that it is over (FED-27, FED-28).

use super::keeper::Word;
use super::record::Record;
use super::{Endpoint, Federation, FederationError, Foreign, Relation, Source};
use crate::audit::{Changes, Entry, Person};
use crate::bundle::Bundle;
use crate::identity::TrustDomain;
use std::sync::Arc;
use time::OffsetDateTime;

impl Federation {
    /// Takes a bundle by an operator's word, whatever was held before (FED-27); what was. That of an endpoint counts until the
    /// endpoint shows its next, and is held against it at once.
    ///
    /// # Errors
    /// See [`FederationError`].
    pub async fn set(
        &self,
        bundle: Bundle,
        (by, say): (&Person, Option<&str>),
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Foreign>>, FederationError> {
        let trust_domain = bundle.trust_domain.clone();
        let _hand = self.hand().await;
        let was = self.by_hand(&trust_domain)?;
        let foreign = self.fitting(bundle)?;
        let relation = was.clone().unwrap_or_else(|| Arc::new(Relation::expected(Source::Operator, None)));
        if !was.as_ref().is_some_and(|was| was.holds(&foreign)) {
            self.keep((foreign, &relation), &Word { by: Some(by), say }, now).await?;
        }
        self.turns().hurry(&trust_domain);
        Ok(was.and_then(|was| was.kept.as_ref().map(|kept| Arc::clone(&kept.foreign))))
    }

    /// Asks an endpoint from now on, whether anybody answers there or not. What is held stays until then, or is this first one.
    ///
    /// # Errors
    /// See [`FederationError`].
    pub async fn set_endpoint(
        &self,
        trust_domain: &TrustDomain,
        (endpoint, first): (Endpoint, Option<Bundle>),
        (by, say): (&Person, Option<&str>),
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Foreign>>, FederationError> {
        let _hand = self.hand().await;
        let was = self.by_hand(trust_domain)?;
        if let Some(configured) = was.as_ref().filter(|was| was.is_configured()) {
            return Err(configured_one(trust_domain, configured));
        }
        let first = first.map(|first| self.fitting(first)).transpose()?;
        let kept = was.as_ref().and_then(|was| was.kept.clone());
        let has_bundle = first.is_some() || kept.is_some();
        self.check_endpoint(trust_domain, &endpoint, has_bundle)?;
        let relation = Relation {
            kept: kept.map(|kept| super::Kept { source: Source::Endpoint(endpoint.clone()), ..kept }),
            ..Relation::expected(Source::Endpoint(endpoint), Some(by.clone()))
        };
        self.tell(trust_domain, &relation, &Word { by: Some(by), say }).await?;
        if let Some(first) = first.filter(|first| !relation.holds(first)) {
            self.keep((first, &relation), &Word { by: Some(by), say }, now).await?;
        }
        let follower = self.follower(trust_domain, &relation.source);
        self.turns().welcome(follower);
        self.turns().hurry(trust_domain);
        Ok(was.and_then(|was| was.kept.as_ref().map(|kept| Arc::clone(&kept.foreign))))
    }

    /// Gives up what an operator set: the bundle, and with it the endpoint (FED-23).
    ///
    /// # Errors
    /// See [`FederationError`].
    pub async fn delete(
        &self,
        trust_domain: &TrustDomain,
        (by, say): (&Person, Option<&str>),
        now: OffsetDateTime,
    ) -> Result<(), FederationError> {
        let _hand = self.hand().await;
        let relation = self.by_hand(trust_domain)?.ok_or_else(|| FederationError::Absent(trust_domain.clone()))?;
        if relation.is_configured() {
            return Err(configured_one(trust_domain, &relation));
        }
        Ok(self.forget(trust_domain, &Word { by: Some(by), say }, now).await?)
    }

    /// What is known of a trust domain of which an operator may bring a bundle: an endpoint's is one, a file's is not.
    fn by_hand(&self, trust_domain: &TrustDomain) -> Result<Option<Arc<Relation>>, FederationError> {
        if self.is_own(trust_domain) {
            return Err(FederationError::Own(trust_domain.clone()));
        }
        match self.relation(trust_domain) {
            Some(relation) if relation.is_configured() && relation.source.endpoint().is_none() => {
                Err(configured_one(trust_domain, &relation))
            }
            relation => Ok(relation),
        }
    }

    fn check_endpoint(
        &self,
        trust_domain: &TrustDomain,
        endpoint: &Endpoint,
        has_bundle: bool,
    ) -> Result<(), FederationError> {
        let Some(id) = endpoint.endpoint_id() else { return Ok(()) };
        let vouches = id.trust_domain();
        if self.is_own(&vouches) {
            return Err(FederationError::OwnEndpoint(id.clone()));
        }
        if vouches == *trust_domain && !has_bundle {
            return Err(FederationError::NoFirst(vouches));
        }
        Ok(())
    }

    /// Records whom we ask from now on, beside what is held.
    async fn tell(
        &self,
        trust_domain: &TrustDomain,
        relation: &Relation,
        word: &Word<'_>,
    ) -> Result<(), FederationError> {
        let kept = relation.kept.as_ref();
        let since = kept.map_or(OffsetDateTime::UNIX_EPOCH, |kept| kept.since);
        let by = kept.and_then(|kept| kept.by.clone());
        let record = Record::of(relation, kept.map(|kept| &*kept.foreign), by, since);
        let source = relation.source.to_string();
        let entry =
            Entry::FederationSet { trust_domain: trust_domain.as_str(), source: &source, by: word.by, say: word.say };
        let changes = Changes { conditions: Vec::new(), writes: vec![record.write(trust_domain)?] };
        self.ledger().commit(&entry, changes).await?;
        self.change(|relations| drop(relations.insert(trust_domain.clone(), Arc::new(relation.clone()))));
        Ok(())
    }
}

fn configured_one(trust_domain: &TrustDomain, relation: &Relation) -> FederationError {
    FederationError::Configured { trust_domain: trust_domain.clone(), source_named: Box::new(relation.source.clone()) }
}
