//! The service: a client's requests and the keeper's states, merged into one subscription.

use super::names::SecretNames;
use super::subscription::Subscription;
use crate::agent::served::Caller;
use crate::wire::sds::secret_discovery_service_server::SecretDiscoveryService;
use crate::wire::sds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse};
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// The call whose request goes on as long as the client likes.
pub(in crate::agent) const STREAM_PATH: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// See the file's words.
#[derive(Debug)]
pub(in crate::agent) struct Sds(pub(in crate::agent) Arc<SecretNames>);

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Responses<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("use StreamSecrets: secrets are served as the state of the world"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let caller = Caller::of(&request)?;
        let mut subscription = Subscription::new(Arc::clone(&self.0));
        let asked = request.into_inner().map(Event::Asked);
        let turned = caller.clone().identities().map(Event::Turned);
        let responses = asked.merge(turned).filter_map(move |event| {
            let response = match event {
                Event::Asked(request) => {
                    request.and_then(|request| subscription.ask(request, caller.served()?.as_ref()))
                }
                Event::Turned(identity) => identity.and_then(|identity| subscription.turn(&identity)),
            };
            response.transpose()
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut subscription = Subscription::new(Arc::clone(&self.0));
        subscription.ask(request.into_inner(), None)?;
        let response = subscription.turn(&caller.identity().await?)?;
        response.map(Response::new).ok_or_else(|| Status::internal("a first request went without its answer"))
    }
}

enum Event<R, I> {
    Asked(R),
    Turned(I),
}
