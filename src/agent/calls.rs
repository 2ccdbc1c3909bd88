//! What every call of the Workload API passes: its request must come in time and in bounds, it is counted as open on its
//! connection until its answer ends, and a panic ends this call only.

use super::desk::Guest;
use super::incoming::{Incoming, Pace};
use super::sds::STREAM_PATH;
use crate::telemetry::contained;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Whose connection a call came over; with every request of it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) guest: Guest,
    pub(super) calls: Arc<OpenCalls>,
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    open: AtomicUsize,
    /// All there ever were; tells a pause from idleness.
    begun: AtomicUsize,
}

impl OpenCalls {
    /// How many calls were begun, if none is open now.
    pub(super) fn begun_if_idle(&self) -> Option<usize> {
        // Each is a count by itself, and a look that comes too early is followed by another.
        (self.open.load(Ordering::Relaxed) == 0).then(|| self.begun.load(Ordering::Relaxed))
    }

    pub(super) fn begin(self: &Arc<Self>) -> OpenCall {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        OpenCall(Arc::clone(self))
    }
}

/// Counts as open until it is dropped.
#[derive(Debug)]
pub(super) struct OpenCall(Arc<OpenCalls>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Puts [`Calls`] in front of a service; its clones share what unfinished requests may hold.
#[derive(Clone, Debug, Default)]
pub(super) struct CallsLayer(Arc<AtomicUsize>);

/// See the file's opening words.
#[derive(Clone, Debug)]
pub(super) struct Calls<S> {
    inner: S,
    unfinished: Arc<AtomicUsize>,
}

impl<S> Layer<S> for CallsLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner, unfinished: Arc::clone(&self.0) }
    }
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = request.extensions().get::<Connection>().map(|connection| connection.calls.begin());
        let unfinished = Arc::clone(&self.unfinished);
        let pace = if request.uri().path() == STREAM_PATH { Pace::each_message() } else { Pace::Whole };
        let request = request.map(|body| Body::new(Incoming::new(body, pace, unfinished)));
        let answered = contained(self.inner.call(request));
        Box::pin(async move {
            let answer = answered.await.unwrap_or_else(|panicked| {
                tracing::error!("a workload's call {panicked}");
                Ok(Status::internal("the agent broke down over this call").into_http())
            });
            Ok(answer?.map(|body| Body::new(Outgoing { body, _call: call })))
        })
    }
}

/// An answer's body on its way out.
struct Outgoing {
    body: Body,
    _call: Option<OpenCall>,
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::desk::tests::desk_for_all;
    use http_body_util::Full;

    #[tokio::test]
    async fn a_panic_ends_one_call_and_an_open_answer_keeps_its_connection_from_idling() {
        let calls = Arc::new(OpenCalls::default());
        let panics = tower::service_fn(|request: Request<Body>| async move {
            assert_ne!(request.uri().path(), "/panic", "as asked");
            Ok::<_, Infallible>(Response::new(Body::new(Full::<Bytes>::from("said"))))
        });
        let mut service = CallsLayer::default().layer(panics);
        let (one_end, _other) = tokio::net::UnixStream::pair().unwrap();
        let guest = desk_for_all().meet(&one_end);
        let mut ask = |path: &str| {
            let mut request = Request::post(path).body(Body::empty()).unwrap();
            let connection = Connection { guest: guest.clone(), calls: Arc::clone(&calls) };
            request.extensions_mut().insert(connection);
            service.call(request)
        };
        let Ok(broken) = ask("/panic").await;
        assert_eq!(Status::from_header_map(broken.headers()).unwrap().code(), tonic::Code::Internal);
        let Ok(fine) = ask("/").await;
        assert_eq!(calls.begun_if_idle(), None);
        drop((fine, broken));
        assert_eq!(calls.begun_if_idle(), Some(2));
    }
}
