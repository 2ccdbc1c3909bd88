//! How commands reach a server's admin socket.

use super::failure::{NotReachable, WrongUsage, plain};
use crate::wire::lanyard::admin_client::AdminClient;
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Which server's socket.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct AdminArgs {
    /// The server's admin socket
    #[arg(long, env = "LANYARD_ADMIN_SOCKET", value_name = "PATH")]
    admin_socket: Option<PathBuf>,
}

impl AdminArgs {
    /// Opens it.
    pub(super) async fn connect(&self) -> anyhow::Result<AdminClient<Channel>> {
        let path = self.admin_socket.clone().filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
            WrongUsage::new("no server is named: set LANYARD_ADMIN_SOCKET, or give --admin-socket PATH")
        })?;
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

    /// Why a call had no success, with the exit code that it deserves.
    pub(super) fn refused(&self, status: &Status) -> anyhow::Error {
        let words = status.message().to_owned();
        if status.code() == Code::InvalidArgument {
            return WrongUsage::new(words).into();
        }
        if status.code() == Code::Unavailable {
            let place = self.admin_socket.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            return NotReachable { what: "the server", place, why: words }.into();
        }
        anyhow::anyhow!("refused: {words}")
    }
}
