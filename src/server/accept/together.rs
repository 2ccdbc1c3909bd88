//! A stream on which answers that are ready at the same time leave together.
//!
//! HTTP/2 flushes after each answer, and each flush costs a TLS record, a system call and a wake-up at the other end:
//! more than all else that carries an answer. So a flush only marks that something is to leave, and asks for another turn
//! of the connection's task; the tasks that are ready too run before it, and what they say leaves with it. Nothing waits
//! for time, only for one turn of the scheduler.

use bytes::{Buf as _, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that one TLS record carries (RFC 8446 §5.1); more would not save more.
const FULL: usize = 16 * 1024;

/// A stream that gathers what is written until the turn after a flush. It must be served in [`Turns`].
#[derive(Debug)]
pub(super) struct Together<S> {
    stream: S,
    /// Has no room while there is nothing in it: ten thousand agents are quiet most of the time.
    gathered: BytesMut,
    turns: Turns,
    /// In which turn the first of what is gathered was flushed.
    flushed: Option<usize>,
}

/// Counts how often the task that serves a stream was polled; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<AtomicUsize>);

impl Turns {
    /// Serves, one turn a poll.
    pub(super) async fn of<T>(self, serving: impl Future<Output = T>) -> T {
        let mut serving = pin!(serving);
        poll_fn(|context| {
            self.0.fetch_add(1, Ordering::Relaxed);
            serving.as_mut().poll(context)
        })
        .await
    }

    /// Read by the task that counts.
    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S> Together<S> {
    pub(super) fn new(stream: S, turns: Turns) -> Self {
        Self { stream, gathered: BytesMut::new(), turns, flushed: None }
    }
}

impl<S: AsyncWrite + Unpin> Together<S> {
    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
        }
        (self.gathered, self.flushed) = (BytesMut::new(), None);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= FULL {
            ready!(self.poll_write_out(context))?;
        }
        if self.gathered.is_empty() {
            self.gathered.reserve(FULL.max(bytes.len()));
        }
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Ready before anything left: whoever writes may go on in this turn, and what it adds leaves in the next.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gathered.is_empty() {
            let now = self.turns.now();
            let flushed = *self.flushed.get_or_insert_with(|| {
                context.waker().wake_by_ref();
                now
            });
            if flushed == now {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_write_out(context))?;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Together<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::io::AsyncWriteExt as _;
    use tokio::task::yield_now;

    /// Remembers each write.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<usize>>>);

    impl Writes {
        fn seen(&self) -> Vec<usize> {
            self.0.lock().unwrap().clone()
        }

        /// A stream on it, and the turns that it is to be served in.
        fn together(&self) -> (Together<Self>, Turns) {
            let turns = Turns::default();
            (Together::new(self.clone(), turns.clone()), turns)
        }
    }

    impl AsyncWrite for Writes {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_flushed_in_one_turn_leaves_at_once_in_the_next() {
        let writes = Writes::default();
        let (mut stream, turns) = writes.together();
        let serving = async {
            stream.write_all(b"one").await.unwrap();
            stream.flush().await.unwrap();
            stream.write_all(b"two").await.unwrap();
            stream.flush().await.unwrap();
            assert!(writes.seen().is_empty());
            // Nobody else asks for this turn: the flush did.
            poll_fn(|context| stream_flushed(&mut stream, &writes, context)).await;
            stream.write_all(b"three").await.unwrap();
            stream.shutdown().await.unwrap();
        };
        turns.of(serving).await;
        assert_eq!(writes.seen(), [6, 5]);
    }

    /// As a connection does: flushes whenever it is polled.
    fn stream_flushed(stream: &mut Together<Writes>, writes: &Writes, context: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(stream).poll_flush(context)).unwrap();
        if writes.seen().is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    #[tokio::test]
    async fn a_large_body_does_not_gather_without_end() {
        let writes = Writes::default();
        let (mut stream, _turns) = writes.together();
        for _ in 0..8 {
            stream.write_all(&[0; FULL]).await.unwrap();
            assert!(stream.gathered.len() <= FULL);
        }
        assert_eq!(writes.seen().len(), 7);
    }

    #[tokio::test(flavor = "current_thread")]
    #[expect(clippy::disallowed_methods, reason = "the other task is the test's own")]
    async fn the_tasks_that_are_ready_run_before_anything_leaves() {
        let writes = Writes::default();
        let (mut stream, turns) = writes.together();
        let other = tokio::spawn(std::future::ready(()));
        turns
            .of(async {
                stream.write_all(b"one").await.unwrap();
                stream.flush().await.unwrap();
                assert!(!other.is_finished() && writes.seen().is_empty());
                yield_now().await;
                stream.flush().await.unwrap();
            })
            .await;
        assert!(other.is_finished());
        assert_eq!(writes.seen(), [3]);
    }

    #[tokio::test]
    async fn a_quiet_stream_keeps_no_room() {
        let (mut stream, _turns) = Writes::default().together();
        stream.write_all(b"one").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.gathered.capacity(), 0);
    }
}
