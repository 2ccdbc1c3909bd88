//! A circuit breaker: a system that does not answer is left alone for a while, and then asked once before it is asked by
//! all. Pure: `now` is an argument.

use std::time::Duration;
use time::OffsetDateTime;

/// So many questions in a row without an answer are no accident.
const FAILURES_MAX: u32 = 5;
/// Shorter than what is left of any SVID when its agent begins to renew it.
const REST: Duration = Duration::from_secs(10);
/// Limits of APIs are per minute; a longer wait is somebody's mistake, and would silence the needs of all jobs.
pub(super) const REST_MAX: Duration = Duration::from_secs(300);

/// Whether a system is asked.
#[derive(Debug)]
pub(super) enum Breaker {
    /// It is; so many failed in a row.
    Closed { failures: u32 },
    /// It is left alone.
    Open(Resting),
    /// One asks for all; if that one goes away, another does after this.
    HalfOpen(Resting),
}

/// Until when it is left alone, and what it said last.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Resting {
    pub(super) until: OffsetDateTime,
    pub(super) why: String,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Lets a question through, or says until when none is.
    pub(super) fn enter(&mut self, now: OffsetDateTime) -> Result<(), Resting> {
        let (Self::Open(resting) | Self::HalfOpen(resting)) = self else { return Ok(()) };
        // Further away than any rest: the clock was put back.
        if now < resting.until && resting.until - now <= REST_MAX {
            return Err(resting.clone());
        }
        *self = Self::HalfOpen(Resting { until: now + REST, why: resting.why.clone() });
        Ok(())
    }

    /// It answered. Who was asked before the rest began does not end it.
    pub(super) fn answered(&mut self) {
        if !matches!(self, Self::Open(_)) {
            *self = Self::default();
        }
    }

    /// It did not; it may have said for how long it wants to be left alone.
    pub(super) fn failed(&mut self, now: OffsetDateTime, why: &str, wait: Option<Duration>) {
        let rest = match (wait, &*self) {
            (Some(wait), _) => wait.min(REST_MAX),
            (None, Self::Closed { failures }) if failures + 1 < FAILURES_MAX => {
                *self = Self::Closed { failures: failures + 1 };
                return;
            }
            (None, Self::Open(_)) => return,
            (None, Self::Closed { .. } | Self::HalfOpen(_)) => REST,
        };
        *self = Self::Open(Resting { until: now + rest, why: why.to_owned() });
    }

    /// Whether it is left alone, but for one who asks.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }
}

impl Resting {
    /// In how many seconds to ask again.
    pub(super) fn seconds(&self, now: OffsetDateTime) -> u64 {
        u64::try_from((self.until - now).whole_seconds()).unwrap_or(0)
            + u64::from((self.until - now).subsec_nanoseconds() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn at(seconds: u64) -> OffsetDateTime {
        START + Duration::from_secs(seconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            breaker.enter(START).unwrap();
            breaker.failed(START, "away", None);
        }
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..FAILURES_MAX {
                breaker.failed(START, "away", None);
            }
            breaker.answered();
            breaker.enter(START).unwrap();
        }
        assert!(!breaker.is_open() && opened().is_open());
    }

    #[test]
    fn after_the_rest_one_asks_for_all_and_what_it_hears_counts() {
        for (answers, then) in [(true, Ok(())), (false, Err(at(20)))] {
            let mut breaker = opened();
            let resting = breaker.enter(at(9)).unwrap_err();
            assert_eq!((resting.until, resting.why.as_str(), resting.seconds(at(9))), (at(10), "away", 1));
            breaker.enter(at(10)).unwrap();
            breaker.enter(at(10)).unwrap_err();
            if answers {
                breaker.answered();
            } else {
                breaker.failed(at(10), "still", None);
            }
            assert_eq!(breaker.enter(at(11)).map_err(|resting| resting.until), then);
        }
        let mut breaker = opened();
        breaker.enter(at(10)).unwrap();
        breaker.enter(at(20)).unwrap();
    }

    #[test]
    fn a_wait_that_was_asked_for_holds_whatever_an_earlier_question_hears() {
        let mut breaker = Breaker::default();
        breaker.failed(START, "429", Some(Duration::from_secs(60)));
        breaker.answered();
        breaker.failed(START, "away", None);
        assert_eq!(breaker.enter(at(59)).unwrap_err().until, at(60));
        breaker.failed(START, "429", Some(Duration::from_secs(86400)));
        assert_eq!(breaker.enter(at(60)).unwrap_err().until, at(300));
        breaker.enter(START - Duration::from_secs(3600)).unwrap();
    }
}
