//! A TLS port that judges nobody, and what answers behind it: readers of the bundle, operators elsewhere.

use super::connection::{Speech, serve_together};
use super::entrance::{Entrance, Entrant};
use super::listen::listen;
use crate::api::{Answers, BundleDoor, Crowd, Guest, RemoteAdminDoor};
use crate::telemetry::{Metrics, Shutdown};
use crate::tls;
use crate::wire::Proxies;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

/// The bundle port: the trust bundle and the revocation lists, for anybody.
pub type BundlePort = TlsPort<BundleDoor>;
/// The admin port: operators who are elsewhere, each call with a token or a certificate of theirs.
pub type AdminPort = TlsPort<RemoteAdminDoor>;

/// Readers come every few minutes and go, operators type commands; agents have the issuer port.
const CONNECTIONS_MAX: usize = 1024;
/// A cluster's readers behind one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;

/// The port, bound.
#[derive(Debug)]
pub struct TlsPort<D> {
    listener: TcpListener,
    tls: tls::BundleDoor,
    door: D,
    entrance: Entrance,
}

impl<D: Answers> TlsPort<D> {
    /// Binds the port; connections wait until it runs.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub async fn bind(
        address: SocketAddr,
        tls: tls::BundleDoor,
        door: D,
        (proxies, metrics): (Proxies, Metrics),
    ) -> io::Result<Self> {
        let crowd = Crowd::of_connections(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX);
        let entrance = Entrance::new(crowd, proxies, metrics);
        Ok(Self { listener: TcpListener::bind(address).await?, tls, door, entrance })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let Self { listener, tls, door, entrance } = self;
        let admit = |(tcp, from): (TcpStream, SocketAddr)| {
            let entrant = entrance.enter(from)?;
            let (tls, door, shutdown, metrics) =
                (tls.clone(), door.clone(), shutdown.clone(), entrance.metrics.clone());
            let serve = async move { connection((tcp, entrant), (tls, door), &metrics, &shutdown).await };
            Some((serve, Handle::current()))
        };
        listen(|context| listener.poll_accept(context), admit, &shutdown).await;
    }
}

async fn connection<D: Answers>(
    (mut tcp, entrant): (TcpStream, Entrant),
    (tls, door): (tls::BundleDoor, D),
    metrics: &Metrics,
    shutdown: &Shutdown,
) {
    let Some(client) = entrant.known(&mut tcp).await else { return };
    let shaken = match Box::pin(tls.shake(tcp)).await {
        Ok(shaken) => shaken,
        Err(error) => {
            metrics.connection_refused("handshake");
            return tracing::debug!(client = %client.address, %error, cause = error.source(), "no TLS with a visitor");
        }
    };
    let speech = if shaken.http2 { Speech::Http2 } else { Speech::Http1 };
    let guest = Arc::new(Guest { visitor: client.visitor, shown: shaken.shown() });
    let answer = move |request| door.clone().answer(request, Arc::clone(&guest));
    Box::pin(serve_together(shaken.stream, speech, answer, shutdown.clone())).await;
}
