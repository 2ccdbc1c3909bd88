//! When a bundle endpoint is asked again: a pure function of what its bundle says, how often it failed, and chance.
//!
//! After a bundle: when its hint says, from 30 s to a day; five minutes where it says nothing (FED-4, FED-7). After a failure the
//! held bundle stays and the next turn is waited for (FED-22), five minutes at most; each further failure doubles the wait, up to
//! a quarter of an hour, so that whoever comes back is seen soon. An endpoint that was not heard since the start is asked again
//! after five seconds, then twice that, and so on. Up to a tenth is taken off each wait, so that a thousand peers do not come
//! together, and none is asked later than its hint says.

use crate::backoff::Backoff;
use std::time::Duration;

const HINT_MIN: Duration = Duration::from_secs(30);
const HINT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const UNHEARD: Duration = Duration::from_secs(5);
const FAILED_FIRST_MAX: Duration = Duration::from_secs(5 * 60);
const FAILED_MAX: Duration = Duration::from_secs(15 * 60);

/// How a peer stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pace {
    /// What its bundle says.
    pub(super) hint: Duration,
    /// Whether it was heard since the start.
    pub(super) is_heard: bool,
    /// How often in a row it failed.
    pub(super) failures: u32,
}

impl Pace {
    /// How long to wait, before chance takes its part.
    pub(super) fn wait(self) -> Duration {
        let hint = self.hint.clamp(HINT_MIN, HINT_MAX);
        if self.failures == 0 {
            return hint;
        }
        let first = if self.is_heard { hint.min(FAILED_FIRST_MAX) } else { UNHEARD };
        Backoff { first, most: FAILED_MAX }.after(self.failures)
    }
}

/// The most that chance takes off a wait.
pub(super) fn jitter_max(wait: Duration) -> Duration {
    wait / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(hint: u64, is_heard: bool) -> Vec<u64> {
        let pace = |failures| Pace { hint: Duration::from_secs(hint), is_heard, failures };
        [0, 1, 2, 3, 4, 40].map(|failures| pace(failures).wait().as_secs()).to_vec()
    }

    /// Shows: FED-4, FED-7, FED-22.
    #[test]
    fn a_peer_is_asked_when_its_hint_says_within_bounds_and_less_often_while_it_fails() {
        assert_eq!(waits(60, true), [60, 60, 120, 240, 480, 900]);
        assert_eq!(waits(300, true), [300, 300, 600, 900, 900, 900]);
        assert_eq!(waits(1, true), [30, 30, 60, 120, 240, 900]);
        assert_eq!(waits(u64::MAX, true), [86_400, 300, 600, 900, 900, 900]);
        assert_eq!(waits(300, false), [300, 5, 10, 20, 40, 900]);
        assert_eq!(jitter_max(Duration::from_secs(300)), Duration::from_secs(30));
    }
}
