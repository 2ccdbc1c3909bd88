//! The open streams of a connection, and for how long there were none.
//!
//! Counted without waking anybody, for it happens at each request; looked at now and then.

use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// How many streams there were, and how many are over.
#[derive(Debug, Default)]
pub(super) struct Traffic(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicUsize,
    over: AtomicUsize,
}

/// An open stream, from its request to the end of its answer.
#[derive(Debug)]
pub(super) struct OpenStream(Arc<Counts>);

/// An answer's body, whose end is its stream's.
#[derive(Debug)]
pub(super) struct Carried<B> {
    body: B,
    _stream: OpenStream,
}

impl Traffic {
    /// A stream opens.
    pub(super) fn enter(&self) -> OpenStream {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(&self.0))
    }

    /// Resolves when the first request does not come within this time; never, once it came.
    pub(super) async fn silent_for(&self, most: Duration) {
        tokio::time::sleep(most).await;
        if self.0.opened.load(Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when no stream was open for this time, or up to twice this time.
    pub(super) async fn idle_for(&self, most: Duration) {
        loop {
            let before = self.counts();
            tokio::time::sleep(most).await;
            if self.counts() == before && before.0 == before.1 {
                return;
            }
        }
    }

    /// Opened and over. Read in this order, a stream that opens in between cannot hide another's end.
    fn counts(&self) -> (usize, usize) {
        let over = self.0.over.load(Ordering::Acquire);
        (self.0.opened.load(Ordering::Relaxed), over)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.over.fetch_add(1, Ordering::Release);
    }
}

impl<B> Carried<B> {
    pub(super) const fn new(body: B, stream: OpenStream) -> Self {
        Self { body, _stream: stream }
    }
}

impl<B: Body + Unpin> Body for Carried<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
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
    use http_body_util::Empty;

    const SHORT: Duration = Duration::from_millis(20);

    async fn resolves(waiting: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(10 * SHORT, waiting).await.is_ok()
    }

    #[tokio::test]
    async fn a_connection_is_idle_only_without_an_open_answer() {
        let traffic = Traffic::default();
        assert!(resolves(traffic.idle_for(SHORT)).await);
        let answer = Carried::new(Empty::<bytes::Bytes>::new(), traffic.enter());
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
}
