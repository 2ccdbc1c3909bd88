//! Somebody else's HTTPS server, which answers as a script says: rightly, and in every bad way.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use lanyard::clock::{Clock, SystemClock};
use lanyard::crypto::{PemLabel, Random, install_providers};
use lanyard::tls::{DoorCa, DoorCertificate, IssuerDoor};
use serde_json::Value;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What somebody answers.
pub(crate) trait Script: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// An answer that comes in place of the right one.
pub(crate) enum Trouble {
    Answer(u16, Vec<(&'static str, &'static str)>, Vec<u8>),
    Silence,
}

impl Trouble {
    pub(crate) async fn answer(self) -> Response<Full<Bytes>> {
        let Self::Answer(status, headers, body) = self else { return std::future::pending().await };
        let with = |answer: http::response::Builder, (name, value): (&str, &str)| answer.header(name, value);
        headers.into_iter().fold(Response::builder().status(status), with).body(body.into()).unwrap()
    }
}

pub(crate) fn json_answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(body.to_string().into()).unwrap()
}

/// A server that runs until it is dropped, with a certificate of a CA of its own for 127.0.0.1.
pub(crate) struct Scripted {
    pub(crate) port: u16,
    pub(crate) ca_pem: String,
    _serving: JoinSet<()>,
}

impl Scripted {
    pub(crate) async fn serve(script: Arc<impl Script>) -> Self {
        install_providers();
        let now = SystemClock.now();
        let ca = DoorCa::make(&Random::system(), now).unwrap();
        let ca_pem = PemLabel::Certificate.armour(ca.certificate()).to_string();
        let door = DoorCertificate::from_ca(ca, vec!["127.0.0.1".to_owned()], now).unwrap();
        let door = IssuerDoor::new(Arc::new(door)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, door, script));
        Self { port, ca_pem, _serving: serving }
    }
}

async fn serve(listener: TcpListener, door: IssuerDoor, script: Arc<impl Script>) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (door, script) = (door.clone(), Arc::clone(&script));
        connections.spawn(async move { connection(door, tcp, script).await });
    }
}

async fn connection(door: IssuerDoor, tcp: TcpStream, script: Arc<impl Script>) {
    let Ok(shaken) = door.shake(tcp).await else { return };
    let service = service_fn(move |request| {
        let script = Arc::clone(&script);
        async move { Ok::<_, Infallible>(script.answer(request).await) }
    });
    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(shaken.stream), service).await);
}
