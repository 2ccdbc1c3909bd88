//! How far everybody has come off the tainted keys, and what a thief of one can still do: sums over keyring, sessions and
//! holders, and how fast they change.

use super::gate::HolderKind;
use super::order::Live;
use super::rotation::{JWT_TTL_MAX, Rotation};
use super::{Authority, AuthorityKind, AuthorityState};
use crate::crypto::KeyId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;
use time::OffsetDateTime;

/// The state of a re-keying.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rekeying {
    /// When this was so.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Live X.509-SVIDs below tainted roots.
    pub remaining: usize,
    /// Live X.509-SVIDs below the others.
    pub rekeyed: usize,
    /// What is left to whoever has a tainted key, oldest first.
    pub exposures: Vec<Exposure>,
}

/// What whoever has a tainted key can still do. They sign what they like below it, so nothing but its revocation ends that,
/// at each relying party when it has read the bundle again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exposure {
    /// What the key is for.
    pub authority: AuthorityKind,
    /// The root, or the JWT key.
    pub key_id: KeyId,
    /// Since when it is tainted.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Live X.509-SVIDs below it.
    pub remaining: usize,
    /// When the last SVID that we signed below it is over, renewed or not; they are as good as before until then.
    #[serde(with = "time::serde::rfc3339")]
    pub svids_end_by: OffsetDateTime,
    /// Until when relying parties believe in it if it is not revoked.
    #[serde(with = "time::serde::rfc3339")]
    pub trusted_until: OffsetDateTime,
    /// How long the slowest reader of the bundle believes in it after it was revoked, in seconds.
    pub forgotten_after_seconds: u64,
    /// Declared holders: each believes in it until somebody takes it out there.
    pub declared: Vec<String>,
}

impl Rotation<'_> {
    /// The state of the re-keying.
    pub(super) fn rekeying(&self, live: &Live) -> Rekeying {
        let on = |one: &Authority| self.keyring.identities_on(one, live);
        let is_tainted = |one: &&Authority| one.state == AuthorityState::Tainted;
        let (tainted, others): (Vec<_>, Vec<_>) =
            self.keyring.of_kind(AuthorityKind::X509Root).partition(|one| is_tainted(one));
        let published = self.keyring.authorities.iter().filter(|one| one.kind.is_published());
        Rekeying {
            at: self.now,
            remaining: tainted.into_iter().map(on).sum(),
            rekeyed: others.into_iter().map(on).sum(),
            exposures: published.filter(is_tainted).map(|one| self.exposure(one, on(one))).collect(),
        }
    }

    fn exposure(&self, tainted: &Authority, remaining: usize) -> Exposure {
        let ttl = match tainted.kind {
            AuthorityKind::Jwt | AuthorityKind::JwtRs256 => JWT_TTL_MAX,
            AuthorityKind::Journal | AuthorityKind::X509Intermediate | AuthorityKind::X509Root => {
                self.known.longest_ttl
            }
        };
        let declared = self.known.holders.iter().filter(|holder| holder.kind == HolderKind::Declared);
        Exposure {
            authority: tainted.kind,
            key_id: tainted.key_id(),
            since: tainted.since,
            remaining,
            // It signed nothing after another became active, which was before.
            svids_end_by: tainted.since + ttl,
            trusted_until: tainted.not_after,
            forgotten_after_seconds: self.plan.propagation.max(self.plan.refresh_hint).as_secs(),
            declared: declared.map(|holder| holder.name.clone()).collect(),
        }
    }
}

/// How fast the rest becomes less, by what was seen of late.
#[derive(Clone, Debug, Default)]
pub struct Pace(VecDeque<(OffsetDateTime, usize)>);

impl Pace {
    /// Agents move at moments spread over twenty seconds; half of that evens out what each second brings.
    const SEEN_FOR: Duration = Duration::from_secs(10);

    /// So many remain now.
    pub fn see(&mut self, at: OffsetDateTime, remaining: usize) {
        self.0.push_back((at, remaining));
        while self.0.front().is_some_and(|(first, _)| at - *first > Self::SEEN_FOR) {
            self.0.pop_front();
        }
    }

    /// How many move in a second; none before anything was seen to move.
    pub fn per_second(&self) -> Option<u64> {
        let (moved, millis) = self.moved()?;
        Some((moved * 1000).div_ceil(millis))
    }

    /// How long the rest takes at this rate.
    pub fn left(&self) -> Option<Duration> {
        let (moved, millis) = self.moved()?;
        let remaining = u64::try_from(self.0.back()?.1).ok()?;
        Some(Duration::from_millis(remaining.checked_mul(millis)?.div_ceil(moved)))
    }

    /// How many in how many milliseconds, neither of them 0.
    fn moved(&self) -> Option<(u64, u64)> {
        let ((from, most), (to, least)) = (self.0.front()?, self.0.back()?);
        let moved = u64::try_from(most.checked_sub(*least)?).ok().filter(|moved| *moved > 0)?;
        let millis = u64::try_from((*to - *from).whole_milliseconds()).ok().filter(|millis| *millis > 0)?;
        Some((moved, millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_what_was_seen_of_late() {
        let at = |second| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut pace = Pace::default();
        assert_eq!((pace.per_second(), pace.left()), (None, None));
        for (second, remaining, rate, left) in [
            (0, 2000, None, None),
            (1, 2000, None, None),
            (2, 1800, Some(100), Some(18)),
            (10, 1000, Some(100), Some(10)),
            // What is older than ten seconds counts no more.
            (20, 900, Some(10), Some(90)),
            (30, 900, None, None),
            (31, 0, Some(900), Some(0)),
        ] {
            pace.see(at(second), remaining);
            assert_eq!((pace.per_second(), pace.left().map(|left| left.as_secs())), (rate, left), "at {second} s");
        }
    }
}
