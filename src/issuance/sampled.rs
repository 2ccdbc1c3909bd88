//! How many refusals a second are told in the log: enough to see what goes on, too few to fill a disk or to cost more than
//! the refusals themselves. The metrics count all.

use std::sync::{Mutex, PoisonError};
use time::OffsetDateTime;

/// Lines a second about strangers: whoever has no token, or none of ours.
const OF_STRANGERS_MAX: u64 = 8;
/// Lines a second about bearers of genuine tokens; the journal has the first of each kind besides.
const OF_BEARERS_MAX: u64 = 64;

/// What was told in this second.
#[derive(Debug)]
pub(super) struct Sampled {
    most: u64,
    second: Mutex<Second>,
}

#[derive(Debug, Default)]
struct Second {
    unix: i64,
    told: u64,
    untold: u64,
}

impl Sampled {
    /// For refusals of strangers.
    pub(super) fn of_strangers() -> Self {
        Self { most: OF_STRANGERS_MAX, second: Mutex::default() }
    }

    /// For refusals of known bearers.
    pub(super) fn of_bearers() -> Self {
        Self { most: OF_BEARERS_MAX, second: Mutex::default() }
    }

    /// Whether to tell another one; if so, how many were not told before it.
    pub(super) fn tells(&self, now: OffsetDateTime) -> Option<u64> {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.unix != now.unix_timestamp() {
            (second.unix, second.told) = (now.unix_timestamp(), 0);
        }
        if second.told >= self.most {
            second.untold = second.untold.saturating_add(1);
            return None;
        }
        second.told += 1;
        Some(std::mem::take(&mut second.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_told_in_a_few_lines_a_second_that_say_how_much_they_leave_out() {
        let (sampled, now) = (Sampled::of_strangers(), OffsetDateTime::UNIX_EPOCH);
        let told: Vec<_> = (0..1000).filter_map(|_| sampled.tells(now)).collect();
        assert_eq!(told, [0; 8]);
        assert_eq!(sampled.tells(now + Duration::from_secs(1)), Some(992));
        assert_eq!(sampled.tells(now + Duration::from_secs(1)), Some(0));
    }
}
