//! One HTTP connection, from its first byte to its polite end.

use super::traffic::{Carried, Traffic};
use crate::api::limits::{HEADER_BYTES_MAX, STREAMS_PER_CONNECTION_MAX};
use crate::telemetry::Shutdown;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

/// Between a connection and its first request; who waits longer holds a place for nothing.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Without an open stream. Agents keep one open, so only what is forgotten or held for its own sake stays so long quiet.
const IDLE_AT_MOST: Duration = Duration::from_secs(600);
/// RFC 9112 leaves it to us; a header of an honest client comes in one packet or a few.
const HEADER_READ_WITHIN: Duration = Duration::from_secs(5);
/// Finds agents that went away without a word.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Longer than any round trip.
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// A client that is told to go has nothing open; a round trip is enough.
const GOODBYE_WITHIN: Duration = Duration::from_secs(10);
/// Two of the largest messages: a client need not wait for us in the middle of one.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Four such streams.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What HTTP/1.1 reads ahead at most; also the limit of its header.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// How a door's connections speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Serves one connection until its client is done, or until shutdown and the end of what was begun.
pub(super) async fn serve<I, A, F, B>(io: I, speech: Speech, answer: A, shutdown: &Shutdown)
where
    I: Read + Write + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let traffic = Traffic::default();
    let service = service_fn(|request| {
        let (stream, response) = (traffic.enter(), answer(request));
        async move { Ok::<_, Infallible>(response.await.map(|body| Carried::new(body, stream))) }
    });
    let builder = speech.builder();
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = traffic.silent_for(FIRST_REQUEST_WITHIN) => return,
        () = traffic.idle_for(IDLE_AT_MOST) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GOODBYE_WITHIN, connection).await.unwrap_or(Ok(()))
        }
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke off");
    }
}

impl Speech {
    fn builder(self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        match self {
            Self::Http1 => {
                let mut http1 = builder.http1();
                http1.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_WITHIN).max_buf_size(READ_BUFFER_BYTES);
                builder.http1_only()
            }
            Self::Http2 => {
                let mut http2 = builder.http2();
                http2.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PONG_WITHIN);
                http2.max_concurrent_streams(STREAMS_PER_CONNECTION_MAX).max_header_list_size(HEADER_BYTES_MAX);
                http2.initial_stream_window_size(STREAM_WINDOW_BYTES);
                http2.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
                builder.http2_only()
            }
        }
    }
}
