//! Between a proxy and an agent's secrets: passes all on, and puts a key that does not fit into one response.

use crate::sides::Side;
use hyper_util::rt::TokioIo;
use lanyard::wire::sds::secret::Type;
use lanyard::wire::sds::secret_discovery_service_client::SecretDiscoveryServiceClient;
use lanyard::wire::sds::secret_discovery_service_server::{SecretDiscoveryService, SecretDiscoveryServiceServer};
use lanyard::wire::sds::{
    DataSource, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Secret,
};
use prost::Message;
use rcgen::KeyPair;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tonic::{Request, Response, Status, Streaming};

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What it saw of the agent's certificates, in their order.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Vec<u8>>>>);

impl Seen {
    pub(crate) fn chains(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }
}

/// It, while it runs.
pub(crate) struct Relay {
    pub(crate) socket: PathBuf,
    pub(crate) seen: Seen,
    _runtime: Runtime,
}

impl Relay {
    /// Spoils the second certificate that comes by.
    pub(crate) fn before(side: &Side) -> Self {
        let (runtime, seen) = (Runtime::new().unwrap(), Seen::default());
        let (agent, socket) = (side.path("sockets/api.sock"), side.path("relay.sock"));
        let listener = runtime.block_on(async { UnixListener::bind(&socket).unwrap() });
        let passing = Passing { agent, seen: seen.clone() };
        let serving = Server::builder()
            .add_service(SecretDiscoveryServiceServer::new(passing))
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(async { serving.await.unwrap() });
        Self { socket, seen, _runtime: runtime }
    }
}

struct Passing {
    agent: PathBuf,
    seen: Seen,
}

impl Passing {
    fn agent(&self) -> SecretDiscoveryServiceClient<Channel> {
        let agent = self.agent.clone();
        let connect = tower::service_fn(move |_uri: Uri| {
            let agent = agent.clone();
            async move { UnixStream::connect(agent).await.map(TokioIo::new) }
        });
        SecretDiscoveryServiceClient::new(Endpoint::from_static("http://agent").connect_with_connector_lazy(connect))
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Passing {
    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Responses<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("nobody asks for it here"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let requests = request.into_inner().filter_map(Result::ok);
        let responses = self.agent().stream_secrets(requests).await?.into_inner();
        let seen = self.seen.clone();
        Ok(Response::new(Box::pin(responses.map(move |response| response.map(|response| pass(response, &seen))))))
    }

    async fn fetch_secrets(&self, _request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("nobody asks for it here"))
    }
}

fn pass(mut response: DiscoveryResponse, seen: &Seen) -> DiscoveryResponse {
    for any in &mut response.resources {
        let mut secret = Secret::decode(any.value.as_slice()).unwrap();
        let Some(Type::TlsCertificate(own)) = &mut secret.r#type else { continue };
        let mut seen = seen.0.lock().unwrap();
        seen.push(own.certificate_chain.clone().unwrap().inline_bytes.to_vec());
        if seen.len() == 2 {
            let inline_bytes = KeyPair::generate().unwrap().serialize_pem().into();
            own.private_key = Some(DataSource { inline_bytes });
            any.value = secret.encode_to_vec();
        }
    }
    response
}
