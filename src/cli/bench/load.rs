//! How calls follow each other: closed, each when one ends; or open, each at its time whatever the answers do.
//!
//! In an open load a call's latency counts from when it was due, so that a server which keeps callers waiting does not
//! hide the calls that were not made meanwhile (coordinated omission). A closed load has no such times: it says how much
//! the server can do, and how long an answer takes among so many.

use super::measured::Measured;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Calls under way in an open load; more only fill memory, and those that are due wait, timed.
const UNDER_WAY_MAX: usize = 4096;

/// How many calls, and when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pace {
    /// So many under way.
    InFlight(usize),
    /// So many a second.
    Rate(u32),
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InFlight(count) => write!(f, "{count} in flight"),
            Self::Rate(rate) => write!(f, "{rate}/s"),
        }
    }
}

impl Pace {
    /// Makes the calls, or as many as begin within this time.
    pub(super) async fn put<C, F>(
        self,
        calls: Vec<C>,
        within: Duration,
        call: impl Fn(usize, C) -> F + Clone + Send + 'static,
    ) -> Measured
    where
        C: Send + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let began = Instant::now();
        let mut measured = match self {
            Self::InFlight(count) => closed(count, calls, began + within, call).await,
            Self::Rate(rate) => open(rate, calls, began + within, call).await,
        };
        measured.took = began.elapsed();
        measured
    }
}

async fn closed<C, F>(
    count: usize,
    calls: Vec<C>,
    until: Instant,
    call: impl Fn(usize, C) -> F + Clone + Send + 'static,
) -> Measured
where
    C: Send + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let calls = Arc::new(Mutex::new(calls.into_iter()));
    let mut callers = JoinSet::new();
    for turn in 0..count {
        let (calls, call) = (Arc::clone(&calls), call.clone());
        let next = move || calls.lock().unwrap_or_else(PoisonError::into_inner).next();
        callers.spawn(one_by_one(next, until, move |next| call(turn, next)));
    }
    let mut all = Measured::default();
    while let Some(Ok(one)) = callers.join_next().await {
        all.add(one);
    }
    all
}

/// One caller: each call when the one before has ended.
async fn one_by_one<C, F>(mut next: impl FnMut() -> Option<C>, until: Instant, call: impl Fn(C) -> F) -> Measured
where
    F: Future<Output = Result<(), String>>,
{
    let mut measured = Measured::default();
    while Instant::now() < until
        && let Some(next) = next()
    {
        let began = Instant::now();
        let outcome = call(next).await;
        measured.take(began.elapsed(), outcome);
    }
    measured
}

async fn open<C, F>(rate: u32, calls: Vec<C>, until: Instant, call: impl Fn(usize, C) -> F) -> Measured
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (began, mut under_way, mut all) = (Instant::now(), JoinSet::new(), Measured::default());
    for (turn, next) in calls.into_iter().enumerate() {
        let due = began + due_after(turn, rate);
        if due >= until {
            break;
        }
        sleep_until(due).await;
        while under_way.len() >= UNDER_WAY_MAX {
            all.take_ended(under_way.join_next().await);
        }
        let outcome = call(turn, next);
        under_way.spawn(async move {
            let outcome = outcome.await;
            (due.elapsed(), outcome)
        });
        while let Some(ended) = under_way.try_join_next() {
            all.take_ended(Some(ended));
        }
    }
    while let Some(ended) = under_way.join_next().await {
        all.take_ended(Some(ended));
    }
    all
}

/// When the call of this number is due, after the first.
fn due_after(number: usize, rate: u32) -> Duration {
    let nanos = u128::try_from(number).unwrap_or_default() * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::agents::Call;
    use super::*;
    use crate::wire::lanyard::RenewRequest;
    use tokio::time::sleep;

    const SLOW: Duration = Duration::from_millis(100);

    fn calls(count: usize) -> Vec<Call> {
        vec![Call::Renew(0, RenewRequest::default()); count]
    }

    fn answered(measured: &Measured) -> u64 {
        measured.row(String::new()).answered
    }

    /// One at a time.
    fn one_at_a_time()
    -> impl Fn(usize, Call) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Clone {
        let door = Arc::new(tokio::sync::Mutex::new(()));
        move |_, _| {
            let door = Arc::clone(&door);
            Box::pin(async move {
                let _inside = door.lock().await;
                sleep(SLOW).await;
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn calls_that_had_to_wait_are_not_left_out_of_an_open_load() {
        let until = Instant::now() + 1000 * SLOW;
        let open = open(20, calls(10), until, one_at_a_time()).await;
        // Due each half of a call's time: the last waits for as many as were made in half its time.
        assert!(open.latency(1.0) >= SLOW * 54 / 10, "{:?}", open.latency(1.0));
        let closed = closed(1, calls(10), until, one_at_a_time()).await;
        assert!(closed.latency(0.5) < open.latency(1.0), "{:?}", closed.latency(0.5));
        assert_eq!((answered(&open), answered(&closed)), (10, 10));
    }

    #[tokio::test]
    async fn no_load_begins_calls_after_its_time() {
        let until = Instant::now() + 3 * SLOW;
        assert!((1..=3).contains(&answered(&closed(1, calls(10), until, one_at_a_time()).await)));
        let until = Instant::now() + 2 * SLOW;
        assert!((1..=2).contains(&answered(&open(10, calls(10), until, one_at_a_time()).await)));
    }
}
