//! Asks the agent as any workload would: over the Workload API's own socket.

use super::DevError;
use crate::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::wire::workload::{X509svid, X509svidRequest};
use hyper_util::rt::TokioIo;
use std::path::Path;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

/// Waits for the first X.509-SVID.
pub(super) async fn first_svid(socket: &Path) -> Result<X509svid, DevError> {
    let path = socket.to_owned();
    let connect = move |_uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    };
    // The name is never looked up; the socket is the address.
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(tower::service_fn(connect)).await;
    let mut client = SpiffeWorkloadApiClient::new(channel.map_err(DevError::Socket)?);
    let mut request = Request::new(X509svidRequest {});
    // Proof that no browser was tricked into asking (SPIFFE Workload Endpoint §5).
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let mut answers = client.fetch_x509svid(request).await.map_err(refused)?.into_inner();
    let first = answers.message().await.map_err(refused)?;
    first.and_then(|answer| answer.svids.into_iter().next()).ok_or(DevError::NoSvid)
}

fn refused(status: tonic::Status) -> DevError {
    DevError::Refused(Box::new(status))
}
