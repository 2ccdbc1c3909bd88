//! Where a Workload API is, as `SPIFFE_ENDPOINT_SOCKET` says it (SPIFFE Workload Endpoint §4).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A Workload API's address. Our own agents listen on Unix sockets only; as a client we go where we are sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EndpointAddress {
    /// `tcp://IP:port`.
    Tcp(SocketAddr),
    /// `unix:///path` or `unix:/path`, absolute.
    Unix(PathBuf),
}

/// Why a text is no address of a Workload API.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAnEndpoint {
    /// Nothing at all, as from a variable that is set but empty.
    #[error("the address of the Workload API is empty; write unix:///absolute/path")]
    Empty,
    /// Another scheme, or none.
    #[error("{0:?} is no address of a Workload API; write unix:///absolute/path")]
    Scheme(String),
    /// Not an IP and a port, or something beside them (EP-7).
    #[error("{0:?} is not tcp://IP:port, with nothing else")]
    Tcp(String),
    /// A host, a relative path, no path, a query or a fragment (EP-6).
    #[error("{0:?} is not unix:///absolute/path, with nothing else")]
    Unix(String),
}

impl FromStr for EndpointAddress {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        if text.is_empty() {
            return Err(NotAnEndpoint::Empty);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            // After two slashes a host would come, and there is none.
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let odd = !path.starts_with('/') || path == "/" || path.contains(['?', '#', '\0']);
            return if odd { Err(NotAnEndpoint::Unix(text.to_owned())) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(rest) = text.strip_prefix("tcp://") {
            let address = rest.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
            return address.map(Self::Tcp).ok_or_else(|| NotAnEndpoint::Tcp(text.to_owned()));
        }
        Err(NotAnEndpoint::Scheme(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: EP-5, EP-6, EP-7.
    #[test]
    fn an_address_is_read_as_the_standard_says_and_each_error_says_what_to_write() {
        let path = EndpointAddress::Unix("/run/a.sock".into());
        assert_eq!("unix:///run/a.sock".parse(), Ok(path.clone()));
        assert_eq!("unix:/run/a.sock".parse(), Ok(path));
        assert_eq!(
            "tcp://[::1]:80".parse(),
            Ok(EndpointAddress::Tcp(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80))))
        );
        let refused = |text: &str| text.parse::<EndpointAddress>().unwrap_err().to_string();
        assert!(refused("").contains("empty"));
        assert!(refused("/run/a.sock").contains("unix:///"));
        for odd in
            ["unix:a", "unix://a/b", "unix:///", "unix:///a?b", "tcp://1.2.3.4", "tcp://1.2.3.4:0", "tcp:1.2.3.4:5"]
        {
            assert!(refused(odd).contains(odd), "{odd}");
        }
    }
}
