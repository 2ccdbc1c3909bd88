//! When to renew, and how long to wait after a failure: functions of times and chance only.
//!
//! **Renewal**: let *remaining* be the time from receiving an SVID to its not-after. The agent renews at a point
//! evenly spread between one half and two thirds of *remaining* after it received the SVID, never sooner than one
//! second after. Counted from receipt and not from not-before, which the server sets back for skewed clocks.
//!
//! **Retry**: after the n-th failure in a row (from 1), the agent waits a time evenly spread between one half and
//! the whole of 2^(n-1) seconds, the whole being at most 30 seconds. A server that says when it wants to be asked again
//! is given between once and twice that time, where that is more: its agents come back spread, not all at once.

use crate::backoff::Backoff;
use crate::crypto::Random;
use std::time::Duration;
use time::OffsetDateTime;

/// Keeps an SVID that is nearly over, or a clock that is ahead, from making the agent ask without pause.
const RENEW_AFTER_MIN: Duration = Duration::from_secs(1);

/// Long enough for a server to come back to, short against any SVID lifetime worth having.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(30) };

/// When to renew an SVID that came at `received_at` and ends at `not_after`.
pub(super) fn renew_at(received_at: OffsetDateTime, not_after: OffsetDateTime, random: &Random) -> OffsetDateTime {
    let remaining = Duration::try_from(not_after - received_at).unwrap_or(Duration::ZERO);
    let wait = remaining / 2 + random.jitter(remaining / 6);
    received_at + wait.max(RENEW_AFTER_MIN)
}

/// How long to wait after so many failures in a row.
pub(super) fn retry_after(failures: u32, random: &Random) -> Duration {
    let whole = RETRY.after(failures);
    whole / 2 + random.jitter(whole / 2)
}

/// The same where the server has said when it wants to be asked again.
pub(super) fn retry_no_sooner(failures: u32, again_in: Option<Duration>, random: &Random) -> Duration {
    let wanted = again_in.map_or(Duration::ZERO, |again_in| again_in + random.jitter(again_in));
    retry_after(failures, random).max(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_falls_between_half_and_two_thirds() {
        let random = Random::seeded(7);
        let start = OffsetDateTime::UNIX_EPOCH;
        // Remaining seconds, earliest and latest renewal in milliseconds.
        for (remaining, earliest, latest) in [
            (3600, 1_800_000, 2_400_000),
            (60, 30_000, 40_000),
            (6, 3_000, 4_000),
            (1, 1_000, 1_000),
            (-9, 1_000, 1_000),
        ] {
            for _ in 0..50 {
                let at = renew_at(start, start + time::Duration::seconds(remaining), &random);
                let wait = (at - start).whole_milliseconds();
                assert!((earliest..=latest).contains(&wait), "{remaining} s: {wait} ms");
            }
        }
    }

    /// Shows: WAPI-11.
    #[test]
    fn a_hundred_agents_do_not_renew_at_once() {
        let random = Random::seeded(1);
        let start = OffsetDateTime::UNIX_EPOCH;
        let points: std::collections::BTreeSet<_> =
            (0..100).map(|_| renew_at(start, start + Duration::from_secs(600), &random)).collect();
        assert!(*points.last().unwrap() - *points.first().unwrap() > Duration::from_secs(80));
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let random = Random::seeded(3);
        for (failures, whole) in [(1, 1000), (2, 2000), (3, 4000), (5, 16_000), (6, 30_000), (4000, 30_000)] {
            let wait = retry_after(failures, &random).as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{failures}: {wait} ms");
        }
    }

    #[test]
    fn a_busy_server_is_asked_again_when_it_wants_and_not_by_all_at_once() {
        let random = Random::seeded(5);
        let waits: std::collections::BTreeSet<_> =
            (0..50).map(|_| retry_no_sooner(1, Some(Duration::from_secs(10)), &random).as_millis()).collect();
        let (first, last) = (*waits.first().unwrap(), *waits.last().unwrap());
        assert!((10_000..12_000).contains(&first) && (18_000..=20_000).contains(&last), "{first} to {last} ms");
        assert!(
            retry_no_sooner(9, Some(Duration::from_secs(1)), &random) >= Duration::from_secs(15),
            "its own patience counts too"
        );
    }
}
