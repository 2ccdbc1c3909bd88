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

    /// What one of the system's facts is for a job.
    #[tracing::instrument(level = "trace", name = "fact", skip_all, fields(lanyard.fact = fact))]
    async fn tell(&self, fact: &'static str, claims: &Claims) -> Told {
        let about = match self.source.about(claims) {
            Ok(about) => about,
            Err(nothing_to_ask) => return nothing_to_ask.into(),
        };
        let (heard, age) = self.hear(about).await;
        match heard.as_ref() {
            Ok(known) => Told { answer: self.source.tell(fact, known, claims), beside: self.source.beside(known), age },
            Err(silence) => silence.answer().into(),
        }
    }

    /// What the system says of something: what it said not long ago, and how long ago that was, or what it says now.
    async fn hear(&self, about: S::About) -> (Heard<S::Known>, Option<Duration>) {
        let now = self.clock.now();
        if let Some((heard, age)) = self.flights.known(&about, now) {
            self.metrics.cached();
            return (heard, Some(age));
        }
        let Ok(_place) = self.places.try_acquire() else {
            self.metrics.crowded();
            return (Arc::new(Err(Silence::Unclear("too many requests wait for it".to_owned()))), None);
        };
        let same = about.clone();
        (self.flights.of(about, now, Box::pin(self.question(&same))).await, None)
    }

    /// Asks the system itself, unless it is left alone, and for no longer than its limit.
    #[tracing::instrument(level = "trace", name = "question", skip_all)]
    async fn question(&self, about: &S::About) -> Result<S::Known, Silence> {
        let began = self.clock.now();
        if let Err(resting) = self.breaker().enter(began) {
            self.metrics.resting();
            return Err(resting.silence(began));
        }
        let said = tokio::select! {
            biased;
            said = self.source.look(about) => said,
            () = self.clock.wait_until(began + self.within) => Err(self.late(began)),
        };
        self.take_note(began, said.as_ref().err());
        said
    }

    /// One that answers others meanwhile is not away: this question is too long for it.
    fn late(&self, began: OffsetDateTime) -> Silence {
        let why = format!("no answer within {} s", self.within.as_secs_f32());
        if self.source.has_answered_since(began) { Silence::Unclear(why) } else { Silence::down(why) }
    }

    /// How it went decides whether the system is asked again soon.
    fn take_note(&self, began: OffsetDateTime, silence: Option<&Silence>) {
        let now = self.clock.now();
        self.metrics.asked(silence.is_none(), Duration::try_from(now - began).unwrap_or(Duration::ZERO));
        let mut breaker = self.breaker();
        match silence {
            Some(Silence::Down { why, wait }) => breaker.failed(now, why, *wait),
            Some(Silence::Unclear(_)) | None => breaker.answered(),
        }
        let is_open = breaker.is_open();
        drop(breaker);
        self.metrics.is_open(is_open);
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: FactSource> Source for Asker<S> {
    fn ask<'a>(&'a self, fact: &'static str, claims: &'a Claims) -> Asking<'a> {
        Box::pin(self.tell(fact, claims))
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
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Down { why, .. } | Self::Unclear(why) => why,
        }
    }

    fn answer(&self) -> Answer {
        let (why, wait) = match self {
            Self::Down { why, wait } => (why, wait.map(|wait| wait.min(REST_MAX).as_secs())),
            Self::Unclear(why) => (why, None),
        };
        Answer::Unavailable { why: why.clone(), retry_after: wait }
    }
}
