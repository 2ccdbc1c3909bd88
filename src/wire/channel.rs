//! How agents reach the server: a gRPC channel over the session key's TLS.

use super::TlsFiles;
use crate::tls::TlsClient;
use http::Uri;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Notices within half a minute that the other side is gone, also behind a silent firewall.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a ping's answer may take.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Where the server is: `https://host[:port]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerUrl {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The text is no address of a server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is no server address; write https://host or https://host:port")]
pub struct NotAServerUrl {
    text: String,
}

impl FromStr for ServerUrl {
    type Err = NotAServerUrl;

    fn from_str(text: &str) -> Result<Self, NotAServerUrl> {
        let bad = || NotAServerUrl { text: text.to_owned() };
        let uri: Uri = text.parse().map_err(|_invalid| bad())?;
        let bare = matches!(uri.path_and_query().map(http::uri::PathAndQuery::as_str), None | Some("/"));
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        if uri.scheme_str() != Some("https") || !bare || authority.host().is_empty() {
            return Err(bad());
        }
        Ok(Self { host: authority.host().to_owned(), port: authority.port_u16().unwrap_or(443) })
    }
}

impl ServerUrl {
    /// What is looked up and connected to.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.host_and_port())
    }
}

/// A gRPC channel that connects at first use and again whenever the connection is lost.
///
/// # Errors
/// When the address cannot be written in a request.
pub fn channel(server: &ServerUrl, client: TlsClient) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(server.to_string())?
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true);
    Ok(over_tls(&endpoint, server.clone(), move || client.clone()))
}

/// The same to a program that is not ours, as these files say, without pings: gRPC servers commonly hang up on whoever pings more often than every
/// five minutes.
///
/// # Errors
/// When the address cannot be written in a request.
pub fn channel_without_pings(server: &ServerUrl, files: TlsFiles) -> Result<Channel, tonic::transport::Error> {
    let host = server.host.clone();
    Ok(over_tls(&Endpoint::from_shared(server.to_string())?, server.clone(), move || files.client(&host)))
}

fn over_tls(endpoint: &Endpoint, server: ServerUrl, client: impl Fn() -> TlsClient + Send + 'static) -> Channel {
    endpoint.connect_with_connector_lazy(service_fn(move |_uri: Uri| {
        let (client, server) = (client(), server.clone());
        async move { client.connect(&server.host, server.port).await.map(TokioIo::new) }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_and_has_no_path() {
        let url: ServerUrl = "https://lanyard.corp.example".parse().unwrap();
        assert_eq!(url.to_string(), "https://lanyard.corp.example:443");
        assert_eq!("https://[::1]:8443/".parse::<ServerUrl>().unwrap().to_string(), "https://[::1]:8443");
        for bad in ["http://a", "a:443", "https://", "https://a/v1", "https://u:p@a", "https://a?x=1", ""] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad}");
        }
    }
}
