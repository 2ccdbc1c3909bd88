//! The one hand that changes what we hold of other trust domains: recorded first, then in use.

use super::held::{Kept, Relations, handed_out};
use super::record::{PREFIX, Record};
use super::{Follower, Foreign, ForeignBundles, Ours, Relation, Relationship, Source, Stamp};
use crate::audit::{Changes, Entry, Ledger, Person, Shown};
use crate::bundle::{Bundle, ForeignBundleError};
use crate::identity::TrustDomain;
use crate::store::{Store, StoreError, Write};
use crate::telemetry::chain;
use arc_swap::ArcSwap;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::watch;

/// Of one bundle as it is handed out: fifty roots and more, where a trust domain has one or two. Each renewal of a job
/// carries the bundles of its rule, and many clients read no message above 4 MiB.
const BYTES_MAX: usize = 64 * 1024;

/// Why a bundle is not taken, or not given up.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// Nothing is held of it.
    #[error("no bundle of {0} is held; `lanyard bundle list` shows those that are")]
    Absent(TrustDomain),
    /// No bundle that could be taken.
    #[error(transparent)]
    Bundle(#[from] ForeignBundleError),
    /// The configuration says from where it comes.
    #[error(
        "the bundle of {trust_domain} comes from {source_named}, as a [[federation]] of the server's configuration says; \
         change it there, or take the [[federation]] out and restart the server"
    )]
    Configured {
        /// Whose.
        trust_domain: TrustDomain,
        /// From where.
        source_named: Source,
    },
    /// Our own.
    #[error(
        "{0} is this server's own trust domain: its bundle is made here and taken from nobody (see `lanyard authority`)"
    )]
    Own(TrustDomain),
    /// It shows less than it has shown.
    #[error(
        "its sequence is {shown}, and {held} is held: the source went back to an older bundle; if that trust domain began \
         anew, start the server once without its [[federation]]"
    )]
    Older {
        /// What the source shows.
        shown: u64,
        /// What is held.
        held: u64,
    },
    /// One of its keys is ours.
    #[error(
        "its {authority} has a key of this server's own trust domain, so that each of the two could speak as the other; take \
         it out of the bundle, or, where both hang under one CA, give one of them a root of its own"
    )]
    OurKey {
        /// Which of its authorities.
        authority: String,
    },
    /// The change cannot be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More than agents and workloads could be handed with each renewal.
    #[error(
        "the bundle has {actual} bytes as a SPIFFE document, at most {BYTES_MAX} are taken: leave out old authorities"
    )]
    TooLarge {
        /// What came.
        actual: usize,
    },
}

/// What we hold of other trust domains. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Federation(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    ours: Arc<dyn Ours>,
    ledger: Ledger,
    /// Changes are made by one at a time.
    hand: tokio::sync::Mutex<()>,
    relations: ArcSwap<Relations>,
    shown: watch::Sender<Arc<ForeignBundles>>,
}

/// Who changes something.
struct Word<'a> {
    by: Option<&'a Person>,
    say: Option<&'a str>,
}

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
        now: OffsetDateTime,
    ) -> Result<Self, StoreError> {
        let expected = |one: &Relationship| (one.trust_domain.clone(), Relation::expected(one.source.clone()));
        let mut relations: Relations = configured.iter().map(expected).collect();
        let mut over = Vec::new();
        for (key, stored) in store.list(PREFIX)? {
            let Some(Ok(trust_domain)) = key.strip_prefix(PREFIX).map(TrustDomain::parse) else { continue };
            let record = Record::parse(&stored.value)?;
            let foreign = record.foreign(trust_domain.clone()).map_err(|odd| unreadable(&key, &odd))?;
            let is_over = record.source.is_configured() && !relations.contains_key(&trust_domain);
            if is_over || trust_domain == *ours.trust_domain() {
                over.push(trust_domain.clone());
            }
            let source = record.source.clone();
            let relation = relations.entry(trust_domain).or_insert_with(|| Relation::expected(source));
            relation.kept = Some(Kept::of(record, foreign));
        }
        let (shown, _) = watch::channel(Arc::new(handed_out(&relations, Stamp::first(now))));
        let (hand, relations) = (tokio::sync::Mutex::default(), ArcSwap::from_pointee(relations));
        let federation = Self(Arc::new(Inside { ours, ledger, hand, relations, shown }));
        for trust_domain in over {
            tracing::info!(%trust_domain, "its [[federation]] left the configuration, and its bundle goes");
            federation.forget(&trust_domain, &Word { by: None, say: None }).await?;
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
    pub fn list(&self) -> Vec<(TrustDomain, Relation)> {
        self.relations().iter().map(|(trust_domain, relation)| (trust_domain.clone(), relation.clone())).collect()
    }

    /// What is known of one.
    pub fn relation(&self, trust_domain: &TrustDomain) -> Option<Relation> {
        self.relations().get(trust_domain).cloned()
    }

    /// What keeps each configured bundle equal to its source.
    pub fn followers(&self) -> Vec<Follower> {
        let relations = self.relations();
        let configured = relations.iter().filter(|(_, relation)| relation.source.is_configured());
        configured
            .map(|(trust_domain, relation)| Follower::new(self.clone(), trust_domain.clone(), relation.source.clone()))
            .collect()
    }

    /// Takes a bundle by an operator's word, whatever was held before (FED-27); what was.
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
        let _hand = self.0.hand.lock().await;
        let was = self.by_hand(&trust_domain)?;
        let foreign = self.fitting(bundle)?;
        if was.as_ref().is_some_and(|was| was.holds(&foreign)) {
            return Ok(was.and_then(|was| was.kept).map(|kept| kept.foreign));
        }
        self.keep((foreign, Source::Operator), &Word { by: Some(by), say }, now).await?;
        Ok(was.and_then(|was| was.kept).map(|kept| kept.foreign))
    }

    /// Gives up a bundle that an operator set.
    ///
    /// # Errors
    /// See [`FederationError`].
    pub async fn delete(
        &self,
        trust_domain: &TrustDomain,
        (by, say): (&Person, Option<&str>),
    ) -> Result<(), FederationError> {
        let _hand = self.0.hand.lock().await;
        self.by_hand(trust_domain)?.ok_or_else(|| FederationError::Absent(trust_domain.clone()))?;
        Ok(self.forget(trust_domain, &Word { by: Some(by), say }).await?)
    }

    /// A configured source was looked at: takes what it shows, or remembers what is wrong with it.
    pub(super) async fn looked(
        &self,
        trust_domain: &TrustDomain,
        found: Result<Bundle, String>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let _hand = self.0.hand.lock().await;
        let taken = match found {
            Ok(bundle) => match self.take(bundle, now).await {
                Err(FederationError::Store(fault)) => return Err(fault),
                taken => taken.map_err(|refused| chain(&refused)),
            },
            Err(why) => Err(why),
        };
        let Some(mut relation) = self.relation(trust_domain) else { return Ok(()) };
        let problem = taken.err();
        match &problem {
            Some(why) if relation.problem != problem => {
                let kept = relation.kept.is_some();
                tracing::error!(%trust_domain, source = %relation.source, why, kept, "a foreign bundle cannot be taken");
            }
            None if relation.problem.is_some() => tracing::info!(%trust_domain, "its bundle can be read again"),
            Some(_) | None => {}
        }
        if problem.is_none() {
            relation.confirmed_at = Some(now);
        }
        relation.problem = problem;
        self.change(|relations| drop(relations.insert(trust_domain.clone(), relation)));
        Ok(())
    }

    async fn take(&self, bundle: Bundle, now: OffsetDateTime) -> Result<(), FederationError> {
        let Some(relation) = self.relation(&bundle.trust_domain) else {
            return Err(FederationError::Absent(bundle.trust_domain));
        };
        let foreign = self.fitting(bundle)?;
        if let Some(held) = relation.is_behind(&foreign) {
            return Err(FederationError::Older { shown: foreign.bundle.sequence, held });
        }
        let from_here = relation.kept.as_ref().is_some_and(|kept| kept.source == relation.source);
        if relation.holds(&foreign) && from_here {
            return Ok(());
        }
        Ok(self.keep((foreign, relation.source), &Word { by: None, say: None }, now).await?)
    }

    /// One that can be handed out, and whose keys are nobody's but its own (TDB-25).
    fn fitting(&self, bundle: Bundle) -> Result<Arc<Foreign>, FederationError> {
        if let Some(authority) = bundle.authority_shared_with(&self.0.ours.bundle()) {
            return Err(FederationError::OurKey { authority });
        }
        let foreign = Foreign::from(bundle);
        match foreign.json.len() {
            0..=BYTES_MAX => Ok(Arc::new(foreign)),
            actual => Err(FederationError::TooLarge { actual }),
        }
    }

    /// What is known of a trust domain that an operator may speak for.
    fn by_hand(&self, trust_domain: &TrustDomain) -> Result<Option<Relation>, FederationError> {
        if trust_domain == self.0.ours.trust_domain() {
            return Err(FederationError::Own(trust_domain.clone()));
        }
        match self.relation(trust_domain) {
            Some(Relation { source, .. }) if source.is_configured() => {
                Err(FederationError::Configured { trust_domain: trust_domain.clone(), source_named: source })
            }
            relation => Ok(relation),
        }
    }

    async fn keep(
        &self,
        (foreign, source): (Arc<Foreign>, Source),
        word: &Word<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let trust_domain = foreign.bundle.trust_domain.clone();
        let record = Record::of(&foreign, source.clone(), word.by.cloned(), now);
        let write = Write::Put(Record::key(&trust_domain), record.to_value()?);
        self.record(&trust_domain, (Some(&foreign), &source), word, write).await?;
        self.change(|relations| {
            let relation = relations.entry(trust_domain).or_insert_with(|| Relation::expected(source));
            relation.kept = Some(Kept::of(record, foreign));
            relation.confirmed_at = Some(now);
        });
        self.show();
        Ok(())
    }

    async fn forget(&self, trust_domain: &TrustDomain, word: &Word<'_>) -> Result<(), StoreError> {
        let Some(Relation { source, .. }) = self.relation(trust_domain) else { return Ok(()) };
        self.record(trust_domain, (None, &source), word, Write::Delete(Record::key(trust_domain))).await?;
        self.change(|relations| drop(relations.remove(trust_domain)));
        self.show();
        Ok(())
    }

    async fn record(
        &self,
        trust_domain: &TrustDomain,
        (new, source): (Option<&Arc<Foreign>>, &Source),
        Word { by, say }: &Word<'_>,
        write: Write,
    ) -> Result<(), StoreError> {
        let old = self.relation(trust_domain).and_then(|relation| relation.kept).map(|kept| kept.foreign);
        let shown = |foreign: &Arc<Foreign>| Shown::of(&foreign.bundle, &foreign.json);
        let entry = Entry::BundleChanged {
            trust_domain: trust_domain.as_str(),
            source: &source.to_string(),
            old: old.as_ref().map(shown),
            new: new.map(shown),
            by: *by,
            say: *say,
        };
        self.0.ledger.commit(&entry, Changes { conditions: Vec::new(), writes: vec![write] }).await?;
        tracing::info!(%trust_domain, %source, is_held = new.is_some(), "a foreign bundle has changed");
        Ok(())
    }

    fn show(&self) {
        let stamp = self.now().stamp().next();
        self.0.shown.send_replace(Arc::new(handed_out(&self.relations(), stamp)));
    }

    fn relations(&self) -> Arc<Relations> {
        self.0.relations.load_full()
    }

    /// By whoever has the hand.
    fn change(&self, change: impl FnOnce(&mut Relations)) {
        let mut relations = Relations::clone(&self.relations());
        change(&mut relations);
        self.0.relations.store(Arc::new(relations));
    }
}

fn unreadable(key: &str, odd: &crate::bundle::BundleError) -> StoreError {
    tracing::error!(key, error = %chain(odd), "a kept bundle cannot be read");
    StoreError::Index(std::io::ErrorKind::InvalidData.into())
}
