//! What time it is, as a value that is passed in.
//!
//! Pure code takes `now: OffsetDateTime`; loops and the flow hold a [`Clock`] and read it once a turn.
//! Waiting is the clock's job too, so that a test can move hours with one call.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// A wait that ends when the clock says so.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What time it is, and how to wait.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now, UTC.
    fn now(&self) -> OffsetDateTime;
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

    fn wait_until(&self, at: OffsetDateTime) -> Wait {
        let remaining = Duration::try_from(at - self.now()).unwrap_or(Duration::ZERO);
        Box::pin(tokio::time::sleep(remaining))
    }
}

/// A clock that stands still until it is moved: hours of renewal in a millisecond.
#[derive(Debug)]
pub struct ManualClock(watch::Sender<OffsetDateTime>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: OffsetDateTime) -> Self {
        Self(watch::Sender::new(start))
    }

    /// Moves the clock forward and wakes whoever waited for a time that has now come.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }

    /// Puts the clock to a time, also a former one.
    pub fn set(&self, to: OffsetDateTime) {
        self.0.send_replace(to);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.borrow()
    }

    fn wait_until(&self, at: OffsetDateTime) -> Wait {
        let mut time = self.0.subscribe();
        Box::pin(async move {
            // The sender is gone only when the clock is, and then nobody waits for it.
            if time.wait_for(|now| *now >= at).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
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
