//! What time it is, as a value that is passed in.
//!
//! Pure code takes `now: OffsetDateTime`; loops and the flow hold a [`Clock`] and read it once a turn.
//! Waiting is the clock's job too, so that a test can move hours with one call.

use rustix::time::{ClockId, clock_gettime};
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio::sync::watch;

/// A wait that ends when the clock says so.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What time it is, and how to wait.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now, UTC.
    fn now(&self) -> OffsetDateTime;
    /// How long it has run, whatever it was set to; counts from any beginning, and not while the machine sleeps.
    fn uptime(&self) -> Duration;
    /// How much time has passed, also while the machine slept; counts from any beginning.
    fn elapsed(&self) -> Duration;
    /// Resolves once `now` has reached `at`; at once if it has.
    fn wait_until(&self, at: OffsetDateTime) -> Wait;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from(std::time::SystemTime::now())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn uptime(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn elapsed(&self) -> Duration {
        let since_boot = clock_gettime(ClockId::Boottime);
        Duration::try_from(since_boot).unwrap_or_default()
    }

    fn wait_until(&self, at: OffsetDateTime) -> Wait {
        let remaining = Duration::try_from(at - self.now()).unwrap_or(Duration::ZERO);
        Box::pin(tokio::time::sleep(remaining))
    }
}

/// A clock that stands still until it is moved: hours of renewal in a millisecond.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<OffsetDateTime>,
    ran: Mutex<Duration>,
    slept: Mutex<Duration>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: OffsetDateTime) -> Self {
        Self { now: watch::Sender::new(start), ran: Mutex::default(), slept: Mutex::default() }
    }

    /// Moves the clock forward and wakes whoever waited for a time that has now come.
    pub fn advance(&self, by: Duration) {
        *locked(&self.ran) += by;
        self.now.send_modify(|now| *now += by);
    }

    /// A machine that sleeps so long.
    pub fn sleep(&self, by: Duration) {
        *locked(&self.slept) += by;
        self.now.send_modify(|now| *now += by);
    }

    /// Puts the clock to a time, also a former one.
    pub fn set(&self, to: OffsetDateTime) {
        self.now.send_replace(to);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *self.now.borrow()
    }

    fn uptime(&self) -> Duration {
        *locked(&self.ran)
    }

    fn elapsed(&self) -> Duration {
        *locked(&self.ran) + *locked(&self.slept)
    }

    fn wait_until(&self, at: OffsetDateTime) -> Wait {
        let mut time = self.now.subscribe();
        Box::pin(async move {
            // The sender is gone only when the clock is, and then nobody waits for it.
            if time.wait_for(|now| *now >= at).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

fn locked(span: &Mutex<Duration>) -> MutexGuard<'_, Duration> {
    span.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_a_waiter_when_it_is_moved_past_its_time() {
        let clock = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        let wait = clock.wait_until(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(3600));
        clock.advance(Duration::from_secs(3599));
        assert!(
            tokio::time::timeout(Duration::from_millis(5), clock.wait_until(clock.now() + Duration::from_secs(1)))
                .await
                .is_err()
        );
        clock.advance(Duration::from_secs(1));
        wait.await;
    }
}
