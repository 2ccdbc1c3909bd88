//! The open streams of a connection: for how long there were none, and for how long the oldest call has lasted.

use crate::api::{Endless, Held};
use http::Response;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The open streams of one connection.
#[derive(Debug)]
pub(super) struct Traffic {
    open: watch::Sender<Open>,
    /// Has seen no stream yet, and so hears of the first one whenever it is asked.
    unseen: watch::Receiver<Open>,
}

#[derive(Debug, Default)]
struct Open {
    streams: usize,
    /// Those whose answer has an end, by when they began.
    calls: BTreeSet<(Instant, u64)>,
    next: u64,
}

/// An open stream, from its request to the end of its answer.
#[derive(Debug)]
pub(super) struct OpenStream {
    open: watch::Sender<Open>,
    /// None once it is known to have no end of its own.
    call: Option<(Instant, u64)>,
}

/// An answer's body, whose end is its stream's.
#[derive(Debug)]
pub(super) struct Carried<B> {
    body: B,
    stream: OpenStream,
    endless: bool,
    /// What the request holds of its door until it is answered.
    held: Option<Arc<Held>>,
}

impl Traffic {
    /// No stream yet.
    pub(super) fn new() -> Self {
        let (open, unseen) = watch::channel(Open::default());
        Self { open, unseen }
    }

    /// A stream opens.
    pub(super) fn enter(&self) -> OpenStream {
        let began = Instant::now();
        let mut call = (began, 0);
        self.open.send_modify(|open| {
            open.streams = open.streams.saturating_add(1);
            open.next = open.next.wrapping_add(1);
            call.1 = open.next;
            open.calls.insert(call);
        });
        OpenStream { open: self.open.clone(), call: Some(call) }
    }

    /// Resolves when the first request does not come within this time; never, once it came.
    pub(super) async fn silent_for(&self, most: Duration) {
        if tokio::time::timeout(most, self.unseen.clone().changed()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when no stream was open for this time.
    pub(super) async fn idle_for(&self, most: Duration) {
        let mut open = self.open.subscribe();
        // The sender is ours, so waiting cannot fail.
        while open.wait_for(|open| open.streams == 0).await.is_ok() {
            if tokio::time::timeout(most, open.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Resolves when a call has lasted this long: whoever asked does not take the answer.
    pub(super) async fn call_lasts(&self, most: Duration) {
        let mut open = self.open.subscribe();
        loop {
            let oldest = open.borrow_and_update().calls.first().copied();
            let Some(call) = oldest else {
                // The sender is ours, so waiting cannot fail.
                drop(open.changed().await);
                continue;
            };
            tokio::time::sleep_until(call.0 + most).await;
            if open.borrow().calls.contains(&call) {
                return;
            }
        }
    }
}

impl OpenStream {
    /// It is no call: it stays open for as long as both sides like.
    fn has_no_end(&mut self) {
        if let Some(call) = self.call.take() {
            self.open.send_if_modified(|open| !open.calls.remove(&call));
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.has_no_end();
        self.open.send_modify(|open| open.streams = open.streams.saturating_sub(1));
    }
}

impl<B> Carried<B> {
    /// An answer on its way out, with what its request holds.
    pub(super) fn of(mut answer: Response<B>, stream: OpenStream) -> Response<Self> {
        let endless = answer.extensions().get::<Endless>().is_some();
        let held = answer.extensions_mut().remove::<Arc<Held>>();
        answer.map(|body| Self { body, stream, endless, held })
    }
}

impl<B: Body + Unpin> Body for Carried<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        // Its client reads: from now on it costs what an open stream costs, and no request.
        if self.endless && frame.is_ready() {
            self.stream.has_no_end();
            self.held = None;
        }
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
        let traffic = Traffic::new();
        assert!(resolves(traffic.idle_for(SHORT)).await);
        let answer = Carried::of(Response::new(Empty::<bytes::Bytes>::new()), traffic.enter());
        assert!(!resolves(traffic.idle_for(SHORT)).await);
        drop(answer);
        assert!(resolves(traffic.idle_for(SHORT)).await);
    }

    #[tokio::test]
    async fn a_connection_is_silent_until_its_first_request() {
        let traffic = Traffic::new();
        assert!(resolves(traffic.silent_for(SHORT)).await);
        drop(traffic.enter());
        assert!(!resolves(traffic.silent_for(SHORT)).await);
    }

    #[tokio::test]
    async fn a_call_has_an_end_and_a_stream_only_once_its_client_reads() {
        let traffic = Traffic::new();
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
        assert!(!resolves(traffic.call_lasts(SHORT)).await);
        assert!(!resolves(traffic.idle_for(SHORT)).await);
    }
}
