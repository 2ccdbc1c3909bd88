//! Where a Workload API is, as `SPIFFE_ENDPOINT_SOCKET` says it (SPIFFE Workload Endpoint §4; EP-5 to EP-7).

use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};

/// A socket that workloads ask. Our agent offers Unix sockets only; others' may be on TCP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WorkloadAddress {
    /// `tcp://IP:port`.
    Tcp(SocketAddr),
    /// `unix:///path` or `unix:/path`, absolute.
    Unix(PathBuf),
}

/// The text is no address of a Workload API.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is no Workload API socket; write unix:///absolute/path or tcp://address:port")]
pub struct NotAnAddress {
    text: String,
}

impl FromStr for WorkloadAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let address = match text.split_once(':') {
            Some(("tcp", rest)) => rest.strip_prefix("//").and_then(|rest| rest.parse().ok()).map(Self::Tcp),
            Some(("unix", rest)) => socket_path(rest.strip_prefix("//").unwrap_or(rest)).map(Self::Unix),
            Some(_) | None => None,
        };
        address.ok_or_else(|| NotAnAddress { text: text.to_owned() })
    }
}

impl WorkloadAddress {
    /// Whether somebody listens there.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn reach(&self) -> io::Result<()> {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).await.map(drop),
            Self::Unix(path) => UnixStream::connect(path).await.map(drop),
        }
    }

    /// A channel that connects when it is used, and again when it must.
    pub fn channel(self) -> Channel {
        let endpoint = Endpoint::from_static("http://localhost");
        match self {
            Self::Tcp(address) => {
                endpoint.connect_with_connector_lazy(tower::service_fn(move |_uri: Uri| async move {
                    TcpStream::connect(address).await.map(TokioIo::new)
                }))
            }
            Self::Unix(path) => endpoint.connect_with_connector_lazy(tower::service_fn(move |_uri: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            })),
        }
    }
}

/// An absolute path that names something, without query or fragment.
fn socket_path(path: &str) -> Option<PathBuf> {
    let names_something = path.starts_with('/') && Path::new(path).file_name().is_some();
    (names_something && !path.contains(['?', '#'])).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: EP-5, EP-6, EP-7.
    #[test]
    fn the_standard_s_addresses_are_read_and_nothing_else() {
        let unix = WorkloadAddress::Unix("/run/a.sock".into());
        assert_eq!("unix:///run/a.sock".parse(), Ok(unix.clone()));
        assert_eq!("unix:/run/a.sock".parse(), Ok(unix));
        assert_eq!("tcp://127.0.0.1:80".parse(), Ok(WorkloadAddress::Tcp(([127, 0, 0, 1], 80).into())));
        for odd in
            ["", "/run/a.sock", "unix:a", "unix://a/b", "unix:///", "unix:///a?b", "tcp://1.2.3.4", "tcp:1.2.3.4:5"]
        {
            let told = odd.parse::<WorkloadAddress>().unwrap_err().to_string();
            assert!(told.contains(odd) && told.contains("unix:///absolute/path"), "{told}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(scheme in "unix|tcp", rest in "[a-z0-9:/@?#\\[\\].%-]{0,40}") {
            match format!("{scheme}:{rest}").parse() {
                Ok(WorkloadAddress::Unix(path)) => proptest::prop_assert!(path.is_absolute()),
                Ok(WorkloadAddress::Tcp(_)) => proptest::prop_assert!(rest.starts_with("//")),
                Err(NotAnAddress { .. }) => {}
            }
        }
    }
}
