//! Whether the clock runs evenly: since when what it says has agreed with the time that this process has been up.

use crate::clock::Clock;
use crate::telemetry::rfc3339;
use std::time::Duration;
use time::OffsetDateTime;

/// More than a clock is corrected by little by little, and less than anybody waits for.
const TOLERANCE: Duration = Duration::from_secs(30);

/// See the file's words.
#[derive(Debug)]
pub(super) struct Even {
    since: OffsetDateTime,
    seen: Option<(OffsetDateTime, Duration)>,
}

impl Even {
    pub(super) const fn since(now: OffsetDateTime) -> Self {
        Self { since: now, seen: None }
    }

    /// Looks at the clock; what it says, after a look for jumps.
    pub(super) fn look(&mut self, clock: &dyn Clock) -> OffsetDateTime {
        let (now, uptime) = (clock.now(), clock.uptime());
        if let Some((then, up)) = self.seen.replace((now, uptime)) {
            let passed = time::Duration::try_from(uptime.saturating_sub(up)).unwrap_or(time::Duration::MAX);
            if (now - then - passed).unsigned_abs() > TOLERANCE {
                let (then, to) = (rfc3339(then), rfc3339(now));
                tracing::warn!(
                    then,
                    now = to,
                    "the clock jumped, or the machine slept: what keys wait for begins anew"
                );
                self.since = now;
            }
        }
        now
    }

    pub(super) const fn begin(&self) -> OffsetDateTime {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_clock_that_is_set_begins_a_new_count_and_one_that_runs_does_not() {
        let start = OffsetDateTime::UNIX_EPOCH;
        let clock = ManualClock::at(start);
        let mut even = Even::since(start);
        even.look(&clock);
        clock.advance(Duration::from_secs(86_400));
        even.look(&clock);
        assert_eq!(even.begin(), start);
        clock.set(start);
        assert_eq!((even.look(&clock), even.begin()), (start, start));
        clock.set(start + Duration::from_secs(60));
        even.look(&clock);
        assert_eq!(even.begin(), start + Duration::from_secs(60));
    }
}
