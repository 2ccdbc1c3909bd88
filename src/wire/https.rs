//! How commands reach the server: one HTTPS request, one answer.

use super::ServerUrl;
use crate::tls::{TlsClient, TlsError};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::time::Duration;

/// A bundle is the largest thing that the server answers with.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A request that waits for GitLab's keys takes longest; the server gives up after ten seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// Longer than any answer of the server.
    #[error("{server} answers with more than {ANSWER_BYTES_MAX} bytes")]
    AnswerTooLarge {
        /// Whom we asked.
        server: ServerUrl,
    },
    /// No connection.
    #[error(transparent)]
    Connect(#[from] TlsError),
    /// The exchange broke off.
    #[error("the exchange with {server} broke off")]
    Exchange {
        /// Whom we asked.
        server: ServerUrl,
        /// What the library says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The path or the body cannot be written in a request.
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    /// No answer in time.
    #[error("{server} does not answer")]
    Slow {
        /// Whom we asked.
        server: ServerUrl,
    },
}

/// Asks the server over HTTP/1.1, one connection a request: for commands that ask once and end.
#[derive(Clone, Debug)]
pub struct HttpsClient {
    server: ServerUrl,
    tls: TlsClient,
}

impl HttpsClient {
    /// Asks this server; `tls` should offer `http/1.1`.
    pub const fn new(server: ServerUrl, tls: TlsClient) -> Self {
        Self { server, tls }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// See [`HttpsError`]; a refusal is an answer, not an error.
    pub async fn fetch(&self, path: &str) -> Result<(StatusCode, Bytes), HttpsError> {
        self.get(path).await.map(told)
    }

    /// `GET path`, for its headers too.
    ///
    /// # Errors
    /// See [`HttpsError`]; a refusal is an answer, not an error.
    pub async fn get(&self, path: &str) -> Result<Response<Bytes>, HttpsError> {
        self.send(Request::get(path).body(Full::default())?).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// See [`HttpsError`]; a refusal is an answer, not an error.
    pub async fn post_json(&self, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), HttpsError> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Full::from(body))?).await.map(told)
    }

    /// `POST path` with a form.
    ///
    /// # Errors
    /// See [`HttpsError`]; a refusal is an answer, not an error.
    pub async fn post_form(&self, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), HttpsError> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Full::from(body))?).await.map(told)
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpsError> {
        let authority = HeaderValue::try_from(format!("{}:{}", self.server.host, self.server.port));
        request.headers_mut().insert(header::HOST, authority.map_err(http::Error::from)?);
        let stream = self.tls.connect(&self.server.host, self.server.port).await?;
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let answer = async { whole(sender.send_request(request).await?).await };
            tokio::pin!(answer);
            // The connection moves the bytes and may end as soon as the last one is in.
            tokio::select! {
                answer = &mut answer => answer,
                _ended = connection => answer.await,
            }
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(HttpsError::AnswerTooLarge { server: self.server.clone() })
            }
            Ok(Err(source)) => Err(HttpsError::Exchange { server: self.server.clone(), source }),
            Err(_elapsed) => Err(HttpsError::Slow { server: self.server.clone() }),
        }
    }
}

fn told(answer: Response<Bytes>) -> (StatusCode, Bytes) {
    (answer.status(), answer.into_body())
}

async fn whole(answer: Response<hyper::body::Incoming>) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
