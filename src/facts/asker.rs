//! Asks one system for all who need it: within its limit, once about each thing, and not at all while it does not answer.

use super::breaker::{Breaker, REST_MAX, Resting};
use super::flights::{Flights, Heard};
use super::{Asking, FactSource, Limits, Silence, Source, Told, World};
use crate::clock::Clock;
use crate::policy::Answer;
use crate::telemetry::SourceMetrics;
use crate::token::Claims;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

/// How many requests wait for one system at once: a sixth of what one issuer may have on the road, so that a silent
/// system leaves the rest of it to others.
pub(super) const WAITING_MAX: usize = 128;

/// A system and what is known of it.
pub(super) struct Asker<S: FactSource> {
    breaker: Mutex<Breaker>,
    clock: Arc<dyn Clock>,
    flights: Flights<S::About, S::Known>,
    metrics: SourceMetrics,
    places: Semaphore,
    source: S,
    within: Duration,
}

impl<S: FactSource> Asker<S> {
    /// Of a source that operators know by this name; without another word its answers count for `fresh_for`.
    pub(super) fn of(source: S, (name, fresh_for): (&str, Duration), limits: Limits, world: &World) -> Arc<Self> {
        Arc::new(Self {
            breaker: Mutex::default(),
            clock: Arc::clone(&world.clock),
            flights: Flights::new(limits.cache_for.unwrap_or(fresh_for)),
            metrics: world.metrics.source(name),
            places: Semaphore::new(WAITING_MAX),
            source,
            within: limits.within,
        })
    }

    #[tracing::instrument(level = "trace", name = "fact", skip_all, fields(lanyard.fact = fact))]
    async fn answer(&self, fact: &'static str, claims: &Claims) -> Told {
        let about = match self.source.about(claims) {
            Ok(about) => about,
            Err(answer) => return answer.into(),
        };
        let (heard, age) = self.heard(about).await;
        match heard.as_ref() {
            Ok(known) => Told { answer: self.source.tell(fact, known, claims), beside: self.source.beside(known), age },
            Err(silence) => silence.answer().into(),
        }
    }

    /// What it says, and how long ago it was asked where that was for somebody else.
    async fn heard(&self, about: S::About) -> (Heard<S::Known>, Option<Duration>) {
        let now = self.clock.now();
        if let Some((heard, age)) = self.flights.known(&about, now) {
            self.metrics.cached();
            return (heard, Some(age));
        }
        let Ok(_place) = self.places.try_acquire() else {
            self.metrics.crowded();
            return (Arc::new(Err(Silence::Unclear("too many requests wait for it".to_owned()))), None);
        };
        let subject = about.clone();
        (self.flights.of(about, now, Box::pin(self.look(&subject))).await, None)
    }

    #[tracing::instrument(level = "trace", name = "question", skip_all)]
    async fn look(&self, about: &S::About) -> Result<S::Known, Silence> {
        let began = self.clock.now();
        let entered = self.breaker().enter(began);
        if let Err(resting) = entered {
            self.metrics.resting();
            return Err(resting.silence(began));
        }
        let late = || {
            let why = format!("no answer within {} s", self.within.as_secs_f32());
            if self.source.has_answered_since(began) { Silence::Unclear(why) } else { Silence::down(why) }
        };
        let looked = tokio::select! {
            biased;
            looked = self.source.look(about) => looked,
            () = self.clock.wait_until(began + self.within) => Err(late()),
        };
        let now = self.clock.now();
        let took = Duration::try_from(now - began).unwrap_or(Duration::ZERO);
        self.metrics.asked(looked.is_ok(), took);
        let is_open = {
            let mut breaker = self.breaker();
            match &looked {
                Err(Silence::Down { why, wait }) => breaker.failed(now, why, *wait),
                Err(Silence::Unclear(_)) | Ok(_) => breaker.answered(),
            }
            breaker.is_open()
        };
        self.metrics.is_open(is_open);
        looked
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: FactSource> Source for Asker<S> {
    fn ask<'a>(&'a self, fact: &'static str, claims: &'a Claims) -> Asking<'a> {
        Box::pin(self.answer(fact, claims))
    }

    fn forget(&self, project_id: u64) {
        self.flights.forget(|about| self.source.is_of_project(about, project_id));
    }
}

/// By the system alone: what it said may tell of persons.
impl<S: FactSource> fmt::Debug for Asker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asker({:?})", self.source)
    }
}

impl Resting {
    fn silence(self, now: OffsetDateTime) -> Silence {
        let seconds = self.seconds(now);
        let why = format!("{}; it is not asked again for {seconds} s", self.why);
        Silence::Down { why, wait: Some(Duration::from_secs(seconds)) }
    }
}

impl Silence {
    fn answer(&self) -> Answer {
        let (why, wait) = match self {
            Self::Down { why, wait } => (why, wait.map(|wait| wait.min(REST_MAX).as_secs())),
            Self::Unclear(why) => (why, None),
        };
        Answer::Unavailable { why: why.clone(), retry_after: wait }
    }
}
