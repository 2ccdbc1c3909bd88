//! A collector of OpenTelemetry: takes spans over OTLP and gRPC, or keeps whoever brings them waiting.

use crate::place::free_port;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Spans are gathered for a fifth of a second; a busy machine may need many times that.
const SPANS_WITHIN: Duration = Duration::from_secs(20);

/// The collector, as long as it lives.
pub(crate) struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
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

    fn of(is_silent: bool) -> Self {
        let (port, spans, runtime) = (free_port(), Arc::<Mutex<Vec<Span>>>::default(), Runtime::new().unwrap());
        let taker = TraceServiceServer::new(Taker { spans: Arc::clone(&spans), is_silent });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(Server::builder().add_service(taker).serve_with_incoming(incoming));
        Self { port, spans, _runtime: runtime }
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
