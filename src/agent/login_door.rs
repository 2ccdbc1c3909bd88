//! The agent's own socket: HTTP/1.1, so that `curl --unix-socket` alone can log in.
//!
//! `POST /v1/login {"token"}` answers once the first SVID is there; `POST /v1/logout` ends the session, says
//! which that was, and may say `{"reason": "exec_end"}`.
//! A refusal of the server is passed on as it came (RFC 9457). A login may wait for the server as long as its client
//! does; until its request is whole it may not.

use super::Refused;
use super::caller::NotAJob;
use super::desk::{Desk, Guest, Job};
use super::limits::{HEADER_BYTES_MAX, HEADER_WITHIN, HEADERS_MAX, LOGIN_BYTES_MAX, REQUEST_WITHIN, REST_AFTER_ERROR};
use super::order::Order;
use super::outcome::{LoggedIn, LoggedOut};
use super::places::{Places, Taken};
use super::setback::Setback;
use super::waiting::Answer as Asker;
use crate::telemetry::{Shutdown, contained};
use crate::wire::lanyard::JobEnd;
use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::pin::pin;
use time::OffsetDateTime;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tower::Service;
use zeroize::Zeroizing;

/// Logins that wait for the renewer.
const ORDERS_WAITING: usize = 16;

/// Logs in and out; held by the door, and by whoever runs the agent inside its own process.
#[derive(Clone, Debug)]
pub struct AgentHandle(pub(super) mpsc::Sender<Order>);

impl AgentHandle {
    /// A handle, and where its orders come out.
    pub(super) fn pair() -> (Self, mpsc::Receiver<Order>) {
        let (orders, heard) = mpsc::channel(ORDERS_WAITING);
        (Self(orders), heard)
    }

    /// Ends the job and forgets it; gives back whether that could be said now.
    pub(super) fn close(&self, why: JobEnd) -> bool {
        self.0.try_send(Order::Close { why }).is_ok()
    }

    /// Hands over the job's token; resolves when the first SVID is there, or the server has refused.
    /// While the server is away it waits; dropping the future leaves the agent trying.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn login(&self, token: Zeroizing<String>) -> Result<LoggedIn, Refused> {
        self.login_telling(token, watch::Sender::new(None)).await
    }

    /// The same; meanwhile `setback` holds what stood in the way last.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn login_telling(
        &self,
        token: Zeroizing<String>,
        setback: watch::Sender<Option<Setback>>,
    ) -> Result<LoggedIn, Refused> {
        let (outcome, heard) = oneshot::channel();
        if self.0.send(Order::Login { token, answer: Asker { outcome, setback } }).await.is_err() {
            return Err(stopping());
        }
        heard.await.unwrap_or_else(|_gone| Err(stopping()))
    }

    /// Ends the session, if there is one, here and at the server.
    pub async fn end(&self, why: JobEnd) -> LoggedOut {
        let (answer, heard) = oneshot::channel();
        if self.0.send(Order::Logout { why, answer }).await.is_ok()
            && let Ok(told) = heard.await
        {
            return told;
        }
        LoggedOut::NotTold { why: "the agent is stopping".to_owned(), ends_at: None }
    }
}

fn stopping() -> Refused {
    Refused::here("agent_stopping", "the agent is stopping; try again when it is back", 503)
}

#[derive(Deserialize)]
struct LoginRequest {
    token: String,
}

/// What a job may say of its own end; nothing means a logout.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoutRequest {
    reason: Option<JobsWord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum JobsWord {
    ExecEnd,
    Logout,
}

#[derive(Serialize)]
struct LoginAnswer {
    spiffe_id: String,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
    session: String,
}

/// The session that has ended.
#[derive(Serialize)]
struct LogoutAnswer {
    session: String,
}

/// A refusal as RFC 9457 writes it.
#[derive(Serialize)]
struct Problem<'a> {
    status: u16,
    title: &'a str,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<&'a str>,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FORBIDDEN);
        let title = status.canonical_reason().unwrap_or("Refused");
        let (code, detail, request_id) = (&*self.code, &*self.say, &*self.request_id);
        let audience = self.audience.as_deref();
        let problem = Problem { status: status.as_u16(), title, code, detail, request_id, audience };
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(&problem).into_response().into_body())
            .into_response()
    }
}

/// Serves the door until shutdown; logins under way then may end.
pub(super) async fn serve(listener: UnixListener, desk: Desk, places: Places, shutdown: Shutdown) {
    let routes = Router::new()
        .route("/v1/login", post(login))
        .route("/v1/logout", post(logout))
        .layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.wait() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = admitted(&listener, &desk, &places) => accepted,
        };
        match accepted {
            Ok(Some((stream, guest, place))) => {
                let answer = Answer { routes: routes.clone(), guest };
                connections.spawn(connection(stream, answer, (place, shutdown.clone())));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection to the agent's socket could not be accepted");
                tokio::time::sleep(REST_AFTER_ERROR).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// The next connection; whoever comes when all places are taken waits in the system's queue. May be dropped while it
/// waits: what was accepted was returned.
async fn admitted(
    listener: &UnixListener,
    desk: &Desk,
    places: &Places,
) -> std::io::Result<Option<(UnixStream, Guest, Taken)>> {
    let share = places.share().await.map_err(std::io::Error::other)?;
    let (stream, _from) = listener.accept().await?;
    let guest = desk.meet(&stream);
    Ok(places.seat(guest.holder(), share).map(|place| (stream, guest, place)))
}

async fn connection(stream: UnixStream, answer: Answer, (place, shutdown): (Taken, Shutdown)) {
    let service = service_fn(move |request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer.to(request).await) }
    });
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).max_headers(HEADERS_MAX);
    let served = http1.max_header_size(HEADER_BYTES_MAX).serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.wait() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the agent's socket broke off");
    }
    drop(place);
}

/// Answers the requests of one connection.
#[derive(Clone, Debug)]
struct Answer {
    routes: Router,
    guest: Guest,
}

impl Answer {
    async fn to(mut self, request: Request<Incoming>) -> Response {
        // Whole before anybody works on it: a login may take long, its request may not.
        let (head, body) = request.into_parts();
        let body = Limited::new(body, LOGIN_BYTES_MAX).collect();
        let body = match tokio::time::timeout(REQUEST_WITHIN, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Refused::here("body_too_large", "a token is never so large", 413).into_response();
            }
            Ok(Err(_broken)) => return Refused::here("body_incomplete", "the body ended early", 400).into_response(),
            Err(_elapsed) => {
                return Refused::here("request_timeout", "the body did not come in time", 408).into_response();
            }
        };
        // Only now, so that nobody changes while the body comes.
        let job = match self.guest.job() {
            Ok(job) => job,
            Err(why) => return not_a_job(&why).into_response(),
        };
        let mut request = Request::from_parts(head, axum::body::Body::from(body));
        request.extensions_mut().insert(job);
        let answered = contained(self.routes.call(request)).await;
        answered
            .unwrap_or_else(|panicked| {
                tracing::error!("a login or logout {panicked}");
                Ok(Refused::here("internal", "the agent broke down over this request", 500).into_response())
            })
            .unwrap_or_else(|never| match never {})
    }
}

async fn login(Extension(Job { agent, .. }): Extension<Job>, body: String) -> Response {
    let body = Zeroizing::new(body);
    let Ok(LoginRequest { token }) = serde_json::from_str(&body) else {
        return Refused::here("malformed", "send {\"token\": \"…\"} with the job's id_token", 400).into_response();
    };
    match agent.login(Zeroizing::new(token.trim().to_owned())).await {
        Ok(LoggedIn { spiffe_id, not_after, session }) => {
            Json(LoginAnswer { spiffe_id, not_after, session }).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

async fn logout(Extension(Job { agent, .. }): Extension<Job>, body: String) -> Response {
    let body = if body.trim().is_empty() { "{}" } else { &body };
    let Ok(LogoutRequest { reason }) = serde_json::from_str(body) else {
        return Refused::here("malformed", "send nothing, or {\"reason\": \"exec_end\"}", 400).into_response();
    };
    let why = match reason {
        Some(JobsWord::ExecEnd) => JobEnd::ExecEnd,
        Some(JobsWord::Logout) | None => JobEnd::Logout,
    };
    match agent.end(why).await {
        LoggedOut::Told { session: Some(session) } => Json(LogoutAnswer { session }).into_response(),
        LoggedOut::Told { session: None } => StatusCode::NO_CONTENT.into_response(),
        told @ LoggedOut::NotTold { .. } => {
            let say = format!("{told}; the agent keeps trying. Until then {}", told.ends_by_itself());
            Refused::here("server_not_told", &say, 503).into_response()
        }
    }
}

fn not_a_job(why: &NotAJob) -> Refused {
    let status = if matches!(why, NotAJob::TooMany(_)) { 503 } else { 403 };
    Refused::here(why.code(), why.to_string(), status)
}

#[cfg(test)]
mod tests {
    use super::super::desk::tests::desk_for_all;
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn who_waits_for_a_place_is_not_dropped_when_another_connection_ends_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let (listener, places, desk) = (UnixListener::bind(&path).unwrap(), Places::new(1, 2), desk_for_all());
        let first = UnixStream::connect(&path).await.unwrap();
        let taken = admitted(&listener, &desk, &places).await.unwrap().unwrap();
        let second = UnixStream::connect(&path).await.unwrap();
        // As `serve` gives up waiting for each connection that ends.
        tokio::time::timeout(Duration::from_millis(50), admitted(&listener, &desk, &places)).await.unwrap_err();
        drop((first, taken));
        let admitted = tokio::time::timeout(Duration::from_secs(5), admitted(&listener, &desk, &places));
        let (stream, _guest, _place) = admitted.await.unwrap().unwrap().unwrap();
        stream.try_write(b"x").unwrap();
        second.readable().await.unwrap();
        assert_eq!(second.try_read(&mut [0; 2]).unwrap(), 1);
    }
}
