//! How commands reach a server's admin socket.

use super::failure::{NotReachable, WrongUsage, plain, unreadable};
use super::operator::{ANSWER_BYTES_MAX, listens, refused, tls_fault};
use crate::crypto::check_secret_file;
use crate::discovery::read_token;
use crate::telemetry::chain;
use crate::tls::{CertificateFault, ServerTrust, SessionCertificate, TlsClient, TlsError};
use crate::wire::lanyard::admin_client::AdminClient;
use crate::wire::{ServerUrl, channel};
use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// A server's staff room.
pub(super) type Admin = AdminClient<InterceptedService<Channel, Shown>>;

/// Which server: the socket of one on this machine, or another's admin port.
#[derive(clap::Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("identity").multiple(true).args(["operator_token_file", "operator_cert"]))]
pub(super) struct AdminArgs {
    /// The server's admin socket
    #[arg(long, env = "LANYARD_ADMIN_SOCKET", value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// In place of a socket: https://host:port of a server's admin port
    #[arg(long, value_name = "URL", requires = "identity")]
    admin_url: Option<ServerUrl>,
    /// Whom to believe that it is the one: PEM file of the CA of its certificate [default: the system's]
    #[arg(long, env = "LANYARD_SERVER_CA", value_name = "FILE", hide_env = true)]
    admin_ca: Option<PathBuf>,
    #[arg(
        long,
        env = "LANYARD_OPERATOR_TOKEN_FILE",
        value_name = "FILE",
        help = "What shows who you are there: a file with a token of your OpenID provider"
    )]
    operator_token_file: Option<PathBuf>,
    #[arg(
        long,
        env = "LANYARD_OPERATOR_CERT",
        value_name = "FILE",
        requires = "operator_key",
        help = "In place of a token: your certificate of the operators' CA, PEM, with what stands between them behind it"
    )]
    operator_cert: Option<PathBuf>,
    #[arg(long, env = "LANYARD_OPERATOR_KEY", value_name = "FILE", help = "The certificate's private key, PEM")]
    operator_key: Option<PathBuf>,
}

/// What shows who asks, where no socket does.
#[derive(Clone, Debug)]
pub(super) struct Shown(Option<MetadataValue<Ascii>>);

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl AdminArgs {
    /// The socket that was typed, whatever variables say.
    pub(super) const fn at(socket: PathBuf) -> Self {
        Self {
            admin_socket: Some(socket),
            admin_url: None,
            admin_ca: None,
            operator_token_file: None,
            operator_cert: None,
            operator_key: None,
        }
    }

    /// The one that was named, or else this.
    pub(super) fn or_of(self, socket: Option<&Path>) -> Self {
        let named = self.admin_socket.filter(|path| !path.as_os_str().is_empty());
        Self { admin_socket: named.or_else(|| socket.map(Path::to_owned)), ..self }
    }

    /// Whether a server is there, as far as a connection tells; of one that is elsewhere, its answer does.
    pub(super) async fn listens(&self) -> anyhow::Result<bool> {
        Ok(self.admin_url.is_some() || listens(&self.path()?).await)
    }

    /// Where it is.
    fn path(&self) -> anyhow::Result<PathBuf> {
        let path = self.admin_socket.clone().filter(|path| !path.as_os_str().is_empty());
        let nowhere = "no server is named: set LANYARD_ADMIN_SOCKET, or give --admin-socket PATH";
        Ok(path.ok_or_else(|| WrongUsage::new(nowhere))?)
    }

    /// Asks one thing of it.
    pub(super) async fn ask<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        question: impl FnOnce(Admin) -> F,
    ) -> anyhow::Result<T> {
        let admin = self.connect().await?.max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = question(admin).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// Why a call to it had no success.
    pub(super) fn refused(&self, status: &Status) -> anyhow::Error {
        let path = || self.path().unwrap_or_default().display().to_string();
        if let (Some(url), Some(fault)) = (&self.admin_url, tls_fault(status)) {
            let (what, place) = ("the server's admin port", url.to_string());
            return NotReachable { what, place, why: self.distrusted(fault) }.into();
        }
        refused(&self.admin_url.as_ref().map_or_else(path, ToString::to_string), status)
    }

    /// Why there was no TLS with it, and what would do.
    fn distrusted(&self, fault: &TlsError) -> String {
        let said = chain(fault);
        match (fault.certificate_fault(), &self.admin_ca) {
            (Some(CertificateFault::UnknownIssuer), Some(file)) => format!(
                "{said}. The CA in {} has not signed its certificate: name the one that has by --admin-ca, such as \
                 door-ca.pem of the server's data folder",
                file.display()
            ),
            (Some(CertificateFault::UnknownIssuer), None) => format!(
                "{said}. Name the CA of its certificate by --admin-ca, such as door-ca.pem of the server's data folder"
            ),
            (Some(CertificateFault::OtherName), _) => format!("{said}. Name the server as its certificate does"),
            (Some(CertificateFault::Dates) | None, _) => said,
        }
    }

    /// Opens it.
    async fn connect(&self) -> anyhow::Result<Admin> {
        let (channel, shown) = match &self.admin_url {
            Some(url) => (self.elsewhere(url)?, self.shown()?),
            None => (self.here().await?, Shown(None)),
        };
        Ok(AdminClient::with_interceptor(channel, shown))
    }

    fn elsewhere(&self, url: &ServerUrl) -> anyhow::Result<Channel> {
        let trust = match &self.admin_ca {
            Some(file) => {
                let pem = std::fs::read(file).map_err(unreadable(file)).context("--admin-ca (or LANYARD_SERVER_CA)")?;
                ServerTrust::from_pem(&pem, &file.to_string_lossy())?
            }
            None => ServerTrust::System,
        };
        let pair = self.operator_cert.as_ref().zip(self.operator_key.as_ref());
        if let Some((_, key)) = pair {
            check_secret_file(key).context("--operator-key (or LANYARD_OPERATOR_KEY)")?;
        }
        let certificate = pair.map(|(chain, key)| SessionCertificate::from_files(chain, key)).transpose()?;
        Ok(channel(url, TlsClient::new(&trust, certificate.as_ref(), &["h2"])?)?)
    }

    fn shown(&self) -> anyhow::Result<Shown> {
        let Some(file) = &self.operator_token_file else {
            let missing = "an admin port lets nobody in without a token or a certificate: give --operator-token-file FILE, or \
                           --operator-cert FILE --operator-key FILE";
            return if self.operator_cert.is_some() { Ok(Shown(None)) } else { Err(WrongUsage::new(missing).into()) };
        };
        let mut token: MetadataValue<Ascii> = format!("Bearer {}", *read_token(file)?).parse()?;
        token.set_sensitive(true);
        Ok(Shown(Some(token)))
    }

    async fn here(&self) -> anyhow::Result<Channel> {
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
        Ok(Endpoint::from_static("http://admin").connect_with_connector(connect).await?)
    }
}
