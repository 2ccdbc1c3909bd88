//! How commands reach a server's admin socket.

use super::failure::{NotReachable, WrongUsage, plain};
use super::operator::{ANSWER_BYTES_MAX, refused};
use crate::wire::lanyard::admin_client::AdminClient;
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// Which server's socket.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct AdminArgs {
    /// The server's admin socket
    #[arg(long, env = "LANYARD_ADMIN_SOCKET", value_name = "PATH")]
    admin_socket: Option<PathBuf>,
}

impl AdminArgs {
    /// The one that was named, or else this.
    pub(super) fn or_of(self, socket: Option<&Path>) -> Self {
        let named = self.admin_socket.filter(|path| !path.as_os_str().is_empty());
        Self { admin_socket: named.or_else(|| socket.map(Path::to_owned)) }
    }

    /// Where it is.
    pub(super) fn path(&self) -> anyhow::Result<PathBuf> {
        let path = self.admin_socket.clone().filter(|path| !path.as_os_str().is_empty());
        let nowhere = "no server is named: set LANYARD_ADMIN_SOCKET, or give --admin-socket PATH";
        Ok(path.ok_or_else(|| WrongUsage::new(nowhere))?)
    }

    /// Asks one thing of it.
    pub(super) async fn ask<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        question: impl FnOnce(AdminClient<Channel>) -> F,
    ) -> anyhow::Result<T> {
        let admin = self.connect().await?.max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = question(admin).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// Why a call to it had no success.
    pub(super) fn refused(&self, status: &Status) -> anyhow::Error {
        refused(&self.path().unwrap_or_default(), status)
    }

    /// Opens it.
    pub(super) async fn connect(&self) -> anyhow::Result<AdminClient<Channel>> {
        let path = self.path()?;
        let stream = UnixStream::connect(&path).await.map_err(|error| NotReachable {
            what: "the server's admin socket",
            place: path.display().to_string(),
            why: format!("{}. Does a server run here, and are you its user?", plain(&error)),
        })?;
        let mut stream = Some(stream);
        let connect = tower::service_fn(move |_uri| {
            // One connection is enough for a command; where it breaks, the command ends.
            let stream = stream.take().ok_or(std::io::ErrorKind::NotConnected);
            async move { Ok::<_, std::io::Error>(TokioIo::new(stream?)) }
        });
        let channel = Endpoint::from_static("http://admin").connect_with_connector(connect).await?;
        Ok(AdminClient::new(channel))
    }
}
