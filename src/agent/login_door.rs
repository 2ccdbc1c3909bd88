//! The agent's own socket: HTTP/1.1, so that `curl --unix-socket` alone can log in.
//!
//! `POST /v1/login {"token"}` answers once the first SVID is there; `POST /v1/logout` ends the session.
//! A refusal of the server is passed on as it came (RFC 9457).

use super::Refused;
use super::outcome::{LoggedIn, LoggedOut};
use super::renewer::Order;
use super::workload_api::Admission;
use axum::Json;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::IncomingStream;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// The largest token, and the JSON around it.
const BODY_BYTES_MAX: usize = 128 * 1024;

/// Logs in and out; held by the door, and by whoever runs the agent inside its own process.
#[derive(Clone, Debug)]
pub struct AgentHandle(pub(super) mpsc::Sender<Order>);

impl AgentHandle {
    /// Hands over the job's token; resolves when the first SVID is there, or the server has refused.
    /// While the server is away it waits; dropping the future leaves the agent trying.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn login(&self, token: Zeroizing<String>) -> Result<LoggedIn, Refused> {
        let (answer, heard) = oneshot::channel();
        if self.0.send(Order::Login { token, answer }).await.is_err() {
            return Err(stopping());
        }
        heard.await.unwrap_or_else(|_gone| Err(stopping()))
    }

    /// Ends the session, if there is one, here and at the server.
    pub async fn logout(&self) -> LoggedOut {
        let (answer, heard) = oneshot::channel();
        if self.0.send(Order::Logout { answer }).await.is_ok()
            && let Ok(told) = heard.await
        {
            return told;
        }
        LoggedOut::NotTold { why: "the agent is stopping".to_owned(), ends_at: None }
    }
}

fn stopping() -> Refused {
    Refused {
        code: "agent_stopping".to_owned(),
        say: "the agent is stopping; try again when it is back".to_owned(),
        request_id: String::new(),
        status: 503,
    }
}

#[derive(Deserialize)]
struct LoginRequest {
    token: String,
}

#[derive(Serialize)]
struct LoginAnswer {
    spiffe_id: String,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
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
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FORBIDDEN);
        let title = status.canonical_reason().unwrap_or("Refused");
        let (code, detail, request_id) = (&*self.code, &*self.say, &*self.request_id);
        let problem = Problem { status: status.as_u16(), title, code, detail, request_id };
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(&problem).into_response().into_body())
            .into_response()
    }
}

/// Which uid connected.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Serves the door until `shutdown` resolves.
pub(super) async fn serve(
    listener: UnixListener,
    agent: AgentHandle,
    admission: Admission,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/v1/login", post(login))
        .route("/v1/logout", post(logout))
        .layer(axum::middleware::from_fn_with_state(admission, admit))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(agent);
    axum::serve(listener, routes.into_make_service_with_connect_info::<Peer>()).with_graceful_shutdown(shutdown).await
}

async fn admit(
    State(admission): State<Admission>,
    ConnectInfo(Peer(uid)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if admission.admits(uid) {
        return next.run(request).await;
    }
    refusal("caller_not_admitted", "this agent answers processes of its own user only", 403).into_response()
}

async fn login(State(agent): State<AgentHandle>, body: String) -> Response {
    let body = Zeroizing::new(body);
    let Ok(LoginRequest { token }) = serde_json::from_str(&body) else {
        return refusal("malformed", "send {\"token\": \"…\"} with the job's id_token", 400).into_response();
    };
    match agent.login(Zeroizing::new(token.trim().to_owned())).await {
        Ok(LoggedIn { spiffe_id, not_after, session }) => {
            Json(LoginAnswer { spiffe_id, not_after, session }).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

async fn logout(State(agent): State<AgentHandle>) -> Response {
    match agent.logout().await {
        LoggedOut::Told => StatusCode::NO_CONTENT.into_response(),
        told @ LoggedOut::NotTold { .. } => {
            let say = format!("{told}; the agent keeps trying. Until then {}", told.ends_by_itself());
            refusal("server_not_told", &say, 503).into_response()
        }
    }
}

fn refusal(code: &str, say: &str, status: u16) -> Refused {
    Refused { code: code.to_owned(), say: say.to_owned(), request_id: String::new(), status }
}
