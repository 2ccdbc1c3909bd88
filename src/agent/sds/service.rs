//! The service: a client's requests, the keeper's states and the revocation lists, merged into one subscription.

use super::names::SecretNames;
use super::subscription::{Stock, Subscription};
use crate::agent::crls::CrlsWatch;
use crate::agent::served::Caller;
use crate::telemetry::AgentMetrics;
use crate::wire::sds::secret_discovery_service_server::SecretDiscoveryService;
use crate::wire::sds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse};
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// The call whose request goes on as long as the client likes.
pub(in crate::agent) const STREAM_PATH: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// See the file's words.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Sds {
    names: Arc<SecretNames>,
    crls: CrlsWatch,
    metrics: AgentMetrics,
}

impl Sds {
    /// Secrets by these names, with these lists if the names want any.
    pub(in crate::agent) fn new(names: SecretNames, crls: CrlsWatch, metrics: AgentMetrics) -> Self {
        Self { names: Arc::new(names), crls, metrics }
    }

    /// What a client is told: whenever it asks, and whenever there is something else.
    fn responses(
        &self,
        caller: Caller,
        asked: impl Stream<Item = Result<DiscoveryRequest, Status>> + Send + 'static,
    ) -> Responses<DiscoveryResponse> {
        let mut subscription = Subscription::new(Arc::clone(&self.names), self.metrics.clone());
        let crls = self.crls.clone();
        let listed = WatchStream::from_changes(crls.clone()).map(|_newest| Event::Listed);
        let turned = caller.clone().identities().map(Event::Turned);
        let responses = asked.map(Event::Asked).merge(turned).merge(listed).filter_map(move |event| {
            let stock = |identity| Stock { identity, crls: crls.borrow().clone() };
            let response = match event {
                Event::Asked(request) => {
                    request.and_then(|request| subscription.ask(request, caller.served()?.map(stock).as_ref()))
                }
                Event::Turned(identity) => identity.and_then(|identity| subscription.turn(&stock(identity))),
                Event::Listed => caller.served().and_then(|served| match served {
                    Some(identity) => subscription.turn(&stock(identity)),
                    None => Ok(None),
                }),
            };
            response.transpose()
        });
        Box::pin(responses)
    }
}

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
        Ok(Response::new(self.responses(caller, request.into_inner())))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut responses = self.responses(caller, tokio_stream::once(Ok(request.into_inner())));
        let first = responses.next().await;
        first.unwrap_or_else(|| Err(Status::internal("a request went without its answer"))).map(Response::new)
    }
}

enum Event<R, I> {
    Asked(R),
    Listed,
    Turned(I),
}
