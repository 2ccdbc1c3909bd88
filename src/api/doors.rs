//! The doors as the server sees them: a request goes in, a response comes out.

use super::desk::Desk;
use super::grpc::{Admin, Issuer};
use super::lent::{Lent, lend};
use super::limits::{ANSWER_WITHIN, MESSAGE_BYTES_MAX};
use super::refused::{CODE_METADATA, Class, Refused};
use super::rest;
use crate::telemetry::{Metrics, Readiness};
use crate::tls::PeerKey;
use crate::wire::lanyard::admin_server::AdminServer;
use crate::wire::lanyard::issuer_server::IssuerServer;
use axum::Router;
use axum::response::IntoResponse;
use http::{HeaderMap, Request, Response, header};
use http_body_util::Either;
use hyper::body::Incoming;
use std::sync::Arc;
use tonic::{Code, Status};
use tower::Service;

/// What a door answers with: gRPC's kind of body, or REST's.
pub type Body = Either<tonic::body::Body, axum::body::Body>;

/// The issuer port: gRPC and REST on one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IssuerDoors {
    desk: Arc<Desk>,
    grpc: IssuerServer<Issuer>,
    rest: Router,
}

impl IssuerDoors {
    /// The doors before this desk.
    pub fn new(desk: &Arc<Desk>) -> Self {
        let grpc = IssuerServer::new(Issuer(Arc::clone(desk))).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self { desk: Arc::clone(desk), grpc, rest: rest::routes(Arc::clone(desk)) }
    }

    /// Answers one request of the connection whose client holds this key.
    pub async fn answer(mut self, request: Request<Incoming>, peer: Arc<PeerKey>) -> Response<Body> {
        let grpc = is_grpc(request.headers());
        let (mut request, lender) = lend(request);
        request.extensions_mut().insert(peer);
        // A stream's answer begins at once, so the limit is on calls only.
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.handled(request, grpc)).await;
        let leftover = lender.leftover();
        let answer = answered.unwrap_or_else(|_elapsed| self.late(grpc, leftover.is_some()));
        if let Some(leftover) = leftover {
            leftover.read_away().await;
        }
        answer
    }

    async fn handled(&mut self, request: Request<Lent<Incoming>>, grpc: bool) -> Response<Body> {
        if grpc {
            let answer = self.grpc.call(request).await.unwrap_or_else(|never| match never {});
            return self.with_code(answer).map(Either::Left);
        }
        self.rest.call(request).await.unwrap_or_else(|never| match never {}).map(Either::Right)
    }

    /// The library refuses a large message in words of its own; the code is ours, as for every other no.
    fn with_code(&self, answer: Response<tonic::body::Body>) -> Response<tonic::body::Body> {
        let status = Status::from_header_map(answer.headers());
        if status.is_none_or(|said| said.code() != Code::OutOfRange || said.metadata().contains_key(CODE_METADATA)) {
            return answer;
        }
        let detail = format!("the message has more than {MESSAGE_BYTES_MAX} bytes");
        let refused = Refused::new(Class::TooLarge, "request_too_large", detail, &self.desk.request_id());
        refused.into_status().into_http()
    }

    /// Whose fault it is that the answer is not there in time shows in whether the request is.
    fn late(&self, grpc: bool, request_unread: bool) -> Response<Body> {
        let (class, code, detail) = if request_unread {
            (Class::Slow, "request_timeout", "the request did not come in time; try again")
        } else {
            (Class::Late, "deadline", "the answer took too long; try again")
        };
        let refused = Refused::new(class, code, detail, &self.desk.request_id());
        if grpc {
            return refused.into_status().into_http().map(Either::Left);
        }
        refused.into_response().map(Either::Right)
    }
}

/// The admin door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminDoor(AdminServer<Admin>);

impl AdminDoor {
    /// The door to this desk's staff room; the socket decides who may come.
    pub fn new(desk: &Arc<Desk>) -> Self {
        Self(AdminServer::new(Admin(Arc::clone(desk))).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Answers one request.
    pub async fn answer(mut self, request: Request<Incoming>) -> Response<Body> {
        self.0.call(request).await.unwrap_or_else(|never| match never {}).map(Either::Left)
    }
}

/// The health port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HealthDoor(Router);

impl HealthDoor {
    /// The door that shows these.
    pub fn new(readiness: Readiness, metrics: Metrics) -> Self {
        Self(rest::health::routes(readiness, metrics))
    }

    /// Answers one request.
    pub async fn answer(mut self, request: Request<Incoming>) -> Response<Body> {
        self.0.call(request).await.unwrap_or_else(|never| match never {}).map(Either::Right)
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
