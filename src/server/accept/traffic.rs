//! The open streams of a connection, and for how long there were none.

use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

/// How many streams are open.
#[derive(Debug)]
pub(super) struct Traffic {
    open: watch::Sender<usize>,
    /// Has seen no stream yet, and so hears of the first one whenever it is asked.
    unseen: watch::Receiver<usize>,
}

/// An open stream, from its request to the end of its answer.
#[derive(Debug)]
pub(super) struct OpenStream(watch::Sender<usize>);

/// An answer's body, whose end is its stream's.
#[derive(Debug)]
pub(super) struct Carried<B> {
    body: B,
    _stream: OpenStream,
}

impl Traffic {
    /// No stream yet.
    pub(super) fn new() -> Self {
        let (open, unseen) = watch::channel(0);
        Self { open, unseen }
    }

    /// A stream opens.
    pub(super) fn enter(&self) -> OpenStream {
        self.open.send_modify(|open| *open = open.saturating_add(1));
        OpenStream(self.open.clone())
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
        while open.wait_for(|open| *open == 0).await.is_ok() {
            if tokio::time::timeout(most, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
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
        let traffic = Traffic::new();
        assert!(resolves(traffic.idle_for(SHORT)).await);
        let answer = Carried::new(Empty::<bytes::Bytes>::new(), traffic.enter());
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
}
