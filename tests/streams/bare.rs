//! The bare server: the same handshake, then tonic as it comes. It knows no session, and its stream is a channel's.

use crate::SAID;
use crate::callers::now;
use lanyard::crypto::{Random, install_providers};
use lanyard::tls::{DoorCa, DoorCertificate, IssuerDoor, ServerStream};
use lanyard::wire::lanyard::issuer_server::{Issuer, IssuerServer};
use lanyard::wire::lanyard::{
    AcknowledgeAnswer, AcknowledgeRequest, EndSessionAnswer, EndSessionRequest, Event, ExchangeRequest,
    FetchJwtRequest, JwtAnswer, LiveSessions, RefreshBundleAnswer, RefreshBundleRequest, RenewRequest, WatchRequest,
    X509Answer, event::Kind,
};
use lanyard::wire::raise_open_files;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

/// What a bundle with a root that is prepared has.
const BUNDLE_BYTES: usize = 2600;
/// Handshakes whose connections nobody has taken yet.
const WAITING: usize = 1024;

/// Says its port; each line that it is told is a change.
pub(crate) fn serve(order: &Value) {
    install_providers();
    raise_open_files();
    let ca = DoorCa::make(&Random::system(), now()).unwrap();
    fs::write(order["ca"].as_str().unwrap(), pem(ca.certificate())).unwrap();
    let certificate = DoorCertificate::from_ca(ca, vec!["127.0.0.1".to_owned()], now()).unwrap();
    let door = IssuerDoor::new(Arc::new(certificate)).unwrap();
    let first = Event { kind: Some(Kind::Sessions(LiveSessions { session: vec!["0".repeat(64)] })) };
    let (change, bare) = watch::channel(first);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("{SAID}{}", listener.local_addr().unwrap().port());
        let service = IssuerServer::new(Bare(bare));
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(connections(listener, door)).await.unwrap();
    });
    for _line in io::stdin().lines() {
        change.send(Event { kind: Some(Kind::Bundle(vec![b' '; BUNDLE_BYTES].into())) }).unwrap();
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Each after its handshake; one that is slow keeps nobody waiting.
fn connections(listener: TcpListener, door: IssuerDoor) -> impl Stream<Item = io::Result<Shaken>> {
    let (shaken, connections) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        while let Ok((tcp, _from)) = listener.accept().await {
            tokio::spawn(shake(door.clone(), tcp, shaken.clone()));
        }
    });
    ReceiverStream::new(connections).map(Ok)
}

async fn shake(door: IssuerDoor, tcp: TcpStream, shaken: mpsc::Sender<Shaken>) {
    tcp.set_nodelay(true).unwrap();
    if let Ok(connection) = door.shake(tcp).await {
        drop(shaken.send(Shaken(connection.stream)).await);
    }
}

/// A stream that tonic takes.
struct Shaken(ServerStream);

impl Connected for Shaken {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Shaken {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Shaken {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

struct Bare(watch::Receiver<Event>);

#[tonic::async_trait]
impl Issuer for Bare {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn watch(&self, _request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(Box::pin(WatchStream::new(self.0.clone()).map(Ok))))
    }

    async fn exchange(&self, _request: Request<ExchangeRequest>) -> Result<Response<X509Answer>, Status> {
        let bundle = br#"{"spiffe_sequence": 1}"#.as_slice().into();
        Ok(Response::new(X509Answer { session: "0".repeat(64), bundle, ..X509Answer::default() }))
    }

    async fn renew(&self, _request: Request<RenewRequest>) -> Result<Response<X509Answer>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn fetch_jwt(&self, _request: Request<FetchJwtRequest>) -> Result<Response<JwtAnswer>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn end_session(&self, _request: Request<EndSessionRequest>) -> Result<Response<EndSessionAnswer>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn acknowledge(&self, _request: Request<AcknowledgeRequest>) -> Result<Response<AcknowledgeAnswer>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn refresh_bundle(
        &self,
        _request: Request<RefreshBundleRequest>,
    ) -> Result<Response<RefreshBundleAnswer>, Status> {
        Err(Status::unimplemented("bare"))
    }
}
