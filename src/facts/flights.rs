//! Questions under way and just answered: one at a time for each thing asked about, and its answer kept for a few seconds.
//!
//! Whoever asks first asks for all who come meanwhile. If it goes away, the next one who waits asks anew.

use crate::clock::Clock;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::OnceCell;

/// An answer's age at most: the SVIDs of one job, and its agents' tries after a failure, share one; and a job that has
/// ended is known to have ended that soon.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(5);
/// Two thousand jobs a second, more than any GitLab answers.
const KEPT_MAX: usize = 10_000;

/// Answers by what they are about.
#[derive(Debug)]
pub(super) struct Flights<K, V> {
    clock: Arc<dyn Clock>,
    kept: Mutex<HashMap<K, Flight<V>>>,
}

#[derive(Debug)]
struct Flight<V> {
    began_at: OffsetDateTime,
    landed: Arc<OnceCell<V>>,
}

impl<V> Flight<V> {
    /// A clock that was put back makes nothing younger.
    fn is_fresh(&self, now: OffsetDateTime) -> bool {
        self.began_at <= now && now - self.began_at < FRESH_FOR
    }
}

impl<K: Eq + Hash, V: Clone> Flights<K, V> {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// What was said of it just now, or what `ask` brings. None where too much is asked about at once.
    pub(super) async fn of(&self, about: K, ask: impl Future<Output = V> + Send) -> Option<V> {
        let landed = self.flight(about)?;
        Some(landed.get_or_init(|| ask).await.clone())
    }

    fn flight(&self, about: K) -> Option<Arc<OnceCell<V>>> {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = kept.get(&about).filter(|flight| flight.is_fresh(now)) {
            return Some(Arc::clone(&flight.landed));
        }
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, flight| flight.is_fresh(now));
        }
        if kept.len() >= KEPT_MAX {
            return None;
        }
        let landed = Arc::default();
        kept.insert(about, Flight { began_at: now, landed: Arc::clone(&landed) });
        drop(kept);
        Some(landed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Scene {
        clock: Arc<ManualClock>,
        flights: Flights<usize, usize>,
        asked: AtomicUsize,
    }

    impl Scene {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::at(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(3600)));
            let flights = Flights::new(Arc::<ManualClock>::clone(&clock));
            Self { clock, flights, asked: AtomicUsize::new(0) }
        }

        async fn ask(&self, about: usize) -> Option<usize> {
            let answer = async {
                tokio::task::yield_now().await;
                self.asked.fetch_add(1, Ordering::Relaxed) + 1
            };
            self.flights.of(about, answer).await
        }
    }

    #[tokio::test]
    async fn who_asks_meanwhile_or_soon_after_shares_one_answer() {
        let scene = Scene::new();
        let (first, second, other) = tokio::join!(scene.ask(1), scene.ask(1), scene.ask(2));
        assert_eq!((first == second, first == other, scene.asked.load(Ordering::Relaxed)), (true, false, 2));
        scene.clock.advance(FRESH_FOR.saturating_sub(Duration::from_nanos(1)));
        assert_eq!(scene.ask(1).await, first);
        scene.clock.advance(Duration::from_nanos(1));
        assert_eq!(scene.ask(1).await, Some(3));
        scene.clock.set(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(scene.ask(1).await, Some(4), "a clock that was put back makes nothing younger");
    }

    #[tokio::test]
    async fn who_waits_asks_anew_when_the_first_goes_away() {
        let scene = Scene::new();
        {
            let mut gone = Box::pin(scene.ask(1));
            tokio::select! {
                biased;
                _ = &mut gone => unreachable!("the answer yields first"),
                () = std::future::ready(()) => {}
            }
        }
        assert_eq!(scene.ask(1).await, Some(1));
    }

    #[tokio::test]
    async fn no_more_is_kept_than_could_be_asked_and_what_is_old_makes_room() {
        let scene = Scene::new();
        for about in 0..KEPT_MAX {
            scene.flights.of(about, std::future::ready(about)).await.unwrap();
        }
        assert_eq!(scene.ask(KEPT_MAX).await, None);
        assert_eq!(scene.flights.of(0, async { 7 }).await, Some(0), "what is known is told all the same");
        scene.clock.advance(FRESH_FOR);
        assert_eq!(scene.ask(KEPT_MAX).await, Some(1));
    }
}
