//! Where a Workload API is, as `SPIFFE_ENDPOINT_SOCKET` says it (SPIFFE Workload Endpoint §4; EP-5 to EP-7).

use super::failure::WrongUsage;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};

/// A socket that workloads ask. Our agent offers Unix sockets only; others' may be on TCP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum WorkloadAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl WorkloadAddress {
    /// Reads `unix:///path`, `unix:/path` or `tcp://IP:port`; nothing more may stand there.
    pub(super) fn parse(endpoint: &str) -> Result<Self, WrongUsage> {
        let address = match endpoint.split_once(':') {
            Some(("tcp", rest)) => rest.strip_prefix("//").and_then(|rest| rest.parse().ok()).map(Self::Tcp),
            Some(("unix", rest)) => socket_path(rest.strip_prefix("//").unwrap_or(rest)).map(Self::Unix),
            Some(_) | None => None,
        };
        address.ok_or_else(|| {
            WrongUsage::new(format!(
                "{endpoint:?} is no Workload API socket; write unix:///absolute/path or tcp://address:port"
            ))
        })
    }

    /// Whether somebody listens there.
    pub(super) async fn reach(&self) -> io::Result<()> {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).await.map(drop),
            Self::Unix(path) => UnixStream::connect(path).await.map(drop),
        }
    }

    /// A channel that connects when it is used, and again when it must.
    pub(super) fn channel(self) -> Channel {
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
    use serde_json::Value;

    /// Shows: EP-5, EP-6, EP-7.
    #[test]
    fn the_standard_s_addresses_are_read_and_nothing_else() {
        let vectors = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/spiffe.json"));
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let vectors = vectors["endpoint_socket"].as_array().unwrap();
        assert_eq!(vectors.len(), 20);
        for vector in vectors {
            let read = WorkloadAddress::parse(vector["input"].as_str().unwrap());
            assert_eq!(read.is_ok(), vector["verdict"] == "accept", "{}: {read:?}", vector["id"]);
        }
        let unix = WorkloadAddress::Unix("/run/a.sock".into());
        assert_eq!(WorkloadAddress::parse("unix:///run/a.sock").unwrap(), unix);
        assert_eq!(WorkloadAddress::parse("unix:/run/a.sock").unwrap(), unix);
    }
}
