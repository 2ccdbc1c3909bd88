//! How long to wait before what did not work is tried again: twice as long each time, up to a limit.
//!
//! Not here: chance, which keeps many from coming at once. Each caller spreads its waits as its peers need it.

use std::time::Duration;

/// See the file's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// No wait is longer.
    pub most: Duration,
}

impl Backoff {
    /// The first wait, doubled so many times.
    pub fn doubled(self, times: u32) -> Duration {
        let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.most)
    }

    /// After so many failures in a row, of which there was one at least.
    pub fn after(self, failures: u32) -> Duration {
        self.doubled(failures.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_never_overflow() {
        let backoff = Backoff { first: Duration::from_secs(5), most: Duration::from_secs(60) };
        let doubled = [0, 1, 2, 3, 4, 31, 32, 4000, u32::MAX].map(|times| backoff.doubled(times).as_secs());
        assert_eq!(doubled, [5, 10, 20, 40, 60, 60, 60, 60, 60]);
        assert_eq!([0, 1, 2, u32::MAX].map(|failures| backoff.after(failures).as_secs()), [5, 5, 10, 60]);
        let longest = Backoff { first: Duration::MAX, most: Duration::MAX };
        assert_eq!(longest.doubled(40), Duration::MAX);
    }
}
