//! linkerd2-proxy's client of the Workload API: one call held open, an ASN.1 parser's reading of what comes, and a state
//! machine that never comes back from `InvalidArgument`.
//!
//! **Spec**: `linkerd/app/src/spire.rs`, `linkerd/proxy/spire-client` and `linkerd/tonic-watch` of linkerd2-proxy at
//! 29637b64f6ce (August 2026), which has the same gRPC library as we.

use super::store::{Id, Refused, Store};
use hyper_util::rt::TokioIo;
use lanyard::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use lanyard::wire::workload::{X509svid, X509svidRequest, X509svidResponse};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming};

/// Where its library believes to be going.
pub(crate) const AUTHORITY: &str = "[::]:50051";
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What one entry of a message is to it.
#[derive(Clone, Debug)]
pub(crate) struct Svid {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

/// All that it could read of one message.
pub(crate) type Update = HashMap<Id, Svid>;

/// A proxy's watch over the socket.
pub(crate) struct Watch {
    calls: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<Code>>>,
    updates: mpsc::UnboundedReceiver<Update>,
    running: JoinHandle<Status>,
}

impl Watch {
    /// Connects at once: a socket that is not there ends the proxy.
    pub(crate) async fn over(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connect = tower::service_fn(move |_uri: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::try_from(format!("http://{AUTHORITY}")).unwrap();
        let channel = endpoint.connect_with_connector(connect).await.unwrap();
        let (told, updates) = mpsc::unbounded_channel();
        let api =
            Api { client: SpiffeWorkloadApiClient::new(channel), calls: Arc::default(), failures: Arc::default() };
        let (calls, failures) = (Arc::clone(&api.calls), Arc::clone(&api.failures));
        Self { calls, failures, updates, running: tokio::spawn(api.watch(told)) }
    }

    pub(crate) async fn update(&mut self) -> Update {
        self.updates.recv().await.unwrap()
    }

    pub(crate) fn has_none(&mut self) -> bool {
        self.updates.try_recv().is_err()
    }

    /// How often it has called so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The codes with which its calls ended so far.
    pub(crate) fn failures(&self) -> Vec<Code> {
        self.failures.lock().unwrap().clone()
    }

    /// Whether it would never call again.
    pub(crate) fn has_given_up(&self) -> bool {
        self.running.is_finished()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.running.abort();
    }
}

struct Api {
    client: SpiffeWorkloadApiClient<Channel>,
    calls: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<Code>>>,
}

impl Api {
    /// Runs until an end that it takes for final. After a stream that worked it calls again at once, after a call that gave
    /// nothing it waits, longer each time; of the wait's jitter (a tenth) nothing is played.
    async fn watch(mut self, told: mpsc::UnboundedSender<Update>) -> Status {
        loop {
            let mut backoff = BACKOFF_MIN;
            let (first, mut stream) = loop {
                match self.call().await {
                    Ok(answered) => break answered,
                    Err(status) if self.is_final(&status) => return status,
                    Err(_passing) => tokio::time::sleep(backoff).await,
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            };
            let mut message = first;
            let ended = loop {
                let _unheard = told.send(read(&message));
                match next(&mut stream).await {
                    Ok(following) => message = following,
                    Err(status) => break status,
                }
            };
            if self.is_final(&ended) {
                return ended;
            }
        }
    }

    async fn call(&mut self) -> Result<(X509svidResponse, Streaming<X509svidResponse>), Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut request = Request::new(X509svidRequest {});
        request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
        let mut stream = self.client.fetch_x509svid(request).await?.into_inner();
        Ok((next(&mut stream).await?, stream))
    }

    fn is_final(&self, status: &Status) -> bool {
        self.failures.lock().unwrap().push(status.code());
        status.code() == Code::InvalidArgument
    }
}

/// A stream that ends well has ended all the same.
async fn next(stream: &mut Streaming<X509svidResponse>) -> Result<X509svidResponse, Status> {
    stream.message().await?.ok_or_else(|| Status::ok("stream ended"))
}

/// What it cannot read it leaves out, and says so in its log alone.
pub(crate) fn read(message: &X509svidResponse) -> Update {
    message.svids.iter().filter_map(|svid| read_one(svid).ok()).collect()
}

/// Certificates go through a parser of all ASN.1 and are written anew, each by itself.
fn read_one(svid: &X509svid) -> Result<(Id, Svid), Refused> {
    if svid.x509_svid_key.is_empty() {
        return Err("empty private key".into());
    }
    let blocks = simple_asn1::from_der(&svid.x509_svid)?;
    let mut chain = blocks.iter().map(|block| simple_asn1::to_der(block).map(CertificateDer::from));
    let leaf = chain.next().ok_or("empty cert chain")??;
    let intermediates = chain.collect::<Result<_, _>>()?;
    let id = Id::parse_uri(&svid.spiffe_id)?;
    Ok((id, Svid { leaf, intermediates, key: svid.x509_svid_key.to_vec() }))
}

/// Takes the one SVID out of an update that is the proxy's own, by equality of IDs.
pub(crate) fn process(store: &mut Store, mut update: Update) -> Result<(), Refused> {
    let svid = update.remove(store.id()).ok_or("no matching SVID found")?;
    store.set_certificate(svid.leaf, svid.intermediates, svid.key)
}
