//! A collector of OpenTelemetry: takes spans over OTLP and gRPC, or keeps whoever brings them waiting.

use crate::place::free_port;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use lanyard::clock::{Clock as _, SystemClock};
use lanyard::crypto::{PemLabel, Random, install_providers};
use lanyard::tls::{DoorCa, DoorCertificate, IssuerDoor};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Spans are gathered for a fifth of a second; a busy machine may need many times that.
const SPANS_WITHIN: Duration = Duration::from_secs(20);

/// The collector, as long as it lives.
pub(crate) struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
    /// With its CA, where it speaks TLS.
    folder: Option<TempDir>,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Taker {
    spans: Arc<Mutex<Vec<Span>>>,
    is_silent: bool,
}

#[tonic::async_trait]
impl TraceService for Taker {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|of| of.scope_spans);
        self.spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::of(false)
    }

    /// One that takes whatever comes, and never answers.
    pub(crate) fn silent() -> Self {
        Self::of(true)
    }

    /// One that speaks TLS alone, with a certificate of a CA of its own.
    pub(crate) fn over_tls() -> Self {
        install_providers();
        let (port, spans, runtime) = (free_port(), Arc::<Mutex<Vec<Span>>>::default(), Runtime::new().unwrap());
        let (folder, now) = (TempDir::new().unwrap(), SystemClock.now());
        let ca = DoorCa::make(&Random::system(), now).unwrap();
        fs::write(folder.path().join("ca.pem"), &*PemLabel::Certificate.armour(ca.certificate())).unwrap();
        let certificate = DoorCertificate::from_ca(ca, vec!["127.0.0.1".to_owned()], now).unwrap();
        let door = IssuerDoor::new(Arc::new(certificate)).unwrap();
        let taker = TraceServiceServer::new(Taker { spans: Arc::clone(&spans), is_silent: false });
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port))).unwrap();
        runtime.spawn(take_over_tls(listener, door, Routes::new(taker)));
        Self { port, spans, folder: Some(folder), _runtime: runtime }
    }

    /// The CA that vouches for it.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().join("ca.pem")
    }

    /// The section that sends traces here over TLS, to whom this CA vouches for.
    pub(crate) fn section_over_tls(&self, ca: &Path) -> String {
        let port = self.port;
        format!("[telemetry]\notlp_endpoint = \"https://127.0.0.1:{port}\"\notlp_ca_file = \"{}\"\n", ca.display())
    }

    fn of(is_silent: bool) -> Self {
        let (port, spans, runtime) = (free_port(), Arc::<Mutex<Vec<Span>>>::default(), Runtime::new().unwrap());
        let taker = TraceServiceServer::new(Taker { spans: Arc::clone(&spans), is_silent });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(Server::builder().add_service(taker).serve_with_incoming(incoming));
        Self { port, spans, folder: None, _runtime: runtime }
    }

    /// The section of a server's configuration that sends traces here.
    pub(crate) fn section(&self) -> String {
        section(self.port)
    }

    /// The spans of a trace, once this one is among them.
    pub(crate) fn trace(&self, trace_id: &str, last: &str) -> Vec<Span> {
        let deadline = Instant::now() + SPANS_WITHIN;
        loop {
            let spans = self.spans.lock().unwrap().clone();
            let of_trace: Vec<_> = spans.iter().filter(|span| hex(&span.trace_id) == trace_id).cloned().collect();
            if of_trace.iter().any(|span| span.name == last) {
                return of_trace;
            }
            assert!(Instant::now() < deadline, "{spans:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn take_over_tls(listener: TcpListener, door: IssuerDoor, taker: Routes) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (door, taker) = (door.clone(), TowerToHyperService::new(taker.clone()));
        tokio::spawn(async move {
            let Ok(shaken) = door.shake(tcp).await else { return };
            drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(shaken.stream), taker).await);
        });
    }
}

/// The same for a port where nobody may listen.
pub(crate) fn section(port: u16) -> String {
    format!("[telemetry]\notlp_endpoint = \"http://127.0.0.1:{port}\"\n")
}

/// An attribute, as text.
pub(crate) fn attribute(span: &Span, name: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    if let Value::StringValue(text) = value { Some(text) } else { None }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
