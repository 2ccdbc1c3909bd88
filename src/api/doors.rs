//! The doors as the server sees them: a request goes in, a response comes out.

use super::crowd::{Caller, Good, Guest};
use super::desk::Desk;
use super::grpc::{Admin, Issuer};
use super::lent::{Lent, Stopped, lend};
use super::limits::{ANSWER_WITHIN, MESSAGE_BYTES_MAX};
use super::operators::Operators;
use super::refused::{CODE_METADATA, Class, Refused};
use super::rest;
use crate::audit::Person;
use crate::issuance::Refusal;
use crate::telemetry::{Door, Metrics, Panicked, Readiness, contained, request_span};
use crate::wire::lanyard::admin_server::AdminServer;
use crate::wire::lanyard::issuer_server::IssuerServer;
use axum::Router;
use axum::response::IntoResponse;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Either;
use hyper::body::Incoming;
use std::sync::Arc;
use tonic::{Code, Status};
use tower::Service;
use tracing::Instrument as _;

/// A door that answers whoever comes. Cheap to clone.
pub trait Answers: Clone + Send + Sync + 'static {
    /// Answers one request of this guest.
    fn answer(self, request: Request<Incoming>, guest: Arc<Guest>) -> impl Future<Output = Response<Body>> + Send;
}

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

    /// Answers one request of this caller. The answer carries what the request holds (`Arc<Held>`) until it is sent.
    pub async fn answer(mut self, request: Request<Incoming>, caller: Arc<Caller>) -> Response<Body> {
        let grpc = is_grpc(request.headers());
        let Some(held) = caller.visitor.hold(Good::Requests, 1) else { return self.no(grpc, Nothing::Crowded) };
        let (mut request, mut lender) = lend(request, &caller.visitor);
        request.extensions_mut().insert(caller);
        let door = if grpc { Door::Grpc } else { Door::Rest };
        let span = request_span(door, request.uri().path(), request.headers());
        let handled = contained(self.handled(request, grpc)).instrument(span);
        // A stream's answer begins at once, so the limit is on calls only.
        let answered = tokio::time::timeout(ANSWER_WITHIN, handled).await;
        let leftover = lender.leftover();
        let mut answer = match (lender.stopped(), answered) {
            (Some(Stopped::Crowded), _) => self.no(grpc, Nothing::Crowded),
            (Some(Stopped::Slow), _) => self.no(grpc, Nothing::Unread),
            (None, Ok(Ok(answer))) => answer,
            (None, Ok(Err(panicked))) => self.no(grpc, Nothing::Broken(panicked)),
            (None, Err(_elapsed)) => self.no(grpc, if leftover.is_some() { Nothing::Unread } else { Nothing::Late }),
        };
        answer.extensions_mut().insert(Arc::new(held));
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

    /// Whose fault it is that there is no answer shows in its class.
    fn no(&self, grpc: bool, why: Nothing) -> Response<Body> {
        let id = self.desk.request_id();
        let refused = match why {
            Nothing::Broken(panicked) => {
                tracing::error!(request_id = id.as_str(), "a request {panicked}");
                Refused::new(Class::Broken, "internal", "the server broke down over this request", &id)
            }
            Nothing::Crowded => Refused::of(&Refusal::TooMany, &id),
            Nothing::Late => Refused::new(Class::Late, "deadline", "the answer took too long; try again", &id),
            Nothing::Unread => {
                let detail = "the request did not come in time; try again";
                Refused::new(Class::Slow, "request_timeout", detail, &id)
            }
        };
        if grpc {
            return refused.into_status().into_http().map(Either::Left);
        }
        refused.into_response().map(Either::Right)
    }
}

/// Why there is no answer.
enum Nothing {
    Broken(Panicked),
    Crowded,
    Late,
    Unread,
}

/// Goes with an answer that has no end of its own, as one of its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// Who asks at the admin door.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operator {
    /// The user id of the process at the other end of the socket; of people from elsewhere, a number that the journal explains.
    pub uid: u32,
    /// Who that is, of people from elsewhere.
    pub elsewhere: Option<Arc<str>>,
}

impl Operator {
    /// As entries of the journal tell of them.
    pub(super) fn person(&self) -> Person {
        let user = self.elsewhere.as_deref().map(str::to_owned);
        if user.is_some() { Person { uid: self.uid, user } } else { Person::of(self.uid) }
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

    /// Answers one request of this operator.
    pub async fn answer(mut self, mut request: Request<Incoming>, operator: Operator) -> Response<Body> {
        request.extensions_mut().insert(operator);
        let answered = tokio::time::timeout(ANSWER_WITHIN, contained(self.0.call(request))).await;
        let status = match answered {
            Ok(Ok(Ok(answer))) => return answer.map(Either::Left),
            Ok(Err(panicked)) => {
                tracing::error!("an operator's request {panicked}");
                Status::internal("the server broke down over this request")
            }
            Err(_elapsed) => Status::deadline_exceeded("the answer took too long"),
        };
        status.into_http().map(Either::Left)
    }
}

/// The admin door for operators who are elsewhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RemoteAdminDoor {
    desk: Arc<Desk>,
    door: AdminDoor,
    operators: Arc<Operators>,
}

impl RemoteAdminDoor {
    /// The door to this desk's staff room for these.
    pub fn new(desk: &Arc<Desk>, operators: Operators) -> Self {
        Self { desk: Arc::clone(desk), door: AdminDoor::new(desk), operators: Arc::new(operators) }
    }
}

/// If it is an operator's: each request shows who asks.
impl Answers for RemoteAdminDoor {
    async fn answer(self, mut request: Request<Incoming>, guest: Arc<Guest>) -> Response<Body> {
        let asked = order_in(request.uri().path()).to_owned();
        let admit = contained(self.operators.admit(request.headers(), &guest, &asked));
        let id = self.desk.request_id();
        let refused = match tokio::time::timeout(ANSWER_WITHIN, admit).await {
            Ok(Ok(Ok(operator))) => {
                request.headers_mut().remove(header::AUTHORIZATION);
                return self.door.answer(request, operator).await;
            }
            Ok(Ok(Err(no))) => no.refused(&id),
            Ok(Err(panicked)) => {
                tracing::error!(request_id = id.as_str(), "who asks at the admin port: {panicked}");
                Refused::new(Class::Broken, "internal", "the server broke down over this request", &id)
            }
            Err(_elapsed) => Refused::new(Class::Late, "deadline", "the answer took too long; try again", &id),
        };
        refused.into_status().into_http().map(Either::Left)
    }
}

/// What is asked for, as the journal names it. Whoever asks chooses the path: of one that leads nowhere nothing is written.
fn order_in(path: &str) -> &str {
    const NAME_BYTES_MAX: usize = 64;
    let name = path.strip_prefix("/lanyard.v1.Admin/").unwrap_or_default();
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(|c| c.is_ascii_alphanumeric());
    if is_name { name } else { "nothing that there is" }
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
    pub async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        answered(self.0, request).await
    }
}

/// The bundle port: what anybody may have who is to trust us. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BundleDoor(Router);

impl BundleDoor {
    /// The door before this desk's window.
    pub fn new(desk: &Arc<Desk>) -> Self {
        Self(rest::public_routes(Arc::clone(desk)))
    }

    /// The same for the SPIFFE profile: the trust bundle alone.
    pub fn of_spiffe(desk: &Arc<Desk>) -> Self {
        Self(rest::spiffe_routes(Arc::clone(desk)))
    }
}

impl Answers for BundleDoor {
    async fn answer(self, request: Request<Incoming>, _guest: Arc<Guest>) -> Response<Body> {
        answered(self.0, request).await
    }
}

/// An answer of a door that only shows.
async fn answered(mut routes: Router, request: Request<Incoming>) -> Response<Body> {
    let answered = tokio::time::timeout(ANSWER_WITHIN, contained(routes.call(request))).await;
    let answer = match answered {
        Ok(Ok(Ok(answer))) => answer,
        Ok(Err(panicked)) => {
            tracing::error!("a reader's request {panicked}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_elapsed) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    };
    answer.map(Either::Right)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_only_an_order_s_name_is_written() {
        assert_eq!(order_in("/lanyard.v1.Admin/AddBan"), "AddBan");
        let long = format!("/lanyard.v1.Admin/{}", "A".repeat(65));
        for junk in
            ["/", "", "/x/AddBan", "/lanyard.v1.Admin/", "/lanyard.v1.Admin/a/b", "/lanyard.v1.Admin/%1b[2J", &long]
        {
            assert_eq!(order_in(junk), "nothing that there is", "{junk}");
        }
    }
}
