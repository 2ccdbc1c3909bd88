//! The one hand that changes what we hold of other trust domains: recorded first, then in use.

use super::error::BYTES_MAX;
use super::held::{Kept, Relations, handed_out};
use super::record::{PREFIX, Record};
use super::turns::Turns;
use super::{FederationError, Follower, Foreign, ForeignBundles, Ours, Relation, Relationship, Source, Stamp};
use crate::audit::{Changes, Entry, Ledger, Person, Shown};
use crate::bundle::Bundle;
use crate::crypto::Random;
use crate::identity::TrustDomain;
use crate::store::{Store, StoreError, Write};
use crate::telemetry::chain;
use arc_swap::ArcSwap;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::{Mutex, mpsc, watch};

/// What we hold of other trust domains. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Federation(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    ours: Arc<dyn Ours>,
    ledger: Ledger,
    random: Random,
    /// Changes are made by one at a time.
    hand: Mutex<()>,
    relations: ArcSwap<Relations>,
    shown: watch::Sender<Arc<ForeignBundles>>,
    turns: Turns,
}

/// Who changes something.
pub(super) struct Word<'a> {
    pub(super) by: Option<&'a Person>,
    pub(super) say: Option<&'a str>,
}

/// A source's own word.
pub(super) const NOBODY: Word<'_> = Word { by: None, say: None };

impl Federation {
    /// What a store holds, and what the configuration tells to take. A relationship that left the configuration is over,
    /// and its bundle goes (FED-23).
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(
        ours: Arc<dyn Ours>,
        configured: &[Relationship],
        (store, ledger): (&dyn Store, Ledger),
        (now, random): (OffsetDateTime, Random),
    ) -> Result<Self, StoreError> {
        let expected =
            |one: &Relationship| (one.trust_domain.clone(), Arc::new(Relation::expected(one.source.clone(), None)));
        let mut relations: Relations = configured.iter().map(expected).collect();
        let mut over = Vec::new();
        for (key, stored) in store.list(PREFIX)? {
            let Some(Ok(trust_domain)) = key.strip_prefix(PREFIX).map(TrustDomain::parse) else { continue };
            let record = Record::parse(&stored.value)?;
            let foreign = record.foreign(trust_domain.clone()).map_err(|odd| unreadable(&key, &odd))?;
            let of_record = Relation::expected(record.source.clone(), record.told_by.clone());
            let is_over = of_record.is_configured() && !relations.contains_key(&trust_domain);
            if is_over || trust_domain == *ours.trust_domain() {
                over.push(trust_domain.clone());
            }
            let relation = Arc::make_mut(relations.entry(trust_domain).or_insert_with(|| Arc::new(of_record)));
            relation.problem.clone_from(&record.set_aside);
            relation.kept = foreign.map(|foreign| Kept::of(record, foreign));
        }
        let (shown, _) = watch::channel(Arc::new(handed_out(&relations, Stamp::first(now))));
        let (hand, relations, turns) = (Mutex::default(), ArcSwap::from_pointee(relations), Turns::default());
        let federation = Self(Arc::new(Inside { ours, ledger, random, hand, relations, shown, turns }));
        for trust_domain in over {
            tracing::info!(%trust_domain, "its [[federation]] left the configuration, and its bundle goes");
            federation.forget(&trust_domain, &NOBODY, now).await?;
        }
        federation.review(now).await?;
        for first in configured.iter().filter_map(|one| one.first.as_ref()) {
            federation.begin_with(first, now).await?;
        }
        Ok(federation)
    }

    /// What is handed out, and each change of it.
    pub fn watch(&self) -> watch::Receiver<Arc<ForeignBundles>> {
        self.0.shown.subscribe()
    }

    /// What is handed out now.
    pub fn now(&self) -> Arc<ForeignBundles> {
        Arc::clone(&self.0.shown.borrow())
    }

    /// What is known of each trust domain, sorted by name.
    pub fn list(&self) -> Vec<(TrustDomain, Arc<Relation>)> {
        let relations = self.relations();
        relations.iter().map(|(trust_domain, relation)| (trust_domain.clone(), Arc::clone(relation))).collect()
    }

    /// What is known of one.
    pub fn relation(&self, trust_domain: &TrustDomain) -> Option<Arc<Relation>> {
        self.relations().get(trust_domain).cloned()
    }

    /// What keeps each bundle equal to its source.
    pub fn followers(&self) -> Vec<Follower> {
        let all = self.relations();
        let followed = all.iter().filter(|(_, relation)| relation.source != Source::Operator);
        followed.map(|(trust_domain, relation)| self.follower(trust_domain, &relation.source)).collect()
    }

    /// Those that come later, by operators' words; for whoever runs them, once.
    pub fn newcomers(&self) -> Option<mpsc::UnboundedReceiver<Follower>> {
        self.0.turns.newcomers()
    }

    /// Ends whoever followed this trust domain before.
    pub(super) fn follower(&self, trust_domain: &TrustDomain, source: &Source) -> Follower {
        let turn = self.0.turns.begin(trust_domain);
        Follower::new(self.clone(), (trust_domain.clone(), source.clone()), turn)
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    pub(super) fn random(&self) -> &Random {
        &self.0.random
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(super) fn is_own(&self, trust_domain: &TrustDomain) -> bool {
        self.0.ours.trust_domain() == trust_domain
    }

    /// For one change, from the look at what there is to the end.
    pub(super) async fn hand(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.hand.lock().await
    }

    /// A first bundle counts until there is one of its source.
    async fn begin_with(&self, first: &Bundle, now: OffsetDateTime) -> Result<(), StoreError> {
        let trust_domain = &first.trust_domain;
        let Some(relation) = self.relation(trust_domain).filter(|one| one.kept_from_here().is_none()) else {
            return Ok(());
        };
        match self.fitting(first.clone()) {
            Ok(foreign) => self.keep((foreign, &relation), &NOBODY, now).await,
            Err(odd) => {
                self.alter(trust_domain, |relation| relation.problem = Some(chain(&odd)));
                Ok(())
            }
        }
    }

    /// One that can be handed out.
    pub(super) fn fitting(&self, bundle: Bundle) -> Result<Arc<Foreign>, FederationError> {
        let foreign = Foreign::from(bundle);
        self.check(&foreign)?;
        Ok(Arc::new(foreign))
    }

    /// That its keys are nobody's but its own (TDB-25), and not too many.
    pub(super) fn check(&self, foreign: &Foreign) -> Result<(), FederationError> {
        foreign.bundle.clone().of_itself_alone()?;
        if let Some(authority) = foreign.bundle.authority_shared_with(&self.0.ours.bundle()) {
            return Err(FederationError::OurKey { authority });
        }
        match foreign.json.len() {
            0..=BYTES_MAX => Ok(()),
            actual => Err(FederationError::TooLarge { actual }),
        }
    }

    /// Which of these keys another foreign trust domain has too.
    fn shared(&self, foreign: &Foreign) -> Option<String> {
        let (relations, own) = (self.relations(), &foreign.bundle.trust_domain);
        let others = relations.iter().filter(|(other, _)| *other != own);
        others.into_iter().find_map(|(other, relation)| {
            let held = &relation.kept.as_ref()?.foreign;
            let key = held.keys.intersection(&foreign.keys).next()?;
            Some(format!("key {key} is one of {other}, too: each of the two can speak as the other"))
        })
    }

    /// Takes a bundle for a relation, whatever was held.
    pub(super) async fn keep(
        &self,
        (foreign, relation): (Arc<Foreign>, &Relation),
        word: &Word<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let trust_domain = foreign.bundle.trust_domain.clone();
        let record = Record::of(relation, Some(&foreign), word.by.cloned(), now);
        let shared = self.shared(&foreign);
        if let Some(shared) = &shared {
            tracing::warn!(%trust_domain, shared, "a foreign bundle has a key of another");
        }
        self.record(&trust_domain, (Some(&foreign), &relation.source), word, record.write(&trust_domain)?).await?;
        self.change(|relations| {
            let kept = relations.entry(trust_domain).or_insert_with(|| Arc::new(relation.clone()));
            let kept = Arc::make_mut(kept);
            kept.kept = Some(Kept::of(record, foreign));
            kept.confirmed_at = (kept.source == Source::Operator).then_some(now);
            kept.problem = kept.problem.take().filter(|_| kept.source != Source::Operator);
            kept.odd.clear();
            kept.shared = shared;
        });
        self.show(now);
        Ok(())
    }

    pub(super) async fn forget(
        &self,
        trust_domain: &TrustDomain,
        word: &Word<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let Some(relation) = self.relation(trust_domain) else { return Ok(()) };
        let write = Write::Delete(Record::key(trust_domain));
        self.record(trust_domain, (None, &relation.source), word, write).await?;
        self.0.turns.end(trust_domain);
        self.change(|relations| drop(relations.remove(trust_domain)));
        self.show(now);
        Ok(())
    }

    pub(super) async fn record(
        &self,
        trust_domain: &TrustDomain,
        (new, source): (Option<&Arc<Foreign>>, &Source),
        Word { by, say }: &Word<'_>,
        write: Write,
    ) -> Result<(), StoreError> {
        let old = self.relation(trust_domain);
        let old = old.as_ref().and_then(|relation| relation.kept.as_ref()).map(|kept| &kept.foreign);
        let shown = |foreign: &Arc<Foreign>| Shown::of(&foreign.bundle, &foreign.json);
        let entry = Entry::BundleChanged {
            trust_domain: trust_domain.as_str(),
            source: &source.to_string(),
            old: old.map(shown),
            new: new.map(shown),
            by: *by,
            say: *say,
        };
        self.0.ledger.commit(&entry, Changes { conditions: Vec::new(), writes: vec![write] }).await?;
        tracing::info!(%trust_domain, %source, is_held = new.is_some(), "a foreign bundle has changed");
        Ok(())
    }

    pub(super) fn show(&self, now: OffsetDateTime) {
        let stamp = self.now().stamp().next(now);
        self.0.shown.send_replace(Arc::new(handed_out(&self.relations(), stamp)));
    }

    fn relations(&self) -> Arc<Relations> {
        self.0.relations.load_full()
    }

    /// By whoever has the hand.
    pub(super) fn change(&self, change: impl FnOnce(&mut Relations)) {
        let mut relations = Relations::clone(&self.relations());
        change(&mut relations);
        self.0.relations.store(Arc::new(relations));
    }

    /// One that is there, by whoever has the hand.
    pub(super) fn alter(&self, trust_domain: &TrustDomain, alter: impl FnOnce(&mut Relation)) {
        self.change(|relations| {
            if let Some(relation) = relations.get_mut(trust_domain) {
                alter(Arc::make_mut(relation));
            }
        });
    }
}

pub(super) fn unreadable(key: &str, odd: &crate::bundle::BundleError) -> StoreError {
    tracing::error!(key, error = %chain(odd), "a kept bundle cannot be read");
    StoreError::Index(std::io::ErrorKind::InvalidData.into())
}
