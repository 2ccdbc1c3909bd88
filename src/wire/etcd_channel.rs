//! How a server reaches the members of etcd: a gRPC channel each, over TLS where they have it.

use super::TlsFiles;
use crate::store::Channels;
use http::Uri;
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

/// A connection that is dead ends, at the latest; a member that is cut off is noticed before, by the questions that it does
/// not answer. etcd cuts off who pings more often than every five seconds, or without a question under way.
const PING_EVERY: Duration = Duration::from_secs(6);
/// How long a ping's answer may take.
const PONG_WITHIN: Duration = Duration::from_secs(1);
/// What was sent and not confirmed by then ends a connection. The system sends it again ever more seldom: once a member is
/// there again, a new connection stands long before the old one is tried.
const CONFIRMED_WITHIN_MS: u32 = 1000;
/// For a connection to a member; the next one is asked meanwhile.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// The members of an etcd, and how they are reached.
#[derive(Clone, Debug)]
pub struct EtcdMembers {
    /// Hosts and ports.
    pub hosts: Vec<(String, u16)>,
    /// Over TLS, if there is any.
    pub tls: Option<TlsFiles>,
}

impl EtcdMembers {
    /// Makes a channel to each. One whose name cannot be written in a request is left out.
    pub fn channels(self) -> Channels {
        Box::new(move || {
            let channel = |(host, port): &(String, u16)| etcd_channel((host, *port), self.tls.clone()).ok();
            self.hosts.iter().filter_map(channel).collect()
        })
    }
}

/// A channel to one member that connects at first use, and again when it must; in the clear without a client.
///
/// # Errors
/// When the address cannot be written in a request.
pub fn etcd_channel((host, port): (&str, u16), tls: Option<TlsFiles>) -> Result<Channel, Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{host}:{port}"))?
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .connect_timeout(CONNECT_WITHIN);
    let host = host.to_owned();
    Ok(match tls {
        Some(tls) => endpoint.connect_with_connector_lazy(service_fn(move |_uri: Uri| {
            let (client, host) = (tls.client(&host), host.clone());
            async move {
                let tcp = ends_when_silent(client.reach(&host, port).await?);
                client.shake_hands(&host, port, tcp).await.map(TokioIo::new)
            }
        })),
        None => endpoint.connect_with_connector_lazy(service_fn(move |_uri: Uri| {
            let address = (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port);
            async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(ends_when_silent(tcp)))
            }
        })),
    })
}

fn ends_when_silent(tcp: TcpStream) -> TcpStream {
    // Without it a dead connection ends later, by its pings.
    if let Err(fault) = setsockopt(&tcp, sockopt::TcpUserTimeout, &CONFIRMED_WITHIN_MS) {
        tracing::debug!(%fault, "a connection to etcd goes without a limit for what is not confirmed");
    }
    tcp
}
