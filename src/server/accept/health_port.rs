//! The plain port for probes and metrics; meant for the loopback or a pod's own network.

use super::connection::{Speech, serve};
use super::listen::listen;
use crate::api::{Crowd, HealthDoor};
use crate::telemetry::Shutdown;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

/// Probes and a few Prometheus; each opens one at a time.
const CONNECTIONS_MAX: usize = 128;
/// Enough for all of them behind one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// The health port, bound.
#[derive(Debug)]
pub struct HealthPort {
    listener: TcpListener,
    door: HealthDoor,
}

impl HealthPort {
    /// Binds the port.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub async fn bind(address: SocketAddr, door: HealthDoor) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, door })
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
        let Self { listener, door } = self;
        let crowd = Crowd::of_connections(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX);
        let admit = |(tcp, from): (TcpStream, SocketAddr)| {
            let visitor = crowd.enter(from.ip())?;
            let (door, shutdown) = (door.clone(), shutdown.clone());
            let answer = move |request| door.clone().answer(request);
            let serve = async move {
                serve(TokioIo::new(tcp), Speech::Http1, answer, shutdown).await;
                drop(visitor);
            };
            Some((serve, Handle::current()))
        };
        listen(|context| listener.poll_accept(context), admit, &shutdown).await;
    }
}
