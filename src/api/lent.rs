//! A request's body, lent to its handler: what is left of it is read away before the answer goes out.
//!
//! RFC 9113 §8.1 lets a server answer early and reset the rest of the request with `NO_ERROR`, but curl 7.88 takes
//! the reset for a failure and loses the answer; over HTTP/1.1 a closed socket does the same to any client.

use super::limits::{LEFTOVER_BYTES_MAX, LEFTOVER_WITHIN};
use bytes::{Buf, Bytes};
use http::{Request, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// A body that goes back to its lender when the handler is done with it, unless it was read to its end.
#[derive(Debug)]
pub(super) struct Lent<B: Body + Unpin> {
    body: Option<B>,
    lender: Option<oneshot::Sender<B>>,
}

/// Where a lent body comes back.
#[derive(Debug)]
pub(super) struct Lender<B> {
    back: oneshot::Receiver<B>,
    /// RFC 9110 §10.1.1: this client sends nothing before it is asked to, and reads an early answer well.
    holds_back: bool,
}

/// What a handler left unread.
#[derive(Debug)]
pub(super) struct Leftover<B> {
    body: B,
    holds_back: bool,
}

/// Lends a request's body.
pub(super) fn lend<B: Body + Unpin>(request: Request<B>) -> (Request<Lent<B>>, Lender<B>) {
    let holds_back = request.version() < Version::HTTP_2 && request.headers().contains_key(header::EXPECT);
    let (lender, back) = oneshot::channel();
    let request = request.map(|body| Lent { body: Some(body), lender: Some(lender) });
    (request, Lender { back, holds_back })
}

impl<B> Lender<B> {
    /// What is left, if the handler has given the body back unfinished.
    pub(super) fn leftover(mut self) -> Option<Leftover<B>> {
        let body = self.back.try_recv().ok()?;
        Some(Leftover { body, holds_back: self.holds_back })
    }
}

impl<B: Body<Data = Bytes> + Unpin> Leftover<B> {
    /// Reads and throws away, within bounds: whoever sends more or slower may lose the answer, and costs us no more.
    pub(super) async fn read_away(mut self) {
        if self.holds_back {
            return;
        }
        let reading = async {
            let mut read = 0_usize;
            while read < LEFTOVER_BYTES_MAX
                && let Some(Ok(frame)) = self.body.frame().await
            {
                read = read.saturating_add(frame.data_ref().map_or(0, Buf::remaining));
            }
        };
        if tokio::time::timeout(LEFTOVER_WITHIN, reading).await.is_err() {
            tracing::debug!("the rest of a body did not come in time");
        }
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body + Unpin> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(lender)) = (self.body.take(), self.lender.take())
            && !body.is_end_stream()
        {
            // A lender that is gone wants nothing back.
            drop(lender.send(body));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    fn post(body: &'static str) -> Request<Full<Bytes>> {
        Request::post("/").body(Full::from(body)).unwrap()
    }

    #[tokio::test]
    async fn what_a_handler_leaves_comes_back_and_what_it_reads_does_not() {
        let (request, lender) = lend(post("unread"));
        drop(request);
        lender.leftover().unwrap().read_away().await;

        let (request, lender) = lend(post("read"));
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "read");
        assert!(lender.leftover().is_none());

        let (request, lender) = lend(post(""));
        drop(request);
        assert!(lender.leftover().is_none(), "there was nothing to read");
    }
}
