//! What Prometheus hears of the running server's parts, as it changes.

use crate::authority::{Authorities, Holder, HolderKind, Holders, Inventory, Published, Witness};
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::federation::Federation;
use crate::session::CrlsWatch;
use crate::store::Trouble;
use crate::telemetry::{ForeignStanding, Metrics, Readiness, Shutdown};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// Ten thousand holders are counted in a millisecond.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// A fleet is off a tainted key within half a minute. A hundred thousand sessions are gone through in some milliseconds.
const COUNT_TAINTED_EVERY: Duration = Duration::from_secs(2);

/// Shows whether signed checkpoints reach where they should go.
pub(super) async fn meter_checkpoints(mut failing: watch::Receiver<bool>, metrics: Metrics, shutdown: Shutdown) {
    loop {
        metrics.checkpoints_are_failing(*failing.borrow_and_update());
        tokio::select! {
            () = shutdown.wait() => return,
            // Without the store the server ends anyway.
            changed = failing.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}

/// Shows whether the store can write. Ports stay open: what is live must still be ended, and may hear why it waits.
pub(super) async fn meter_store(
    mut trouble: watch::Receiver<Option<Trouble>>,
    (readiness, metrics): (Readiness, Metrics),
    shutdown: Shutdown,
) {
    loop {
        let now = *trouble.borrow_and_update();
        metrics.disk_is_full(now == Some(Trouble::DiskFull));
        metrics.clock_is_wrong(now.is_some_and(Trouble::is_of_the_clock));
        let _unready = now.map(|trouble| readiness.wait_for(trouble.as_str()));
        tokio::select! {
            () = shutdown.wait() => return,
            // Without the store the server ends anyway.
            changed = trouble.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}

/// Shows who has which bundle. Agents whose sessions are over are forgotten here.
pub(super) async fn meter_holders(
    (holders, witness): (Holders, Arc<dyn Witness>),
    (mut published, keys): (watch::Receiver<Arc<Published>>, watch::Receiver<Inventory>),
    (clock, metrics): (Arc<dyn Clock>, Metrics),
    shutdown: Shutdown,
) {
    let mut publications = BTreeMap::new();
    loop {
        let now = clock.now();
        publications.entry(published.borrow_and_update().bundle.sequence).or_insert(now);
        let live = witness.live_owners(now);
        let known = holders.all(|owner| live.contains(owner), now);
        let mut by_sequence = BTreeMap::new();
        for holder in &known {
            *by_sequence.entry(holder.holds.unwrap_or(0)).or_default() += 1;
        }
        let hint = published.borrow().bundle.refresh_hint;
        let stuck = stuck(&known, &publications, witness.longest_ttl().max(hint));
        metrics.holders_are(&by_sequence, lag(&known, &publications, now), stuck);
        metrics.holders_are_left_behind(left_behind(&known, keys.borrow().signs_since));
        tokio::select! {
            () = shutdown.wait() => return,
            () = clock.wait_until(now + COUNT_EVERY) => {}
            changed = published.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}

/// For how long the slowest holder has lacked a bundle that was published: since the first one after its own. Whoever has
/// not said what it holds lacks all of them since it was last heard.
fn lag(holders: &[Holder], publications: &BTreeMap<u64, OffsetDateTime>, now: OffsetDateTime) -> Duration {
    let first_after = |sequence| publications.range((Bound::Excluded(sequence), Bound::Unbounded)).next();
    let lacks_since = |holder: &Holder| match (holder.holds, holder.heard_at) {
        (None, Some(heard_at)) => Some(heard_at),
        (holds, _) => first_after(holds.unwrap_or(0)).map(|(_, at)| *at),
    };
    let since = holders.iter().filter_map(lacks_since).min().unwrap_or(now);
    Duration::try_from(now - since).unwrap_or(Duration::ZERO)
}

/// How many keep to an older bundle than they could have.
fn stuck(holders: &[Holder], publications: &BTreeMap<u64, OffsetDateTime>, patience: Duration) -> usize {
    let lacks_since = |holder: &Holder| {
        let held = holder.holds.unwrap_or(0);
        publications.range((Bound::Excluded(held), Bound::Unbounded)).next().map(|(_, at)| *at)
    };
    let is_stuck = |holder: &&Holder| lacks_since(holder).is_some_and(|since| holder.is_stuck(since, patience));
    holders.iter().filter(is_stuck).count()
}

/// How many are not proven to have a key that signs by now: a change went on without them. What we write ourselves is told
/// elsewhere.
fn left_behind(holders: &[Holder], signs_since: u64) -> usize {
    let others = holders.iter().filter(|holder| holder.kind != HolderKind::Publisher);
    others.filter(|holder| holder.holds.unwrap_or(0) < signs_since).count()
}

/// Shows how many SVIDs are still below tainted roots, more often while there are any.
pub(super) async fn meter_tainted(
    (authorities, witness): (Arc<Authorities>, Arc<dyn Witness>),
    (clock, metrics): (Arc<dyn Clock>, Metrics),
    shutdown: Shutdown,
) {
    let mut tainted = authorities.tainted();
    loop {
        let now = clock.now();
        let signers = tainted.borrow_and_update().intermediates.iter().map(ToString::to_string).collect();
        let remaining = witness.live_on(&signers, now).values().sum();
        metrics.tainted_svids_are(remaining);
        let again = if remaining > 0 { COUNT_TAINTED_EVERY } else { COUNT_EVERY };
        tokio::select! {
            () = shutdown.wait() => return,
            () = clock.wait_until(now + again) => {}
            changed = tainted.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}

/// Shows which keys there are, and until when those that sign may.
pub(super) async fn meter_keys(mut keys: watch::Receiver<Inventory>, metrics: Metrics, shutdown: Shutdown) {
    loop {
        let Inventory { keys: counts, not_after, .. } = keys.borrow_and_update().clone();
        metrics.keys_are(&counts, &not_after);
        tokio::select! {
            () = shutdown.wait() => return,
            changed = keys.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}

/// Shows how the bundles of other trust domains stand.
pub(super) async fn meter_foreign(
    (federation, metrics): (Federation, Metrics),
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) {
    loop {
        let all = federation.list();
        let standing = all.iter().map(|(trust_domain, relation)| {
            let bundle = relation.kept.as_ref().map(|kept| &kept.foreign.bundle);
            ForeignStanding {
                trust_domain: trust_domain.as_str(),
                failures: relation.failures,
                confirmed_at: relation.confirmed_at,
                ends_at: bundle.and_then(Bundle::authorities_end_at),
            }
        });
        metrics.foreign_bundles_are(&standing.collect::<Vec<_>>());
        tokio::select! {
            () = shutdown.wait() => return,
            () = clock.wait_until(clock.now() + COUNT_EVERY) => {}
        }
    }
}

/// Shows which bundle is published.
pub(super) async fn meter_bundle(mut published: watch::Receiver<Arc<Published>>, metrics: Metrics, shutdown: Shutdown) {
    loop {
        metrics.bundle_is_at(published.borrow_and_update().bundle.sequence);
        tokio::select! {
            () = shutdown.wait() => return,
            changed = published.changed() => if changed.is_err() {
                // The rotator is gone, and with it every change.
                return shutdown.wait().await;
            },
        }
    }
}

/// Shows how many leaves stand on revocation lists, and until when these are good.
pub(super) async fn meter_crls(mut made: CrlsWatch, metrics: Metrics, shutdown: Shutdown) {
    loop {
        if let Some(set) = made.borrow_and_update().as_ref() {
            metrics.crls_made(set.revoked, set.made_at, set.next_update);
        }
        tokio::select! {
            () = shutdown.wait() => return,
            changed = made.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_proven_to_have_a_key_that_signs_is_left_behind() {
        for (kind, holds, signs_since, is_behind) in [
            (HolderKind::Declared, None, 0, false),
            (HolderKind::Declared, None, 4, true),
            (HolderKind::Reporting, Some(3), 4, true),
            (HolderKind::Reporting, Some(4), 4, false),
            (HolderKind::Publisher, Some(3), 4, false),
        ] {
            let (name, wrote_at) = ("some".to_owned(), BTreeMap::new());
            let holder = Holder { name, kind, holds, heard_at: None, wrote_at };
            assert_eq!(left_behind(std::slice::from_ref(&holder), signs_since) == 1, is_behind, "{holder:?}");
        }
    }

    #[test]
    fn the_slowest_holder_has_lacked_a_bundle_since_the_first_one_after_its_own() {
        let at = |second| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(second);
        let holder = |(holds, heard_at): (Option<u64>, Option<u64>)| {
            let (name, kind) = ("some".to_owned(), HolderKind::Reporting);
            Holder { name, kind, holds, heard_at: heard_at.map(at), wrote_at: BTreeMap::new() }
        };
        let publications = BTreeMap::from([(4, at(10)), (6, at(100)), (7, at(130))]);
        for (holders, lacks_for) in [
            (&[][..], 0),
            (&[(Some(7), Some(140))], 0),
            (&[(Some(6), Some(140))], 20),
            (&[(Some(4), Some(140)), (Some(7), Some(140))], 50),
            (&[(Some(5), Some(140)), (Some(6), Some(140))], 50),
            (&[(None, Some(145))], 5),
            (&[(None, None)], 140),
        ] {
            let holders: Vec<_> = holders.iter().copied().map(holder).collect();
            assert_eq!(lag(&holders, &publications, at(150)), Duration::from_secs(lacks_for), "{holders:?}");
        }
    }

    #[test]
    fn whoever_is_heard_and_keeps_to_an_old_bundle_is_stuck_and_whoever_is_silent_is_not() {
        let at = |second| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(second);
        let publications = BTreeMap::from([(4, at(10)), (6, at(100))]);
        for (kind, holds, heard_at, is_stuck) in [
            (HolderKind::Reporting, Some(4), 1000, true),
            (HolderKind::Reporting, None, 1000, true),
            (HolderKind::Reporting, Some(4), 999, false),
            (HolderKind::Reporting, Some(6), 5000, false),
            (HolderKind::Declared, Some(4), 5000, false),
        ] {
            let (name, wrote_at) = ("some".to_owned(), BTreeMap::new());
            let holder = Holder { name, kind, holds, heard_at: Some(at(heard_at)), wrote_at };
            let stuck = stuck(std::slice::from_ref(&holder), &publications, Duration::from_secs(900));
            assert_eq!(stuck == 1, is_stuck, "{holder:?}");
        }
    }
}
