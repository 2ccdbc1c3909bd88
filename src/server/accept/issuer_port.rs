//! The issuer port: one TLS port for gRPC and REST.

use super::connection::{Speech, serve_together};
use super::crew::{Crew, Seat};
use super::listen::listen;
use crate::api::{Caller, Crowd, IssuerDoors, Visitor, refusal_in};
use crate::telemetry::{Metrics, Shutdown};
use crate::tls::IssuerDoor;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// The issuer port, bound.
#[derive(Debug)]
pub struct IssuerPort {
    listener: TcpListener,
    tls: IssuerDoor,
    doors: IssuerDoors,
    crowd: Crowd,
    crew: Arc<Crew>,
    metrics: Metrics,
}

impl IssuerPort {
    /// Binds the port; connections wait until it runs. Ports of one crowd share its bounds, and those of one crew its threads.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub(in crate::server) async fn bind(
        address: SocketAddr,
        tls: IssuerDoor,
        doors: IssuerDoors,
        (crowd, crew, metrics): (Crowd, Arc<Crew>, Metrics),
    ) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, tls, doors, crowd, crew, metrics })
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
        let Self { listener, tls, doors, crowd, crew, metrics } = self;
        let admit = |(tcp, from): (TcpStream, SocketAddr)| {
            let Some(visitor) = crowd.enter(from.ip()) else {
                metrics.connection_refused("too_many");
                return None;
            };
            let seat = crew.seat()?;
            let runtime = seat.runtime.clone();
            let place = Counted::new(metrics.clone(), visitor, seat);
            Some((connection(tcp, tls.clone(), doors.clone(), (place, shutdown.clone())), runtime))
        };
        listen(|context| listener.poll_accept(context), admit, &shutdown).await;
    }
}

async fn connection(tcp: TcpStream, tls: IssuerDoor, doors: IssuerDoors, (place, shutdown): (Counted, Shutdown)) {
    // The thread that accepted it watches it no more; this one does.
    let Ok(tcp) = tcp.into_std().and_then(TcpStream::from_std) else { return };
    // Small answers must not wait for each other; without it they are only slower.
    let _undelayed = tcp.set_nodelay(true).is_ok();
    let shaken = match tls.shake(tcp).await {
        Ok(shaken) => shaken,
        Err(error) => {
            place.metrics.connection_refused("handshake");
            return tracing::debug!(%error, cause = error.source(), "no TLS with a client");
        }
    };
    let caller = Arc::new(Caller { key: shaken.peer_key, visitor: Arc::clone(&place.visitor) });
    let speech = if shaken.http2 { Speech::Http2 } else { Speech::Http1 };
    let metrics = place.metrics.clone();
    let answer = move |request| {
        // On the heap at once: it is large, and would be copied into each of those that stand around it.
        let answered = Box::pin(doors.clone().answer(request, Arc::clone(&caller)));
        let metrics = metrics.clone();
        async move {
            let answer = answered.await;
            if let Some((door, code)) = refusal_in(&answer) {
                metrics.refused(door, code);
            }
            answer
        }
    };
    Box::pin(serve_together(shaken.stream, speech, answer, &shutdown)).await;
}

/// Counts an open connection as long as it lives.
struct Counted {
    metrics: Metrics,
    visitor: Arc<Visitor>,
    _seat: Seat,
}

impl Counted {
    fn new(metrics: Metrics, visitor: Arc<Visitor>, seat: Seat) -> Self {
        metrics.connection_opened();
        Self { metrics, visitor, _seat: seat }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}
