//! Whether the clock can be believed: before each record it is held against the last one, and against the time that has
//! passed since it was last believed.
//!
//! Time that passes while the machine sleeps passes, too. A clock that leapt is right nevertheless where somebody else
//! says so: a genuine token that was dated after the time it should be, lately. An old token says nothing; jobs may wait.
//! Small steps add up, until a token that was dated just now says that they were corrections.

use super::Trouble;
use crate::clock::Clock;
use crate::telemetry::rfc3339;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use time::{Duration, OffsetDateTime};

/// Time services step a clock by less; more is somebody's mistake.
pub(crate) const CLOCK_STEP_MAX: std::time::Duration = std::time::Duration::from_secs(30);
/// A job that asks has had its token for no longer, mostly.
const VOUCHED_LATELY: Duration = Duration::minutes(5);

/// Why a clock is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClockError {
    /// It moved further than time passed since it was last believed; until it is where it should be, or a token that was
    /// dated since shows that it is right.
    #[error(
        "the clock says {now}, and by the time that passed it should be {should}; if the clock is right now, stop the \
         server and run `lanyard audit accept-time`", now = rfc3339(*now), should = rfc3339(*should)
    )]
    Leapt {
        /// What it should say.
        should: OffsetDateTime,
        /// What the clock says.
        now: OffsetDateTime,
    },
    /// It stands further behind the last record than a correction explains.
    #[error(
        "the clock says {now}, but the journal's last record is of {last}; if the clock is right now, stop the server \
         and run `lanyard audit accept-time`", now = rfc3339(*now), last = rfc3339(*last)
    )]
    WentBack {
        /// The time of the last record.
        last: OffsetDateTime,
        /// What the clock says.
        now: OffsetDateTime,
    },
}

impl ClockError {
    /// The time that is believed instead of the clock's.
    pub const fn should_be(self) -> OffsetDateTime {
        match self {
            Self::Leapt { should, .. } => should,
            Self::WentBack { last, .. } => last,
        }
    }

    pub(super) const fn trouble(self) -> Trouble {
        match self {
            Self::Leapt { .. } => Trouble::ClockLeapt,
            Self::WentBack { .. } => Trouble::ClockWentBack,
        }
    }
}

/// Why a clock is believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Belief {
    /// There is nothing to hold it against, or somebody else says the same.
    Anew,
    /// It is about where it should be.
    AsBefore,
}

/// A clock, and what is known beside it.
#[derive(Debug)]
pub(super) struct Reckoning {
    clock: Arc<dyn Clock>,
    /// What the clock would have said when its count of time began, as somebody else last said the same.
    zero: Mutex<Option<OffsetDateTime>>,
    /// The latest time that somebody else vouched for, in Unix seconds.
    vouched: AtomicI64,
}

/// A clock that is believed.
#[derive(Clone, Copy, Debug)]
struct Look {
    now: OffsetDateTime,
    /// Since its count of time began.
    passed: std::time::Duration,
    belief: Belief,
}

/// What a clock says, and what it is held against.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    now: OffsetDateTime,
    /// By the time that passed; none where it was never believed.
    should: Option<OffsetDateTime>,
    vouched: i64,
}

impl Reckoning {
    pub(super) const fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, zero: Mutex::new(None), vouched: AtomicI64::new(i64::MIN) }
    }

    /// Somebody who can be believed dated something so.
    pub(super) fn vouch(&self, at: OffsetDateTime) {
        self.vouched.fetch_max(at.unix_timestamp(), Ordering::Relaxed);
    }

    /// Whether the clock goes as time passes.
    ///
    /// # Errors
    /// `Leapt`.
    pub(super) fn check(&self) -> Result<(), ClockError> {
        self.look().map(drop)
    }

    /// The time for a record behind one of `last`.
    ///
    /// # Errors
    /// `WentBack`, `Leapt`.
    pub(super) fn date(&self, last: OffsetDateTime) -> Result<OffsetDateTime, ClockError> {
        let now = self.now();
        if last - now > CLOCK_STEP_MAX {
            return Err(ClockError::WentBack { last, now });
        }
        let Look { now, passed, belief } = self.look()?;
        if belief == Belief::Anew {
            *self.zero.lock().unwrap_or_else(PoisonError::into_inner) = Some(now - passed);
        }
        Ok(now)
    }

    /// What the clock says, as a record tells it.
    pub(super) fn now(&self) -> OffsetDateTime {
        let now = self.clock.now();
        now.replace_millisecond(now.millisecond()).unwrap_or(now)
    }

    fn look(&self) -> Result<Look, ClockError> {
        let (now, passed) = (self.now(), self.clock.elapsed());
        let should = self.zero.lock().unwrap_or_else(PoisonError::into_inner).map(|zero| zero + passed);
        let belief = Evidence { now, should, vouched: self.vouched.load(Ordering::Relaxed) }.judge()?;
        Ok(Look { now, passed, belief })
    }
}

impl Evidence {
    fn judge(self) -> Result<Belief, ClockError> {
        let Self { now, should, vouched } = self;
        let Some(should) = should else { return Ok(Belief::Anew) };
        let vouched = OffsetDateTime::from_unix_timestamp(vouched).ok();
        let is_small = |off: Duration| off.abs() <= CLOCK_STEP_MAX;
        if is_small(now - should) {
            let said_just_now = vouched.is_some_and(|at| is_small(now - at));
            return Ok(if said_just_now { Belief::Anew } else { Belief::AsBefore });
        }
        // Nearer to the clock than to where it should be, and not from long ago.
        let is_right = |at| now > should && at - should > (now - should) / 2 && now - at <= VOUCHED_LATELY;
        if vouched.is_some_and(is_right) { Ok(Belief::Anew) } else { Err(ClockError::Leapt { should, now }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const SHOULD: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

    /// Whether a clock that is so far from where it should be is believed, with a token dated so far from there.
    fn is_believed(off: i64, vouched: Option<i64>) -> bool {
        let vouched = vouched.map_or(i64::MIN, |at| SHOULD.unix_timestamp() + at);
        Evidence { now: SHOULD + Duration::seconds(off), should: Some(SHOULD), vouched }.judge().is_ok()
    }

    #[test]
    fn a_clock_that_leaps_is_not_believed_in_either_direction() {
        for (off, believed) in [(0, true), (30, true), (-30, true), (31, false), (-31, false), (86_400, false)] {
            assert_eq!(is_believed(off, None), believed, "{off} s");
        }
        assert!(
            Evidence { now: SHOULD, should: None, vouched: i64::MIN }.judge().is_ok(),
            "nothing to hold it against"
        );
    }

    #[test]
    fn only_a_token_from_after_the_time_it_should_be_proves_a_leap_right() {
        for (vouched, believed) in [(-5, false), (30, false), (3299, false), (3300, true), (3600, true), (3620, true)] {
            assert_eq!(is_believed(3600, Some(vouched)), believed, "dated {vouched} s after it should be");
        }
        assert!(is_believed(60, Some(40)));
        assert!(is_believed(33, Some(20)) && !is_believed(33, Some(10)), "one of jobs that waited a little");
        assert!(!is_believed(-3600, Some(-3600)), "an old token proves nothing of a clock that went back");
    }

    #[test]
    fn small_steps_are_corrections_only_where_a_token_was_dated_just_then() {
        let belief = |off: i64, vouched: i64| {
            let vouched = SHOULD.unix_timestamp() + vouched;
            Evidence { now: SHOULD + Duration::seconds(off), should: Some(SHOULD), vouched }.judge().unwrap()
        };
        for (off, vouched, anew) in
            [(-29, -3600, false), (-29, -20, true), (-29, 5, false), (29, -2, false), (29, 10, true)]
        {
            assert_eq!(belief(off, vouched) == Belief::Anew, anew, "{off} s off, a token of {vouched} s");
        }
    }
}
