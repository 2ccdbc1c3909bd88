//! Issuers' keys: discovered, cached, refreshed, the last good ones kept while an issuer is down.
//!
//! Readers take no lock. A fetch is a task of its own, and all who need it wait for its outcome: a caller who goes away
//! stops nothing. It is tried at most every 30 s per issuer, whatever names of keys strangers make up.

use super::documents::{fetch_keys, fetch_let_in};
use super::{DiscoveryError, Fetch, KeysError, read_token};
use crate::clock::Clock;
use crate::identity::TrustDomain;
use crate::telemetry::quotable;
use crate::token::{Issuer, Issuers, KeySet, KeySource};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::{Mutex, Semaphore};

/// Design section 9, settled numbers: one refetch per issuer in this time.
const REFETCH_WINDOW: Duration = Duration::from_secs(30);
/// How long keys are used before they are asked for again. GitLab allows a day; a key that it withdraws after a
/// theft should not live that long here.
const REFRESH_AFTER: Duration = Duration::from_secs(3600);
/// How long keys are used while their issuer is down, unless configured: a working day's outage of GitLab.
const LAST_GOOD_FOR: Duration = Duration::from_secs(24 * 3600);

/// What an endpoint needs, most of the time, to show its bundle.
const BUNDLE_ASKED_WITHIN: Duration = Duration::from_secs(5);

/// How many requests wait for one issuer's keys at once: a silent issuer must not hold what the others need.
pub(super) const WAITING_MAX: usize = 256;

/// The keys of all issuers.
#[derive(Debug)]
pub struct IssuerKeys {
    clock: Arc<dyn Clock>,
    fetch: Arc<dyn Fetch>,
    issuers: Arc<Issuers>,
    last_good_for: Duration,
    bundles: Option<Arc<dyn BundleKeys>>,
    slots: BTreeMap<String, Arc<Slot>>,
}

/// The keys that sign JWT-SVIDs of other trust domains, as they are held now.
pub trait BundleKeys: Debug + Send + Sync + 'static {
    /// Of one.
    ///
    /// # Errors
    /// Where nothing is held of it, or what is held is not believed any more.
    fn keys_of(&self, trust_domain: &TrustDomain, now: OffsetDateTime) -> Result<Arc<KeySet>, KeysError>;

    /// They lack a key that a token names: has its source asked, not too often. Whether an answer is still to come.
    fn ask_early(&self, trust_domain: &TrustDomain, now: OffsetDateTime) -> bool;
}

#[derive(Debug)]
struct Slot {
    issuer: Arc<Issuer>,
    state: ArcSwap<State>,
    /// Held by the task that fetches.
    flight: Arc<Mutex<()>>,
    /// One for each request that waits for it.
    waiting: Semaphore,
}

#[derive(Clone, Debug, Default)]
struct State {
    good: Option<(Arc<KeySet>, OffsetDateTime)>,
    /// Outcome of the last try; none if it worked.
    error: Option<Arc<KeysError>>,
    tried_at: Option<OffsetDateTime>,
    /// How many fetches were begun: tells one that was made for a question from one before it, which no clock can.
    tries: u64,
}

impl State {
    fn tried_lately(&self, now: OffsetDateTime) -> bool {
        // A clock that was put back must not keep us from fetching until it has caught up.
        self.tried_at.is_some_and(|tried_at| {
            (OffsetDateTime::UNIX_EPOCH..=now).contains(&tried_at) && now - tried_at < REFETCH_WINDOW
        })
    }

    fn wants_refresh(&self, now: OffsetDateTime) -> bool {
        self.good.as_ref().is_none_or(|(_, fetched_at)| now - *fetched_at >= REFRESH_AFTER) && !self.tried_lately(now)
    }
}

impl IssuerKeys {
    /// Keys of these issuers; nothing is fetched yet.
    pub fn new(issuers: Arc<Issuers>, clock: Arc<dyn Clock>, fetch: Arc<dyn Fetch>) -> Self {
        let slot = |issuer: &Arc<Issuer>| {
            let state = match &issuer.keys {
                KeySource::Bundle(_) | KeySource::Discovery { .. } => State::default(),
                KeySource::Jwks(keys) => {
                    State { good: Some((Arc::new(keys.clone()), clock.now())), ..State::default() }
                }
            };
            let slot = Slot {
                issuer: Arc::clone(issuer),
                state: ArcSwap::from_pointee(state),
                flight: Arc::default(),
                waiting: Semaphore::new(WAITING_MAX),
            };
            (issuer.expectations.issuer_url.clone(), Arc::new(slot))
        };
        let slots = issuers.iter().map(slot).collect();
        Self { clock, fetch, issuers, last_good_for: LAST_GOOD_FOR, bundles: None, slots }
    }

    /// With what is held of other trust domains.
    #[must_use]
    pub fn with_bundles(self, bundles: Arc<dyn BundleKeys>) -> Self {
        Self { bundles: Some(bundles), ..self }
    }

    /// Whose keys they are.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// With another time for which keys are used while their issuer is down.
    #[must_use]
    pub fn with_last_good_for(self, last_good_for: Duration) -> Self {
        Self { last_good_for, ..self }
    }

    /// Keys of an issuer among which the named one is.
    ///
    /// # Errors
    /// `KeyUnknown` after a look at the issuer; `JustFetched` where the last look is too near for another; the others
    /// when it cannot be reached.
    pub async fn of(&self, issuer: &Issuer, kid: &str) -> Result<Arc<KeySet>, DiscoveryError> {
        let Some(slot) = self.slots.get(&issuer.expectations.issuer_url) else {
            return Err(unavailable(issuer, Arc::new(KeysError::NotConfigured)));
        };
        let (state, now) = (slot.state.load(), self.clock.now());
        match &slot.issuer.keys {
            KeySource::Jwks(_) => return known(&state, kid).ok_or_else(|| unknown(issuer, kid)),
            KeySource::Bundle(trust_domain) => return self.of_bundle((issuer, trust_domain), kid, now),
            KeySource::Discovery { .. } => {}
        }
        if !state.wants_refresh(now) {
            if let Some(keys) = known(&state, kid) {
                return self.young_enough(issuer, &state, keys, now);
            }
        } else if let (Some(keys), Err(_busy)) = (known(&state, kid), slot.flight.try_lock()) {
            return self.young_enough(issuer, &state, keys, now);
        }
        let tries = state.tries;
        drop(state);
        let Ok(_place) = slot.waiting.try_acquire() else {
            return Err(DiscoveryError::Crowded { issuer: issuer.name().clone() });
        };
        self.of_refreshed(slot, kid, tries).await
    }

    /// Those of another trust domain's bundle; where they lack the named one, its endpoint is asked for them.
    fn of_bundle(
        &self,
        (issuer, trust_domain): (&Issuer, &TrustDomain),
        kid: &str,
        now: OffsetDateTime,
    ) -> Result<Arc<KeySet>, DiscoveryError> {
        let bundles = self.bundles.as_ref().ok_or_else(|| KeysError::NotHeld(trust_domain.clone()));
        let held = bundles.and_then(|bundles| Ok((bundles, bundles.keys_of(trust_domain, now)?)));
        let (bundles, keys) = held.map_err(|why| unavailable(issuer, Arc::new(why)))?;
        if keys.holds(kid) {
            return Ok(keys);
        }
        if bundles.ask_early(trust_domain, now) {
            let (issuer, kid) = (issuer.name().clone(), quotable(kid));
            return Err(DiscoveryError::JustFetched { issuer, kid, seconds: BUNDLE_ASKED_WITHIN.as_secs() });
        }
        Err(unknown(issuer, kid))
    }

    /// Fetches what every issuer has, so that the first token waits for nothing. Errors are for the log.
    pub async fn warm(&self) -> Vec<DiscoveryError> {
        let mut errors = Vec::new();
        for slot in self.slots.values().filter(|slot| matches!(slot.issuer.keys, KeySource::Discovery { .. })) {
            self.refresh_if(slot, State::wants_refresh).await;
            if let Some(source) = &slot.state.load().error {
                errors.push(unavailable(&slot.issuer, Arc::clone(source)));
            }
        }
        errors
    }

    /// `tries` is how many fetches were begun before the question.
    async fn of_refreshed(&self, slot: &Arc<Slot>, kid: &str, tries: u64) -> Result<Arc<KeySet>, DiscoveryError> {
        self.refresh_if(slot, |state, now| known(state, kid).is_none() || state.wants_refresh(now)).await;
        let (state, now) = (slot.state.load_full(), self.clock.now());
        let issuer = &slot.issuer;
        match (known(&state, kid), &state.error) {
            (Some(keys), _) => self.young_enough(issuer, &state, keys, now),
            // A new key of an issuer that is down cannot be told from an invented one: say that it is down.
            (None, Some(error)) => Err(unavailable(issuer, Arc::clone(error))),
            (None, None) if state.tries == tries => Err(just_fetched(issuer, kid, &state, now)),
            (None, None) => Err(unknown(issuer, kid)),
        }
    }

    /// Fetches if it is wanted once nobody else does, and not too soon after the last time.
    ///
    /// The task takes the flight along: were the fetch its caller's, a stranger who hangs up in time could end each one
    /// and keep new keys from us for ever.
    #[expect(clippy::disallowed_methods, reason = "it ends by itself within the fetcher's time limit")]
    async fn refresh_if(&self, slot: &Arc<Slot>, wanted: impl FnOnce(&State, OffsetDateTime) -> bool) {
        let flight = Arc::clone(&slot.flight).lock_owned().await;
        let (state, now) = (slot.state.load_full(), self.clock.now());
        if state.tried_lately(now) || !wanted(&state, now) {
            return;
        }
        let (slot, fetch) = (Arc::clone(slot), Arc::clone(&self.fetch));
        let task = tokio::spawn(async move {
            slot.try_fetch(&*fetch, now).await;
            drop(flight);
        });
        // A task that broke down left `NotEnded` behind, and that is what the caller reads.
        drop(task.await);
    }

    /// While fetches fail the last good keys stay in use, but not for ever.
    fn young_enough(
        &self,
        issuer: &Issuer,
        state: &State,
        keys: Arc<KeySet>,
        now: OffsetDateTime,
    ) -> Result<Arc<KeySet>, DiscoveryError> {
        match (&state.good, &state.error) {
            (Some((_, fetched_at)), Some(error)) if now - *fetched_at > self.last_good_for => {
                let (fetched_at, source) = (*fetched_at, Arc::clone(error));
                Err(DiscoveryError::LastGoodTooOld { issuer: issuer.name().clone(), fetched_at, source })
            }
            _ => Ok(keys),
        }
    }
}

impl Slot {
    /// Only with the flight in hand. The try is noted before it starts, so that one that breaks down counts too.
    async fn try_fetch(&self, fetch: &dyn Fetch, now: OffsetDateTime) {
        let before = self.state.load_full();
        let tried = State {
            good: before.good.clone(),
            error: Some(Arc::new(KeysError::NotEnded)),
            tried_at: Some(now),
            tries: before.tries + 1,
        };
        self.state.store(Arc::new(tried.clone()));
        let state = match self.fetch_keys(fetch).await {
            Ok(keys) => State { good: Some((Arc::new(keys), now)), error: None, ..tried },
            Err(error) => State { error: Some(Arc::new(error)), ..tried },
        };
        self.state.store(Arc::new(state));
    }

    async fn fetch_keys(&self, fetch: &dyn Fetch) -> Result<KeySet, KeysError> {
        let KeySource::Discovery { url, ca_pem, token_file } = &self.issuer.keys else {
            return Err(KeysError::NotConfigured);
        };
        let (wanted, place) = (&self.issuer.expectations.issuer_url, (url.as_str(), ca_pem.as_deref()));
        match token_file {
            Some(file) => fetch_let_in(fetch, wanted, place, &read_token(file)?).await,
            None => fetch_keys(fetch, wanted, place).await,
        }
    }
}

fn known(state: &State, kid: &str) -> Option<Arc<KeySet>> {
    state.good.as_ref().filter(|(keys, _)| keys.holds(kid)).map(|(keys, _)| Arc::clone(keys))
}

fn unknown(issuer: &Issuer, kid: &str) -> DiscoveryError {
    DiscoveryError::KeyUnknown { issuer: issuer.name().clone(), kid: quotable(kid) }
}

fn just_fetched(issuer: &Issuer, kid: &str, state: &State, now: OffsetDateTime) -> DiscoveryError {
    let next = state.tried_at.unwrap_or(now) + REFETCH_WINDOW;
    let seconds = u64::try_from((next - now).whole_seconds()).unwrap_or(0) + 1;
    DiscoveryError::JustFetched { issuer: issuer.name().clone(), kid: quotable(kid), seconds }
}

fn unavailable(issuer: &Issuer, source: Arc<KeysError>) -> DiscoveryError {
    DiscoveryError::Unavailable { issuer: issuer.name().clone(), source }
}
