//! A request's body on its way in: it must come in time, and what is unfinished of all requests has one bound.

use super::limits::{REQUEST_WITHIN, UNFINISHED_BYTES_MAX};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

/// What must come in time.
#[derive(Debug)]
pub(super) enum Pace {
    /// Each message, once it has begun, and the first; between two of them the client may think as long as it likes.
    EachMessage(Messages),
    /// The whole body.
    Whole,
}

impl Pace {
    pub(super) fn each_message() -> Self {
        Self::EachMessage(Messages::default())
    }

    /// Whether nothing of the client is waited for.
    fn rests(&self) -> bool {
        matches!(self, Self::EachMessage(Messages { finished: 1.., header, left: 0 }) if header.is_empty())
    }
}

/// How far the messages of a stream have come; each is a flag, four bytes of length, and as many as they say
/// (gRPC over HTTP/2, Length-Prefixed-Message).
#[derive(Debug, Default)]
pub(super) struct Messages {
    finished: u64,
    /// What has come of a message's first five bytes.
    header: Vec<u8>,
    /// What is to come of its others.
    left: usize,
}

impl Messages {
    const HEADER_BYTES: usize = 5;

    /// Takes the next bytes, and says how many belong to a message that is not finished.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut begun = bytes.len();
        while !bytes.is_empty() {
            bytes = if self.left > 0 { self.pass_message(bytes) } else { self.pass_header(bytes) };
            if self.header.len() == Self::HEADER_BYTES && self.left == 0 {
                self.header.clear();
                self.finished += 1;
                begun = bytes.len();
            }
        }
        begun
    }

    fn pass_message<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(self.left.min(bytes.len()));
        self.left -= now.len();
        rest
    }

    fn pass_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at((Self::HEADER_BYTES - self.header.len()).min(bytes.len()));
        self.header.extend_from_slice(now);
        let length = self.header.get(1..).and_then(|length| length.try_into().ok());
        self.left = length.map_or(0, |length| usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX));
        rest
    }
}

/// See the file's words.
pub(super) struct Incoming {
    body: Body,
    pace: Pace,
    unfinished: Arc<AtomicUsize>,
    held: usize,
    late: Pin<Box<Sleep>>,
}

impl Incoming {
    /// A body, and the count of bytes that it shares with all others.
    pub(super) fn new(body: Body, pace: Pace, unfinished: Arc<AtomicUsize>) -> Self {
        Self { body, pace, unfinished, held: 0, late: Box::pin(tokio::time::sleep(REQUEST_WITHIN)) }
    }

    /// Counts bytes that have come, and no longer those of messages that are finished.
    fn hold(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let begins = self.pace.rests();
        self.held += bytes.len();
        let together = self.unfinished.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if let Pace::EachMessage(messages) = &mut self.pace {
            let finished = messages.finished;
            let begun = messages.pass(bytes);
            if messages.finished > finished {
                self.unfinished.fetch_sub(self.held - begun, Ordering::Relaxed);
                self.held = begun;
            }
            if begins || messages.finished > finished {
                self.late.as_mut().reset(Instant::now() + REQUEST_WITHIN);
            }
        }
        if together > UNFINISHED_BYTES_MAX {
            return Err(Status::resource_exhausted("too many requests are under way"));
        }
        Ok(())
    }
}

impl hyper::body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            if this.pace.rests() {
                return Poll::Pending;
            }
            ready!(this.late.as_mut().poll(context));
            return Poll::Ready(Some(Err(Status::deadline_exceeded("the request did not come in time"))));
        };
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
            && let Err(status) = this.hold(bytes)
        {
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.unfinished.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use proptest::prelude::*;

    fn incoming(unfinished: &Arc<AtomicUsize>, bytes: usize) -> Body {
        let body = Body::new(Full::<Bytes>::from(vec![0; bytes]));
        Body::new(Incoming::new(body, Pace::Whole, Arc::clone(unfinished)))
    }

    #[tokio::test]
    async fn unfinished_requests_have_a_bound_together_and_a_finished_one_makes_room() {
        let unfinished = Arc::default();
        let mut half = incoming(&unfinished, UNFINISHED_BYTES_MAX / 2 + 1);
        half.frame().await.unwrap().unwrap();
        incoming(&unfinished, UNFINISHED_BYTES_MAX / 2).frame().await.unwrap().unwrap_err();
        drop(half);
        incoming(&unfinished, UNFINISHED_BYTES_MAX).frame().await.unwrap().unwrap();
        assert_eq!(unfinished.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_stream_may_rest_between_its_messages_and_neither_within_one_nor_before_the_first() {
        for (bytes, rests) in [(&[][..], false), (&[0, 0, 0, 0, 1, 7], true), (&[0, 0, 0, 0, 1, 7, 0], false)] {
            let mut incoming = Incoming::new(Body::empty(), Pace::each_message(), Arc::default());
            incoming.hold(bytes).unwrap();
            assert_eq!(incoming.pace.rests(), rests, "{bytes:?}");
            assert!(!Pace::Whole.rests());
        }
    }

    #[tokio::test]
    async fn a_message_after_a_long_rest_has_its_own_time_and_its_next_bytes_no_more_of_it() {
        let mut incoming = Incoming::new(Body::empty(), Pace::each_message(), Arc::default());
        incoming.hold(&[0, 0, 0, 0, 1, 7]).unwrap();
        let long_ago = Instant::now() - REQUEST_WITHIN;
        incoming.late.as_mut().reset(long_ago);
        incoming.hold(&[0, 0]).unwrap();
        let due = incoming.late.deadline();
        assert!(due > long_ago + REQUEST_WITHIN, "it has just begun");
        incoming.hold(&[0, 0, 1]).unwrap();
        assert_eq!(incoming.late.deadline(), due);
    }

    proptest! {
        #[test]
        fn only_a_message_under_way_is_held_however_the_bytes_are_cut(
            sizes in proptest::collection::vec(0_usize..40, 0..8), cut in 0_usize..200, piece in 1_usize..9,
        ) {
            let bytes: Vec<u8> =
                sizes.iter().flat_map(|size| [vec![0, 0, 0, 0, u8::try_from(*size).unwrap()], vec![1; *size]].concat()).collect();
            let bytes = &bytes[..cut.min(bytes.len())];
            let unfinished = Arc::<AtomicUsize>::default();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _inside = runtime.enter();
            let mut incoming = Incoming::new(Body::empty(), Pace::each_message(), Arc::clone(&unfinished));
            for piece in bytes.chunks(piece) {
                incoming.hold(piece).unwrap();
            }
            let mut begun = 0;
            for size in sizes {
                begun = if bytes.len() >= begun + 5 + size { begun + 5 + size } else { break };
            }
            prop_assert_eq!(unfinished.load(Ordering::Relaxed), bytes.len() - begun);
            drop(incoming);
            prop_assert_eq!(unfinished.load(Ordering::Relaxed), 0);
        }
    }
}
