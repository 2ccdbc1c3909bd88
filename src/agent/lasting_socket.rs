//! A Unix socket whose file its readers may delete: it is put back within seconds.
//!
//! **Why**: Istio's agent dials once, gives it a second, and deletes the file of a socket that did not answer. So the file
//! gets its name only when there is somebody to answer, and another when it was taken away.

use super::socket::{SocketError, SocketFile, bind, vacant};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Interval, interval};
use tokio_stream::Stream;

/// How often it is looked whether the file is there.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// See the file's words.
#[derive(Debug)]
pub(super) struct LastingSocket {
    listener: UnixListener,
    file: SocketFile,
    mode: u32,
    /// Of the file; none before it has its name.
    inode: Option<u64>,
    looks: Interval,
}

impl LastingSocket {
    /// Listens under a name of its own until it is asked for connections.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub(super) fn bind(path: PathBuf, mode: u32) -> Result<Self, SocketError> {
        vacant(&path)?;
        let listener = bind(&aside(&path), mode)?;
        Ok(Self { listener, file: SocketFile(path), mode, inode: None, looks: interval(LOOKED_AT_EVERY) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.0
    }

    fn keep(&mut self) -> io::Result<()> {
        let path = &self.file.0;
        let found = std::fs::symlink_metadata(path).map(|found| found.ino()).ok();
        if found.is_some() && found == self.inode {
            return Ok(());
        }
        if self.inode.is_some() {
            tracing::warn!(path = %path.display(), "the socket's file was taken away; putting it back");
            vacant(path).map_err(io::Error::other)?;
            self.listener = bind(&aside(path), self.mode).map_err(io::Error::other)?;
        }
        std::fs::rename(aside(path), path)?;
        self.inode = Some(std::fs::symlink_metadata(path)?.ino());
        Ok(())
    }
}

/// Gives the socket its name, and then whoever connects.
impl Stream for LastingSocket {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while self.looks.poll_tick(context).is_ready() {
            if let Err(error) = self.keep() {
                return Poll::Ready(Some(Err(error)));
            }
        }
        self.listener.poll_accept(context).map_ok(|(stream, _address)| stream).map(Some)
    }
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    async fn dialled(path: &Path) -> UnixStream {
        loop {
            if let Ok(stream) = UnixStream::connect(path).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn the_file_appears_when_somebody_answers_and_again_when_it_was_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lanyard.sock");
        let mut socket = LastingSocket::bind(path.clone(), 0o700).unwrap();
        assert!(!path.exists(), "nobody answers yet");
        for _round in 0..3 {
            let (dialled, accepted) = tokio::join!(dialled(&path), socket.next());
            assert!(accepted.unwrap().unwrap().peer_cred().is_ok());
            drop(dialled);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
