//! A Unix socket whose file its readers may delete: it is put back within seconds.
//!
//! **Why**: Istio's agent dials once, gives it a second, and deletes the file of a socket that did not answer. So the file
//! gets its name only when there is somebody to answer, and another when it was taken away.

use super::socket::{SocketError, SocketFile, bind, vacant};
use crate::crypto::Random;
use crate::telemetry::AgentMetrics;
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
    /// None before it has its name.
    named: Option<Named>,
    file: SocketFile,
    mode: u32,
    random: Random,
    metrics: AgentMetrics,
    looks: Interval,
}

/// A socket that has its name, unless it was taken away.
#[derive(Debug)]
struct Named {
    listener: UnixListener,
    /// Of its file.
    inode: u64,
}

impl LastingSocket {
    /// Makes sure that it can be had; it is there as soon as it is asked for connections.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub(super) fn bind(
        (path, mode): (PathBuf, u32),
        random: Random,
        metrics: AgentMetrics,
    ) -> Result<Self, SocketError> {
        vacant(&path)?;
        drop(bind_aside(&path, mode, &random)?);
        Ok(Self { named: None, file: SocketFile(path), mode, random, metrics, looks: interval(LOOKED_AT_EVERY) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.0
    }

    /// Gives it its name, unless it has it. Whatever went wrong before, each time begins with a new socket.
    fn keep(&mut self) -> Result<(), SocketError> {
        let path = &self.file.0;
        let inode = || std::fs::symlink_metadata(path).map(|found| found.ino());
        if let Some(named) = &self.named {
            if inode().is_ok_and(|found| found == named.inode) {
                return Ok(());
            }
            tracing::warn!(path = %path.display(), "the socket's file was taken away; putting it back");
        }
        let is_back = self.named.is_some();
        vacant(path)?;
        let (listener, aside) = bind_aside(path, self.mode, &self.random)?;
        let failed = |source| SocketError::Io { path: path.clone(), source };
        std::fs::rename(&aside.0, path).map_err(failed)?;
        self.named = Some(Named { listener, inode: inode().map_err(failed)? });
        if is_back {
            self.metrics.socket_put_back();
        }
        Ok(())
    }
}

/// Binds beside this path, to a name that nobody knows before; a short one, since a socket's path may not be long.
fn bind_aside(path: &Path, mode: u32, random: &Random) -> Result<(UnixListener, SocketFile), SocketError> {
    let aside = SocketFile(path.with_file_name(format!(".{:08x}", u32::from_be_bytes(random.bytes()))));
    Ok((bind(&aside.0, mode)?, aside))
}

/// Gives the socket its name, and then whoever connects.
impl Stream for LastingSocket {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while self.looks.poll_tick(context).is_ready() {
            if let Err(error) = self.keep() {
                return Poll::Ready(Some(Err(io::Error::other(error))));
            }
        }
        // The next look wakes this up.
        let Some(Named { listener, .. }) = &self.named else { return Poll::Pending };
        listener.poll_accept(context).map_ok(|(stream, _address)| stream).map(Some)
    }
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

    /// Shows: MESH-C10.
    #[tokio::test]
    async fn the_file_appears_when_somebody_answers_and_again_when_it_was_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lanyard.sock");
        let metrics = AgentMetrics::default();
        let mut socket = LastingSocket::bind((path.clone(), 0o700), Random::system(), metrics.clone()).unwrap();
        assert!(!path.exists(), "nobody answers yet");
        for _round in 0..3 {
            let (dialled, accepted) = tokio::join!(dialled(&path), socket.next());
            assert!(accepted.unwrap().unwrap().peer_cred().is_ok());
            drop(dialled);
            std::fs::remove_file(&path).unwrap();
        }
        let page = metrics.render();
        assert!(page.contains("\nlanyard_agent_sds_socket_put_back_total 2\n"), "the first was no loss: {page}");
    }

    #[tokio::test]
    async fn nothing_that_others_do_in_the_folder_keeps_it_from_its_name_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let in_folder =
            || std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
        let socket =
            |name: &str| LastingSocket::bind((path(name), 0o700), Random::system(), AgentMetrics::default()).unwrap();
        let (mut one, mut other) = (socket("lanyard.sock"), socket("lanyard.other"));
        for file in in_folder() {
            std::fs::remove_file(file).unwrap();
        }
        one.keep().unwrap();
        other.keep().unwrap();
        let mut both = in_folder();
        both.sort();
        assert_eq!(both, [path("lanyard.other"), path("lanyard.sock")], "and nothing is left aside");

        std::fs::remove_file(path("lanyard.sock")).unwrap();
        std::fs::create_dir(path("lanyard.sock")).unwrap();
        assert!(matches!(one.keep(), Err(SocketError::NotASocket { .. })));
        std::fs::remove_dir(path("lanyard.sock")).unwrap();
        one.keep().unwrap();
        assert_eq!(in_folder().len(), 2);
        drop((one, other));
        assert_eq!(in_folder().len(), 0);
    }
}
