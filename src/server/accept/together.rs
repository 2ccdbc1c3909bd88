//! A stream on which answers that are ready at the same time leave together.
//!
//! HTTP/2 flushes after each answer, and each flush costs a TLS record, a system call and a wake-up at the other end:
//! more than all else that carries an answer. So a flush first lets the tasks run that are ready too; what they say
//! meanwhile leaves with it. Nothing waits for time, only for one turn of the scheduler.

use bytes::{Buf as _, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that one TLS record carries (RFC 8446 §5.1); more would not save more.
const FULL: usize = 16 * 1024;
/// An idle connection keeps no more: ten thousand agents are quiet most of the time.
const KEPT: usize = 1024;

/// A stream that gathers what is written until it is flushed.
#[derive(Debug)]
pub(super) struct Together<S> {
    stream: S,
    gathered: BytesMut,
    /// The others have had their turn since the last flush began.
    yielded: bool,
}

impl<S> Together<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, gathered: BytesMut::new(), yielded: false }
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
        if self.gathered.capacity() > KEPT {
            self.gathered = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= FULL {
            ready!(self.poll_write_out(context))?;
        }
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gathered.is_empty() && !std::mem::replace(&mut self.yielded, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_write_out(context))?;
        self.yielded = false;
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
    use std::sync::{Arc, Mutex};
    use tokio::io::AsyncWriteExt as _;

    /// Remembers each write.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<usize>>>);

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
    async fn what_is_written_before_a_flush_leaves_at_once_and_in_order() {
        let writes = Writes::default();
        let mut stream = Together::new(writes.clone());
        stream.write_all(b"one").await.unwrap();
        stream.write_all(b"two").await.unwrap();
        assert!(writes.0.lock().unwrap().is_empty());
        stream.flush().await.unwrap();
        assert_eq!(*writes.0.lock().unwrap(), [6]);
        stream.write_all(b"three").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(*writes.0.lock().unwrap(), [6, 5]);
    }

    #[tokio::test]
    async fn a_large_body_does_not_gather_without_end() {
        let writes = Writes::default();
        let mut stream = Together::new(writes.clone());
        for _ in 0..8 {
            stream.write_all(&[0; FULL]).await.unwrap();
            assert!(stream.gathered.len() <= FULL);
        }
        assert_eq!(writes.0.lock().unwrap().len(), 7);
    }

    #[tokio::test(flavor = "current_thread")]
    #[expect(clippy::disallowed_methods, reason = "the other task is the test's own")]
    async fn a_flush_lets_the_tasks_run_that_are_ready() {
        let mut stream = Together::new(Writes::default());
        let other = tokio::spawn(std::future::ready(()));
        stream.write_all(b"one").await.unwrap();
        stream.flush().await.unwrap();
        assert!(other.is_finished());
    }
}
