//! Who is here, and how much of the server they hold: bounds for all together, and a share for each neighbourhood.
//!
//! **Invariant**: what is held is given back when its guard goes, however the request ends.

use super::limits::{
    BODY_BYTES_MAX, BODY_BYTES_PER_ADDRESS_MAX, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, OPERATORS_AT_ONCE_MAX,
    OPERATORS_AT_ONCE_PER_ADDRESS_MAX, REQUESTS_MAX, REQUESTS_PER_ADDRESS_MAX, VERIFICATIONS_MAX,
    VERIFICATIONS_PER_ADDRESS_MAX,
};
use crate::tls::{PeerKey, ShownChain};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a visitor can hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Good {
    /// Bytes of a body that nobody has judged yet.
    BodyBytes,
    /// Requests from their header to the end of their answer.
    Requests,
    /// Tokens that are verified, and what follows.
    Verifications,
}

/// Everybody at a port; clones are the same crowd.
#[derive(Clone, Debug)]
pub struct Crowd(Arc<Everybody>);

#[derive(Debug)]
struct Everybody {
    all: Quotas,
    neighbourhoods: Mutex<BTreeMap<IpAddr, Arc<Quotas>>>,
    /// What one neighbourhood may hold.
    share: Share,
}

/// How much there is of each.
#[derive(Clone, Copy, Debug)]
struct Share {
    connections: usize,
    requests: usize,
    body_bytes: usize,
    verifications: usize,
}

#[derive(Debug)]
struct Quotas {
    connections: Quota,
    requests: Quota,
    body_bytes: Quota,
    verifications: Quota,
}

#[derive(Debug)]
struct Quota {
    held: AtomicUsize,
    max: usize,
}

/// One connection's place; it goes with the connection.
#[derive(Debug)]
pub struct Visitor {
    crowd: Crowd,
    neighbourhood: IpAddr,
    own: Arc<Quotas>,
}

/// A visitor whose handshake is done.
#[derive(Debug)]
pub struct Caller {
    /// The key it proved to hold.
    pub key: PeerKey,
    /// Its place.
    pub visitor: Arc<Visitor>,
}

/// A visitor of a port that knows nobody by a key.
#[derive(Debug)]
pub struct Guest {
    /// Its place.
    pub visitor: Arc<Visitor>,
    /// The certificates that it showed, where it was asked for some; judged by nobody.
    pub shown: Option<ShownChain>,
}

/// Something held; dropping it gives it back.
#[derive(Debug)]
pub struct Held {
    visitor: Arc<Visitor>,
    good: Good,
    count: AtomicUsize,
}

impl Crowd {
    /// The issuer port's. `descriptors` are the files that this process may open for connections.
    pub fn at_issuer_port(descriptors: usize) -> Self {
        let all = Share {
            connections: CONNECTIONS_MAX.min(descriptors),
            requests: REQUESTS_MAX,
            body_bytes: BODY_BYTES_MAX,
            verifications: VERIFICATIONS_MAX,
        };
        let share = Share {
            connections: CONNECTIONS_PER_ADDRESS_MAX.min(descriptors.div_ceil(2)),
            requests: REQUESTS_PER_ADDRESS_MAX,
            body_bytes: BODY_BYTES_PER_ADDRESS_MAX,
            verifications: VERIFICATIONS_PER_ADDRESS_MAX,
        };
        Self::of(all, share)
    }

    /// A port's on which connections need a bound, and what is verified of operators.
    pub fn of_connections(all: usize, per_address: usize) -> Self {
        let share = |connections, verifications| Share { connections, requests: 0, body_bytes: 0, verifications };
        Self::of(share(all, OPERATORS_AT_ONCE_MAX), share(per_address, OPERATORS_AT_ONCE_PER_ADDRESS_MAX))
    }

    fn of(all: Share, share: Share) -> Self {
        Self(Arc::new(Everybody { all: Quotas::of(all), neighbourhoods: Mutex::default(), share }))
    }

    /// A place for a connection from there, if there is one.
    pub fn enter(&self, address: IpAddr) -> Option<Arc<Visitor>> {
        let neighbourhood = neighbourhood(address);
        let mut neighbourhoods = self.neighbourhoods();
        if !self.0.all.connections.take(1) {
            return None;
        }
        let own = neighbourhoods.entry(neighbourhood).or_insert_with(|| Arc::new(Quotas::of(self.0.share)));
        if !own.connections.take(1) {
            self.0.all.connections.give(1);
            return None;
        }
        let own = Arc::clone(own);
        drop(neighbourhoods);
        Some(Arc::new(Visitor { crowd: self.clone(), neighbourhood, own }))
    }

    fn neighbourhoods(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Arc<Quotas>>> {
        self.0.neighbourhoods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 one, in which a host picks addresses as it likes
/// (RFC 4291 §2.5.1).
fn neighbourhood(address: IpAddr) -> IpAddr {
    const HOST_BITS: u32 = 64;
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> HOST_BITS << HOST_BITS).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Visitor {
    /// Holds so much more, if its neighbourhood and all together may.
    pub(super) fn hold(self: &Arc<Self>, good: Good, count: usize) -> Option<Held> {
        let held = self.hold_nothing_of(good);
        held.grow(count).then_some(held)
    }

    /// Holds nothing yet, and may grow.
    pub(super) fn hold_nothing_of(self: &Arc<Self>, good: Good) -> Held {
        Held { visitor: Arc::clone(self), good, count: AtomicUsize::new(0) }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let mut neighbourhoods = self.crowd.neighbourhoods();
        self.own.connections.give(1);
        if self.own.connections.held.load(Ordering::Relaxed) == 0 {
            neighbourhoods.remove(&self.neighbourhood);
        }
        drop(neighbourhoods);
        self.crowd.0.all.connections.give(1);
    }
}

impl Held {
    /// Holds so much more, or nothing more.
    pub(super) fn grow(&self, count: usize) -> bool {
        let Visitor { own, crowd, .. } = &*self.visitor;
        if !own.of_good(self.good).take(count) {
            return false;
        }
        if !crowd.0.all.of_good(self.good).take(count) {
            own.of_good(self.good).give(count);
            return false;
        }
        self.count.fetch_add(count, Ordering::Relaxed);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let count = self.count.load(Ordering::Relaxed);
        self.visitor.own.of_good(self.good).give(count);
        self.visitor.crowd.0.all.of_good(self.good).give(count);
    }
}

impl Quotas {
    const fn of(share: Share) -> Self {
        let Share { connections, requests, body_bytes, verifications } = share;
        Self {
            connections: Quota::of(connections),
            requests: Quota::of(requests),
            body_bytes: Quota::of(body_bytes),
            verifications: Quota::of(verifications),
        }
    }

    const fn of_good(&self, good: Good) -> &Quota {
        match good {
            Good::BodyBytes => &self.body_bytes,
            Good::Requests => &self.requests,
            Good::Verifications => &self.verifications,
        }
    }
}

impl Quota {
    const fn of(max: usize) -> Self {
        Self { held: AtomicUsize::new(0), max }
    }

    fn take(&self, count: usize) -> bool {
        let more = |held: usize| held.checked_add(count).filter(|held| *held <= self.max);
        // Only counts; nothing else is read or written by this order.
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn one_address_cannot_take_every_place_and_a_place_left_is_free_again() {
        let crowd = Crowd::at_issuer_port(usize::MAX);
        let mut places: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| crowd.enter(HERE).unwrap()).collect();
        assert!(crowd.enter(HERE).is_none());
        places.push(crowd.enter(THERE).unwrap());
        places.remove(0);
        places.push(crowd.enter(HERE).unwrap());
        drop(places);
        assert!(crowd.neighbourhoods().is_empty(), "nothing is kept of whoever has gone");
        assert_eq!(crowd.0.all.connections.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn connections_leave_files_for_the_journal() {
        let crowd = Crowd::at_issuer_port(3);
        let places = [HERE, HERE, THERE].map(|address| crowd.enter(address).unwrap());
        assert!(crowd.enter(THERE).is_none());
        drop(places);
    }

    #[test]
    fn one_address_leaves_requests_bytes_and_verifications_to_others() {
        let crowd = Crowd::at_issuer_port(usize::MAX);
        let (here, there) = (crowd.enter(HERE).unwrap(), crowd.enter(THERE).unwrap());
        for (good, share) in [
            (Good::Requests, REQUESTS_PER_ADDRESS_MAX),
            (Good::BodyBytes, BODY_BYTES_PER_ADDRESS_MAX),
            (Good::Verifications, VERIFICATIONS_PER_ADDRESS_MAX),
        ] {
            let held = here.hold(good, share).unwrap();
            assert!(here.hold(good, 1).is_none() && !held.grow(1), "{good:?}");
            assert!(there.hold(good, 1).is_some(), "{good:?}");
            drop(held);
            assert!(here.hold(good, share).is_some(), "{good:?}");
        }
    }

    #[test]
    fn all_addresses_together_hold_no_more_than_there_is() {
        let crowd = Crowd::at_issuer_port(usize::MAX);
        let visitors: Vec<_> = (1..=5_u8).map(|host| crowd.enter(IpAddr::from([10, 0, 0, host])).unwrap()).collect();
        let held: Vec<_> =
            visitors.iter().filter_map(|visitor| visitor.hold(Good::BodyBytes, BODY_BYTES_PER_ADDRESS_MAX)).collect();
        assert_eq!(held.len() * BODY_BYTES_PER_ADDRESS_MAX, BODY_BYTES_MAX);
    }

    #[test]
    fn a_host_cannot_pass_for_many_by_its_many_ipv6_addresses() {
        let of = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
