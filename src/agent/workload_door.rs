//! The door for workloads: the Workload API and SDS over each Unix socket that leads here.

use super::any_authority::AnyAuthority;
use super::calls::CallsLayer;
use super::desk::Desk;
use super::limits::{
    CONNECTIONS_MAX, CONNECTIONS_OF_HOST_MAX, CONNECTIONS_OF_ONE_MAX, REQUEST_BYTES_MAX, RESET_STREAMS_MAX,
    REST_AFTER_ERROR, STREAMS_MAX,
};
use super::places::Places;
use super::reflection::with_reflection;
use super::sds::Sds;
use super::served::with_job;
use super::workload_api::{WorkloadApi, with_header};
use crate::clock::Clock;
use crate::telemetry::Shutdown;
use crate::wire::connections_of;
use crate::wire::sds::secret_discovery_service_server::SecretDiscoveryServiceServer;
use crate::wire::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use std::io;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio_stream::{Stream, StreamExt};
use tonic::service::{InterceptorLayer, Routes};

/// What all sockets of this door share.
#[derive(Clone, Debug)]
pub(super) struct WorkloadDoor {
    desk: Desk,
    places: Places,
    secrets: Sds,
    clock: Arc<dyn Clock>,
}

impl WorkloadDoor {
    pub(super) fn new(desk: Desk, secrets: Sds, clock: Arc<dyn Clock>) -> Self {
        let most = if desk.is_host() {
            // Each holds its process by a file of its own.
            connections_of(2 * CONNECTIONS_OF_HOST_MAX) / 2
        } else {
            connections_of(CONNECTIONS_MAX)
        };
        let places = Places::new(most, CONNECTIONS_OF_ONE_MAX.min(most.div_ceil(2)));
        Self { desk, places, secrets, clock }
    }

    /// Serves the connections of one socket until shutdown.
    pub(super) async fn serve(
        self,
        accepted: impl Stream<Item = io::Result<UnixStream>> + Send + 'static,
        shutdown: Shutdown,
    ) -> &'static str {
        let routes = match self.routes() {
            Ok(routes) => routes,
            Err(error) => return logged("the Workload API's reflection", Err(error)),
        };
        // Whoever comes when all places are taken waits in the system's queue.
        let connections = accepted.then(move |accepted| {
            let door = self.clone();
            async move { door.seated(accepted).await }
        });
        let served = tonic::transport::Server::builder()
            .layer(CallsLayer::default())
            .max_concurrent_streams(STREAMS_MAX)
            .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
            .add_routes(routes)
            .serve_with_incoming_shutdown(
                connections.filter_map(Result::transpose),
                async move { shutdown.wait().await },
            )
            .await;
        logged("the Workload API", served)
    }

    fn routes(&self) -> Result<Routes, tonic_reflection::server::Error> {
        let api = WorkloadApi { clock: Arc::clone(&self.clock) };
        let api = SpiffeWorkloadApiServer::new(api).max_decoding_message_size(REQUEST_BYTES_MAX);
        let secrets = SecretDiscoveryServiceServer::new(self.secrets.clone());
        let secrets = secrets.max_decoding_message_size(REQUEST_BYTES_MAX);
        let admitted = || tower::ServiceBuilder::new().layer(InterceptorLayer::new(with_job));
        let api =
            tower::ServiceBuilder::new().layer(InterceptorLayer::new(with_header)).service(admitted().service(api));
        with_reflection(Routes::new(api).add_service(admitted().service(secrets)))
    }

    /// A connection at its place. The library would accept again at once, and tell nobody, however often that fails.
    async fn seated(&self, accepted: io::Result<UnixStream>) -> io::Result<Option<AnyAuthority>> {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the Workload API could not be accepted");
                tokio::time::sleep(REST_AFTER_ERROR).await;
                return Ok(None);
            }
        };
        let share = self.places.share().await.map_err(io::Error::other)?;
        let guest = self.desk.meet(&stream);
        let clock = Arc::clone(&self.clock);
        Ok(self.places.seat(guest.holder(), share).map(|place| AnyAuthority::new(stream, (guest, place), clock)))
    }
}

fn logged<E: std::fmt::Display>(part: &'static str, served: Result<(), E>) -> &'static str {
    if let Err(error) = served {
        tracing::error!(%error, "{part} cannot be served");
    }
    part
}

#[cfg(test)]
mod tests {
    use super::super::crls::unwanted;
    use super::super::desk::tests::desk_for_all;
    use super::super::sds::SecretNames;
    use super::*;
    use crate::clock::SystemClock;
    use crate::telemetry::AgentMetrics;
    use tokio::time::Instant;

    #[tokio::test]
    async fn an_accept_that_fails_is_not_tried_again_at_once() {
        let began = Instant::now();
        let secrets = Sds::new(SecretNames::default(), unwanted(), AgentMetrics::default());
        let door = WorkloadDoor::new(desk_for_all(), secrets, Arc::new(SystemClock));
        let too_many_files = io::Error::from(rustix::io::Errno::MFILE);
        assert!(door.seated(Err(too_many_files)).await.unwrap().is_none());
        assert!(began.elapsed() >= REST_AFTER_ERROR);
    }
}
