//! How a server reaches the members of etcd: a gRPC channel each, over TLS where they have it.

use crate::store::Channels;
use crate::telemetry::chain;
use crate::tls::{ServerTrust, SessionCertificate, TlsClient, TlsError};
use arc_swap::ArcSwap;
use http::Uri;
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    pub tls: Option<EtcdTls>,
}

/// What is believed of members, and shown to them: read again for each connection, so that a certificate that was renewed
/// is shown.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    ca_file: Option<PathBuf>,
    /// A certificate and its key.
    shown: Option<(PathBuf, PathBuf)>,
    /// As the files were read last.
    last: Arc<ArcSwap<TlsClient>>,
}

impl EtcdTls {
    /// Of these files; without one for the CA the system's are believed.
    ///
    /// # Errors
    /// When one cannot be read or used.
    pub fn read(ca_file: Option<PathBuf>, shown: Option<(PathBuf, PathBuf)>) -> Result<Self, TlsError> {
        let client = read_client(ca_file.as_deref(), shown.as_ref())?;
        Ok(Self { ca_file, shown, last: Arc::new(ArcSwap::from_pointee(client)) })
    }

    /// For a new connection.
    fn client(&self) -> Arc<TlsClient> {
        match read_client(self.ca_file.as_deref(), self.shown.as_ref()) {
            Ok(client) => self.last.store(Arc::new(client)),
            // Somebody is writing them just now.
            Err(fault) => tracing::warn!(fault = %chain(&fault), "etcd is reached as the files for TLS were before"),
        }
        self.last.load_full()
    }
}

fn read_client(ca_file: Option<&Path>, shown: Option<&(PathBuf, PathBuf)>) -> Result<TlsClient, TlsError> {
    let trust = match ca_file {
        Some(file) => {
            let place = file.display().to_string();
            let pem = std::fs::read(file).map_err(|source| TlsError::File { path: file.to_owned(), source })?;
            ServerTrust::from_pem(&pem, &place)?
        }
        None => ServerTrust::System,
    };
    let shown = shown.map(|(chain, key)| SessionCertificate::from_files(chain, key)).transpose()?;
    TlsClient::new(&trust, shown.as_ref(), &["h2"])
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
pub fn etcd_channel((host, port): (&str, u16), tls: Option<EtcdTls>) -> Result<Channel, Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{host}:{port}"))?
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .connect_timeout(CONNECT_WITHIN);
    let host = host.to_owned();
    Ok(match tls {
        Some(tls) => endpoint.connect_with_connector_lazy(service_fn(move |_uri: Uri| {
            let (client, host) = (tls.client(), host.clone());
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
