//! One HTTP connection, from its first byte to its polite end.

use super::together::{Together, Turns};
use super::traffic::{Carried, Traffic};
use crate::api::limits::{
    BROKEN_STREAMS_MAX, CALL_WITHIN, CONNECTION_WINDOW_BYTES, FIRST_REQUEST_WITHIN, FRAME_BYTES_MAX, GOODBYE_WITHIN,
    HEADER_BYTES_MAX, HEADER_LIST_BYTES_MAX, HEADER_READ_WITHIN, HEADERS_MAX, IDLE_AT_MOST, PING_EVERY, PONG_WITHIN,
    READ_BUFFER_BYTES, RESET_STREAMS_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_PER_CONNECTION_MAX,
};
use crate::telemetry::Shutdown;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// How a door's connections speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Serves one connection until its client is done, or until shutdown and the end of what was begun.
///
/// What is served lies on the heap before anything is waited for: a future keeps a place for each value that was moved
/// through it, and there are as many as connections.
pub(super) fn serve<I, A, F, B>(io: I, speech: Speech, answer: A, shutdown: Shutdown) -> impl Future<Output = ()>
where
    I: Read + Write + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let traffic = Traffic::default();
    let entered = traffic.clone();
    let service = service_fn(move |request| {
        let (stream, response) = (entered.enter(), answer(request));
        async move { Ok::<_, Infallible>(Carried::of(response.await, stream)) }
    });
    let connection: Pin<Box<dyn Polite + Send>> = match speech {
        Speech::Http1 => Box::pin(http1().serve_connection(io, service)),
        Speech::Http2 => Box::pin(http2().serve_connection(io, service)),
    };
    attend(connection, traffic, shutdown)
}

/// As [`serve`], with answers that are ready at the same time leaving together.
pub(super) fn serve_together<S, A, F, B>(
    stream: S,
    speech: Speech,
    answer: A,
    shutdown: Shutdown,
) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let turns = Turns::default();
    let together = TokioIo::new(Together::new(stream, turns.clone()));
    turns.of(serve(together, speech, answer, shutdown))
}

/// Drives a connection, and ends it when its time is over.
async fn attend(mut connection: Pin<Box<dyn Polite + Send>>, traffic: Traffic, shutdown: Shutdown) {
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = traffic.silent_for(FIRST_REQUEST_WITHIN) => return,
        () = traffic.call_lasts(CALL_WITHIN) => return tracing::debug!("a client does not read its answer"),
        () = traffic.idle_for(IDLE_AT_MOST) => {
            connection.as_mut().say_goodbye();
            tokio::time::timeout(GOODBYE_WITHIN, connection).await.unwrap_or(Ok(()))
        }
        () = shutdown.wait() => {
            connection.as_mut().say_goodbye();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// A connection that can be told to end once what was begun is done.
trait Polite: Future<Output = hyper::Result<()>> {
    fn say_goodbye(self: Pin<&mut Self>);
}

impl<I, S, B> Polite for http1::Connection<I, S>
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = B, Error: Into<Box<dyn Error + Send + Sync>>>,
    B: hyper::body::Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    fn say_goodbye(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B> Polite for http2::Connection<I, S, TokioExecutor>
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = B, Error: Into<Box<dyn Error + Send + Sync>>>,
    B: hyper::body::Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    TokioExecutor: Http2ServerConnExec<S::Future, B>,
{
    fn say_goodbye(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn http1() -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_WITHIN).max_headers(HEADERS_MAX);
    http1.max_header_size(HEADER_BYTES_MAX).max_buf_size(READ_BUFFER_BYTES);
    http1
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PONG_WITHIN);
    http2.max_concurrent_streams(STREAMS_PER_CONNECTION_MAX).max_header_list_size(HEADER_LIST_BYTES_MAX);
    http2.initial_stream_window_size(STREAM_WINDOW_BYTES);
    http2.initial_connection_window_size(CONNECTION_WINDOW_BYTES).max_frame_size(FRAME_BYTES_MAX);
    http2.max_pending_accept_reset_streams(RESET_STREAMS_MAX).max_send_buf_size(SEND_BUFFER_BYTES);
    http2.max_local_error_reset_streams(BROKEN_STREAMS_MAX);
    http2
}
