//! The admin door: a Unix socket for the server's own user and root.

use super::connection::{Speech, serve};
use super::listen::listen;
use crate::api::{AdminDoor, Crowd, Operator};
use crate::telemetry::Shutdown;
use hyper_util::rt::TokioIo;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;

/// Commands of operators and a dashboard or two; each opens one. Who comes on top is told to come back by its close.
const CONNECTIONS_MAX: usize = 64;

/// The admin socket, bound. Its file goes when it does.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Whose the socket is, and so whose this process is.
    owner: u32,
    door: AdminDoor,
}

impl AdminSocket {
    /// Binds the socket; a file that a dead server left behind is replaced, a living one's is not.
    ///
    /// # Errors
    /// When another server listens there, or the folder does not allow it.
    pub async fn bind(path: &Path, door: AdminDoor) -> io::Result<Self> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on the admin socket"));
        }
        match fs::symlink_metadata(path) {
            Ok(left_behind) if left_behind.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_something_else) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_absent) => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let owner = fs::metadata(path)?.uid();
        Ok(Self { listener, path: path.to_owned(), owner, door })
    }

    /// Serves until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        // All are this machine's own, so there are no neighbourhoods to tell apart.
        let (crowd, here) = (Crowd::of_connections(CONNECTIONS_MAX, CONNECTIONS_MAX), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let admit = |(stream, _from): (UnixStream, SocketAddr)| {
            let Some(operator) = self.operator(&stream) else {
                tracing::warn!("somebody else's process was turned away from the admin socket");
                return None;
            };
            let visitor = crowd.enter(here)?;
            let (door, shutdown) = (self.door.clone(), shutdown.clone());
            let answer = move |request| door.clone().answer(request, operator.clone());
            let serve = async move {
                serve(TokioIo::new(stream), Speech::Http2, answer, shutdown).await;
                drop(visitor);
            };
            Some((serve, Handle::current()))
        };
        listen(|context| self.listener.poll_accept(context), admit, &shutdown).await;
    }

    fn operator(&self, stream: &UnixStream) -> Option<Operator> {
        let uid = stream.peer_cred().ok()?.uid();
        (uid == 0 || uid == self.owner).then_some(Operator { uid, elsewhere: None })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the admin socket's file stays");
        }
    }
}
