//! A request's body, lent to its handler: bounded in time and in the bytes that all bodies hold together, and what is left
//! of it is read away before the answer goes out.
//!
//! RFC 9113 §8.1 lets a server answer early and reset the rest of the request with `NO_ERROR`, but curl 7.88 takes
//! the reset for a failure and loses the answer; over HTTP/1.1 a closed socket does the same to any client.

use super::crowd::{Good, Held, Visitor};
use super::limits::{BODY_READ_WITHIN, LEFTOVER_BYTES_MAX, LEFTOVER_WITHIN};
use bytes::{Buf, Bytes};
use http::{Request, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that goes back to its lender when the handler is done with it, unless it was read to its end.
#[derive(Debug)]
pub(super) struct Lent<B: Body + Unpin> {
    body: Option<B>,
    lender: Option<oneshot::Sender<B>>,
    account: Arc<Account>,
    /// When all of it must be here.
    end: Instant,
    /// Set when the body is first waited for; most are there already.
    late: Option<Pin<Box<Sleep>>>,
}

/// Where a lent body comes back. What was read of it counts as held until this goes.
#[derive(Debug)]
pub(super) struct Lender<B> {
    back: oneshot::Receiver<B>,
    account: Arc<Account>,
    /// RFC 9110 §10.1.1: this client sends nothing before it is asked to, and reads an early answer well.
    holds_back: bool,
}

/// What one body holds, and why no more of it was read.
#[derive(Debug)]
struct Account {
    held: Held,
    stopped: OnceLock<Stopped>,
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Stopped {
    /// All bodies, or those from this address, hold too much together.
    #[error("too many bodies are read at once")]
    Crowded,
    /// The client did not send it in time.
    #[error("the body did not come in time")]
    Slow,
}

/// What a handler left unread.
#[derive(Debug)]
pub(super) struct Leftover<B> {
    body: B,
    holds_back: bool,
}

/// Lends the body of a visitor's request.
pub(super) fn lend<B: Body + Unpin>(request: Request<B>, visitor: &Arc<Visitor>) -> (Request<Lent<B>>, Lender<B>) {
    lend_for(request, visitor, BODY_READ_WITHIN)
}

fn lend_for<B: Body + Unpin>(
    request: Request<B>,
    visitor: &Arc<Visitor>,
    within: Duration,
) -> (Request<Lent<B>>, Lender<B>) {
    let holds_back = request.version() < Version::HTTP_2 && request.headers().contains_key(header::EXPECT);
    let (lender, back) = oneshot::channel();
    let account = Arc::new(Account { held: visitor.hold_nothing_of(Good::BodyBytes), stopped: OnceLock::new() });
    let lent = Arc::clone(&account);
    let request = request.map(|body| Lent {
        body: Some(body),
        lender: Some(lender),
        account: lent,
        end: Instant::now() + within,
        late: None,
    });
    (request, Lender { back, account, holds_back })
}

impl<B> Lender<B> {
    /// Why the body was not read to its end, if it was us who stopped.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.account.stopped.get().copied()
    }

    /// What is left, if the handler has given the body back unfinished.
    pub(super) fn leftover(&mut self) -> Option<Leftover<B>> {
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

impl<B: Body + Unpin> Lent<B> {
    /// Gives the rest back, with the reason for it.
    fn stop(&mut self, why: Stopped) -> io::Error {
        // Set once: a body is not read on after this.
        self.account.stopped.get_or_init(|| why);
        self.give_back();
        io::Error::other(why)
    }

    fn give_back(&mut self) {
        if let (Some(body), Some(lender)) = (self.body.take(), self.lender.take())
            && !body.is_end_stream()
        {
            // A lender that is gone wants nothing back.
            drop(lender.send(body));
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Lent<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            let end = this.end;
            let late = this.late.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            ready!(late.as_mut().poll(context));
            return Poll::Ready(Some(Err(this.stop(Stopped::Slow).into())));
        };
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let held = this.account.held.grow(bytes);
                Poll::Ready(Some(if held { Ok(frame) } else { Err(this.stop(Stopped::Crowded).into()) }))
            }
            Some(Err(error)) => {
                this.body = None;
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                this.body = None;
                Poll::Ready(None)
            }
        }
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
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::crowd::Crowd;
    use crate::api::limits::{BODY_BYTES_PER_ADDRESS_MAX, MESSAGE_BYTES_MAX};
    use http_body_util::Full;
    use std::net::{IpAddr, Ipv4Addr};

    fn visitor() -> Arc<Visitor> {
        Crowd::at_issuer_port(9).enter(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap()
    }

    fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::post("/").body(Full::from(body.into())).unwrap()
    }

    /// A body of which nothing ever comes.
    #[derive(Debug)]
    struct Silence;

    impl Body for Silence {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn what_a_handler_leaves_comes_back_and_what_it_reads_does_not() {
        let visitor = visitor();
        let (request, mut lender) = lend(post("unread"), &visitor);
        drop(request);
        lender.leftover().unwrap().read_away().await;

        let (request, mut lender) = lend(post("read"), &visitor);
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "read");
        assert!(lender.leftover().is_none());

        let (request, mut lender) = lend(post(""), &visitor);
        drop(request);
        assert!(lender.leftover().is_none(), "there was nothing to read");
    }

    #[tokio::test]
    async fn bodies_that_are_held_at_once_have_a_bound_and_the_next_one_is_stopped() {
        let (visitor, body) = (visitor(), vec![b'x'; MESSAGE_BYTES_MAX]);
        let mut lenders = Vec::new();
        for _ in 0..BODY_BYTES_PER_ADDRESS_MAX / MESSAGE_BYTES_MAX {
            let (request, lender) = lend(post(body.clone()), &visitor);
            request.into_body().collect().await.unwrap();
            lenders.push(lender);
        }
        let (request, lender) = lend(post("x"), &visitor);
        request.into_body().collect().await.unwrap_err();
        assert_eq!(lender.stopped(), Some(Stopped::Crowded));
        lenders.pop();
        let (request, lender) = lend(post("x"), &visitor);
        request.into_body().collect().await.unwrap();
        assert_eq!(lender.stopped(), None);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let silent = Request::post("/").body(Silence).unwrap();
        let (request, mut lender) = lend_for(silent, &visitor(), Duration::from_millis(20));
        request.into_body().collect().await.unwrap_err();
        assert_eq!(lender.stopped(), Some(Stopped::Slow));
        assert!(lender.leftover().is_some());
    }
}
