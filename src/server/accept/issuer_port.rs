//! The issuer port: one TLS port for gRPC and REST.

use super::connection::{Speech, serve_together};
use super::crew::{Crew, Seat};
use super::entrance::{Entrance, Entrant};
use super::listen::listen;
use crate::api::{Caller, IssuerDoors, refusal_in};
use crate::telemetry::{Metrics, Shutdown};
use crate::tls::IssuerDoor;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// The issuer port, bound.
#[derive(Debug)]
pub struct IssuerPort {
    listener: TcpListener,
    tls: IssuerDoor,
    doors: IssuerDoors,
    entrance: Entrance,
    crew: Arc<Crew>,
}

impl IssuerPort {
    /// Binds the port; connections wait until it runs. Ports of one entrance share its bounds, and those of one crew its threads.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub(in crate::server) async fn bind(
        address: SocketAddr,
        tls: IssuerDoor,
        doors: IssuerDoors,
        (entrance, crew): (Entrance, Arc<Crew>),
    ) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, tls, doors, entrance, crew })
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
        let Self { listener, tls, doors, entrance, crew } = self;
        let admit = |(tcp, from): (TcpStream, SocketAddr)| {
            let entrant = entrance.enter(from)?;
            let seat = crew.seat()?;
            let runtime = seat.runtime.clone();
            let opened = Opened::new(entrance.metrics.clone(), seat);
            Some((connection((tcp, entrant), tls.clone(), doors.clone(), (opened, shutdown.clone())), runtime))
        };
        listen(|context| listener.poll_accept(context), admit, &shutdown).await;
    }
}

async fn connection(
    (tcp, entrant): (TcpStream, Entrant),
    tls: IssuerDoor,
    doors: IssuerDoors,
    (opened, shutdown): (Opened, Shutdown),
) {
    // On the heap, and gone when it is served: a future keeps a place for each value that was moved through it.
    let greeted = Box::pin(greet((tcp, entrant), tls, doors, (opened.metrics.clone(), shutdown))).await;
    if let Some(serving) = greeted {
        serving.await;
    }
}

/// What serves the client, once it is known and has shaken hands.
async fn greet(
    (tcp, entrant): (TcpStream, Entrant),
    tls: IssuerDoor,
    doors: IssuerDoors,
    (metrics, shutdown): (Metrics, Shutdown),
) -> Option<Pin<Box<impl Future<Output = ()>>>> {
    // The thread that accepted it watches it no more; this one does.
    let mut tcp = tcp.into_std().and_then(TcpStream::from_std).ok()?;
    // Small answers must not wait for each other; without it they are only slower.
    let _undelayed = tcp.set_nodelay(true).is_ok();
    let client = entrant.known(&mut tcp).await?;
    let shaken = match tls.shake(tcp).await {
        Ok(shaken) => shaken,
        Err(error) => {
            metrics.connection_refused("handshake");
            tracing::debug!(client = %client.address, %error, cause = error.source(), "no TLS with a client");
            return None;
        }
    };
    let caller = Arc::new(Caller { key: shaken.peer_key, visitor: client.visitor });
    let speech = if shaken.http2 { Speech::Http2 } else { Speech::Http1 };
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
    Some(Box::pin(serve_together(shaken.stream, speech, answer, shutdown)))
}

/// Counts an open connection as long as it lives.
struct Opened {
    metrics: Metrics,
    _seat: Seat,
}

impl Opened {
    fn new(metrics: Metrics, seat: Seat) -> Self {
        metrics.connection_opened();
        Self { metrics, _seat: seat }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}
