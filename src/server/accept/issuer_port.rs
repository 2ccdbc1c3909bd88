//! The issuer port: one TLS port for gRPC and REST.

use super::connection::{Speech, serve};
use super::listen::listen;
use super::together::Together;
use crate::api::IssuerDoors;
use crate::telemetry::{Metrics, Shutdown};
use crate::tls::IssuerDoor;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{TcpListener, TcpStream};

/// Ten thousand agents with an open stream each, and as many jobs beside them.
const CONNECTIONS_MAX: usize = 20_000;
/// Nobody may take all places; half of them leaves room for a whole cluster behind one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;

/// The issuer port, bound.
#[derive(Debug)]
pub struct IssuerPort {
    listener: TcpListener,
    tls: IssuerDoor,
    doors: IssuerDoors,
    crowd: Crowd,
}

impl IssuerPort {
    /// Binds the port; connections wait until it runs.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub async fn bind(address: SocketAddr, tls: IssuerDoor, doors: IssuerDoors, metrics: Metrics) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, tls, doors, crowd: Crowd { metrics, open: Arc::default() } })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until shutdown; what was begun may end.
    pub async fn run(self, shutdown: Shutdown) {
        let Self { listener, tls, doors, crowd } = self;
        let admit = |(tcp, from): (TcpStream, SocketAddr)| {
            let place = crowd.enter(from.ip())?;
            Some(connection(tcp, tls.clone(), doors.clone(), (place, shutdown.clone())))
        };
        listen(|context| listener.poll_accept(context), admit, &shutdown).await;
    }
}

async fn connection(tcp: TcpStream, tls: IssuerDoor, doors: IssuerDoors, (place, shutdown): (Place, Shutdown)) {
    // Small answers must not wait for each other; without it they are only slower.
    let _undelayed = tcp.set_nodelay(true).is_ok();
    let shaken = match tls.shake(tcp).await {
        Ok(shaken) => shaken,
        Err(error) => {
            place.crowd.metrics.connection_refused("handshake");
            return tracing::debug!(%error, cause = error.source(), "no TLS with a client");
        }
    };
    let peer = Arc::new(shaken.peer_key);
    let speech = if shaken.http2 { Speech::Http2 } else { Speech::Http1 };
    let answer = move |request| doors.clone().answer(request, Arc::clone(&peer));
    serve(TokioIo::new(Together::new(shaken.stream)), speech, answer, &shutdown).await;
}

/// Who is here, by neighbourhood.
#[derive(Clone, Debug)]
struct Crowd {
    metrics: Metrics,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_neighbourhood: BTreeMap<IpAddr, usize>,
}

/// A place among the open connections; dropping it frees it.
struct Place {
    crowd: Crowd,
    neighbourhood: IpAddr,
}

impl Crowd {
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let neighbourhood = neighbourhood(address);
        let mut open = self.open();
        let here = open.by_neighbourhood.get(&neighbourhood).copied().unwrap_or(0);
        if open.all >= CONNECTIONS_MAX || here >= CONNECTIONS_PER_ADDRESS_MAX {
            self.metrics.connection_refused("too_many");
            return None;
        }
        open.all += 1;
        open.by_neighbourhood.insert(neighbourhood, here + 1);
        drop(open);
        self.metrics.connection_opened();
        Some(Place { crowd: self.clone(), neighbourhood })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.crowd.open();
        open.all = open.all.saturating_sub(1);
        match open.by_neighbourhood.get_mut(&self.neighbourhood) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(open.by_neighbourhood.remove(&self.neighbourhood)),
        }
        drop(open);
        self.crowd.metrics.connection_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place_and_a_place_left_is_free_again() {
        let crowd = Crowd { metrics: Metrics::new(), open: Arc::default() };
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut places: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| crowd.enter(here).unwrap()).collect();
        assert!(crowd.enter(here).is_none());
        assert!(crowd.enter(there).is_some());
        places.pop();
        assert!(crowd.enter(here).is_some());
        drop(places);
        assert!(crowd.open().by_neighbourhood.is_empty());
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
