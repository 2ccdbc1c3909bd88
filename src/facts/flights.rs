//! Questions under way and just answered: one at a time for each thing asked about, and its answer kept for a while.
//!
//! Whoever asks first asks for all who come meanwhile. If it goes away, the next one who waits asks anew.

use super::Silence;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::OnceCell;

/// That there was no answer is kept so long: the SVIDs of one job and its agents' tries share one question.
pub(super) const SILENT_FOR: Duration = Duration::from_secs(5);
/// Two thousand jobs a second for five seconds, more than any system answers.
const KEPT_MAX: usize = 10_000;

/// What was said; shared.
pub(super) type Heard<V> = Arc<Result<V, Silence>>;

/// Answers by what they are about.
#[derive(Debug)]
pub(super) struct Flights<K, V> {
    fresh_for: Duration,
    kept: Mutex<HashMap<K, Flight<V>>>,
}

#[derive(Debug)]
struct Flight<V> {
    began_at: OffsetDateTime,
    landed: Arc<OnceCell<Heard<V>>>,
}

impl<V> Flight<V> {
    /// A clock that was put back makes nothing younger.
    fn is_fresh(&self, fresh_for: Duration, now: OffsetDateTime) -> bool {
        let counts_for = match self.landed.get().map(|heard| &**heard) {
            Some(Err(_silence)) => SILENT_FOR.min(fresh_for),
            Some(Ok(_)) | None => fresh_for,
        };
        self.began_at <= now && now - self.began_at < counts_for
    }

    /// Whether somebody waits for it still.
    fn is_under_way(&self) -> bool {
        !self.landed.initialized() && Arc::strong_count(&self.landed) > 1
    }
}

impl<K: Eq + Hash, V> Flights<K, V> {
    pub(super) fn new(fresh_for: Duration) -> Self {
        Self { fresh_for, kept: Mutex::default() }
    }

    /// What was said of it not long ago, and how long ago it was asked.
    pub(super) fn known(&self, about: &K, now: OffsetDateTime) -> Option<(Heard<V>, Duration)> {
        let kept = self.kept();
        let flight = kept.get(about).filter(|flight| flight.is_fresh(self.fresh_for, now))?;
        let said = flight.landed.get().map(|heard| (Arc::clone(heard), flight.began_at));
        drop(kept);
        said.map(|(heard, began_at)| (heard, Duration::try_from(now - began_at).unwrap_or(Duration::ZERO)))
    }

    /// What was said of it not long ago, or what `ask` brings.
    pub(super) async fn of(
        &self,
        about: K,
        now: OffsetDateTime,
        ask: impl Future<Output = Result<V, Silence>> + Send,
    ) -> Heard<V> {
        let landed = self.flight(about, now);
        Arc::clone(landed.get_or_init(|| async { Arc::new(ask.await) }).await)
    }

    /// Of these, nothing counts that was said or is being said.
    pub(super) fn forget(&self, which: impl Fn(&K) -> bool) {
        self.kept().retain(|about, _flight| !which(about));
    }

    fn flight(&self, about: K, now: OffsetDateTime) -> Arc<OnceCell<Heard<V>>> {
        let mut kept = self.kept();
        if let Some(flight) = kept.get(&about).filter(|flight| flight.is_fresh(self.fresh_for, now)) {
            return Arc::clone(&flight.landed);
        }
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, flight| flight.is_fresh(self.fresh_for, now));
        }
        // What is known can be asked again; those who wait, wait for one question.
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, flight| flight.is_under_way());
        }
        let landed = Arc::default();
        kept.insert(about, Flight { began_at: now, landed: Arc::clone(&landed) });
        drop(kept);
        landed
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const FRESH_FOR: Duration = Duration::from_secs(60);

    struct Scene {
        flights: Flights<usize, usize>,
        asked: AtomicUsize,
    }

    impl Scene {
        fn new() -> Self {
            Self { flights: Flights::new(FRESH_FOR), asked: AtomicUsize::new(0) }
        }

        async fn ask(&self, about: usize, at: OffsetDateTime) -> usize {
            let answer = async {
                tokio::task::yield_now().await;
                Ok(self.asked.fetch_add(1, Ordering::Relaxed) + 1)
            };
            *(*self.flights.of(about, at, answer).await).as_ref().unwrap()
        }
    }

    #[tokio::test]
    async fn who_asks_meanwhile_or_soon_after_shares_one_answer() {
        let scene = Scene::new();
        let (first, second, other) = tokio::join!(scene.ask(1, START), scene.ask(1, START), scene.ask(2, START));
        assert_eq!((first == second, first == other, scene.asked.load(Ordering::Relaxed)), (true, false, 2));
        let almost = START + FRESH_FOR.saturating_sub(Duration::from_nanos(1));
        assert_eq!(scene.ask(1, almost).await, first);
        let age = |at| scene.flights.known(&1, at).map(|(_, age)| age);
        assert_eq!(
            (age(almost), age(START + FRESH_FOR)),
            (Some(FRESH_FOR.saturating_sub(Duration::from_nanos(1))), None)
        );
        assert_eq!(scene.ask(1, START + FRESH_FOR).await, 3);
        assert_eq!(scene.ask(1, START).await, 4, "a clock that was put back makes nothing younger");
    }

    #[tokio::test]
    async fn a_silence_is_kept_for_a_moment_only() {
        let scene = Scene::new();
        let silent = async { Err(Silence::down("away")) };
        assert!(scene.flights.of(1, START, silent).await.is_err());
        let soon = START + SILENT_FOR.saturating_sub(Duration::from_nanos(1));
        assert!(scene.flights.known(&1, soon).unwrap().0.is_err());
        assert_eq!(scene.ask(1, START + SILENT_FOR).await, 1);
    }

    #[tokio::test]
    async fn who_waits_asks_anew_when_the_first_goes_away() {
        let scene = Scene::new();
        {
            let mut gone = Box::pin(scene.ask(1, START));
            tokio::select! {
                biased;
                _ = &mut gone => unreachable!("the answer yields first"),
                () = std::future::ready(()) => {}
            }
        }
        assert_eq!(scene.ask(1, START).await, 1);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_asked_again_also_by_those_who_come_while_it_is_asked() {
        let scene = Scene::new();
        let late = async {
            scene.flights.forget(|about| *about == 1);
            scene.ask(1, START).await
        };
        let (before, after) = {
            let mut asking = Box::pin(scene.ask(1, START));
            assert!(poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_pending())).await);
            tokio::join!(asking, late)
        };
        assert_ne!(before, after);
        assert_eq!((scene.ask(1, START).await, scene.asked.load(Ordering::Relaxed)), (after, 2));
    }

    #[tokio::test]
    async fn what_is_known_makes_room_and_those_who_wait_share_their_question_all_the_same() {
        let scene = Scene::new();
        let mut waiting = Box::pin(scene.ask(0, START));
        assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await);
        for about in 1..=KEPT_MAX {
            scene.flights.of(about, START, std::future::ready(Ok(about))).await;
        }
        assert!(scene.flights.kept().len() < KEPT_MAX);
        assert_eq!(tokio::join!(waiting, scene.ask(0, START)), (1, 1));
    }
}
