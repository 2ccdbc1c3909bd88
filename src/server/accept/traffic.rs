//! The open streams of a connection: for how long there were none, and for how long the oldest call has lasted.
//!
//! Counted without waking anybody, for it happens at each request; looked at now and then.

use crate::api::{Endless, Held};
use http::Response;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The open streams of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    streams: usize,
    /// Those whose answer has an end, by when they began.
    calls: BTreeSet<(Instant, u64)>,
    /// How many streams there ever were.
    ever: u64,
}

/// An open stream, from its request until all of its answer is handed to HTTP.
#[derive(Debug)]
pub(super) struct OpenStream {
    open: Arc<Mutex<Open>>,
    /// None once it is known to have no end of its own.
    call: Option<(Instant, u64)>,
}

/// An answer's body, whose end is its stream's: HTTP/2 takes a body piece by piece while its client gives it any window,
/// and holds what it has taken until it may send it.
#[derive(Debug)]
pub(super) struct Carried<B> {
    body: B,
    stream: OpenStream,
    endless: bool,
    /// A frame of it was given out.
    begun: bool,
    /// What the request holds of its door until it is answered.
    held: Option<Arc<Held>>,
}

impl Traffic {
    /// A stream opens.
    pub(super) fn enter(&self) -> OpenStream {
        let began = Instant::now();
        let mut open = locked(&self.0);
        open.streams = open.streams.saturating_add(1);
        open.ever = open.ever.wrapping_add(1);
        let call = (began, open.ever);
        open.calls.insert(call);
        drop(open);
        OpenStream { open: Arc::clone(&self.0), call: Some(call) }
    }

    /// Resolves when the first request does not come within this time; never, once it came.
    pub(super) async fn silent_for(&self, most: Duration) {
        tokio::time::sleep(most).await;
        if self.counts().0 > 0 {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when no stream was open for this time, or up to twice this time.
    pub(super) async fn idle_for(&self, most: Duration) {
        loop {
            let before = self.counts();
            tokio::time::sleep(most).await;
            if self.counts() == before && before.1 == 0 {
                return;
            }
        }
    }

    /// How many streams there ever were, and how many are open.
    fn counts(&self) -> (u64, usize) {
        let open = locked(&self.0);
        (open.ever, open.streams)
    }

    /// Resolves when a call has lasted this long: whoever asked lets us send nothing of the answer.
    pub(super) async fn call_lasts(&self, most: Duration) {
        loop {
            let now = Instant::now();
            let oldest = locked(&self.0).calls.first().map_or(now, |(began, _)| *began);
            if oldest + most <= now {
                return;
            }
            tokio::time::sleep_until(oldest + most).await;
        }
    }
}

impl OpenStream {
    /// It is no call: it stays open for as long as both sides like.
    fn has_no_end(&mut self) {
        if let Some(call) = self.call.take() {
            locked(&self.open).calls.remove(&call);
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.has_no_end();
        let mut open = locked(&self.open);
        open.streams = open.streams.saturating_sub(1);
    }
}

/// Each change is one step: who panicked left none half done.
fn locked(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Carried<B> {
    /// An answer on its way out, with what its request holds.
    pub(super) fn of(mut answer: Response<B>, stream: OpenStream) -> Response<Self> {
        let endless = answer.extensions().get::<Endless>().is_some();
        let held = answer.extensions_mut().remove::<Arc<Held>>();
        answer.map(|body| Self { body, stream, endless, begun: false, held })
    }
}

impl<B: Body + Unpin> Body for Carried<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        // The first frame is asked for before there is room for it, the second once the first was handed to HTTP/2, which
        // takes a client that lets us send: from now on it costs what an open stream costs, and no request.
        if self.endless && self.begun {
            self.stream.has_no_end();
            self.held = None;
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.begun |= frame.is_ready();
        frame
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
    use http_body_util::{BodyExt, Empty, Full};

    const SHORT: Duration = Duration::from_millis(20);

    async fn resolves(waiting: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(10 * SHORT, waiting).await.is_ok()
    }

    #[tokio::test]
    async fn a_connection_is_idle_only_without_an_open_answer() {
        let traffic = Traffic::default();
        assert!(resolves(traffic.idle_for(SHORT)).await);
        let answer = Carried::of(Response::new(Empty::<bytes::Bytes>::new()), traffic.enter());
        assert!(!resolves(traffic.idle_for(SHORT)).await);
        drop(answer);
        assert!(resolves(traffic.idle_for(SHORT)).await);
    }

    #[tokio::test]
    async fn a_connection_is_silent_until_its_first_request() {
        let traffic = Traffic::default();
        assert!(resolves(traffic.silent_for(SHORT)).await);
        drop(traffic.enter());
        assert!(!resolves(traffic.silent_for(SHORT)).await);
    }

    #[tokio::test]
    async fn a_call_has_an_end_and_a_stream_only_once_its_client_reads() {
        let traffic = Traffic::default();
        let answer = || Response::new(Full::<bytes::Bytes>::from("said"));
        assert!(!resolves(traffic.call_lasts(SHORT)).await, "there is no call");
        let call = Carried::of(answer(), traffic.enter());
        assert!(resolves(traffic.call_lasts(SHORT)).await);
        drop(call);
        assert!(!resolves(traffic.call_lasts(SHORT)).await);
        let mut stream = answer();
        stream.extensions_mut().insert(Endless);
        let mut stream = Carried::of(stream, traffic.enter());
        assert!(resolves(traffic.call_lasts(SHORT)).await, "nothing of it was read");
        stream.body_mut().frame().await.unwrap().unwrap();
        assert!(resolves(traffic.call_lasts(SHORT)).await, "HTTP/2 holds the first frame until it may send");
        assert!(stream.body_mut().frame().await.is_none());
        assert!(!resolves(traffic.call_lasts(SHORT)).await);
        assert!(!resolves(traffic.idle_for(SHORT)).await);
    }
}
