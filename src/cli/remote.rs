//! Which server a command asks, and how its answers read.

use super::failure::plain;
use super::login::Problem;
use crate::config::{Environment as _, SystemEnvironment};
use crate::crypto::Digest;
use crate::tls::{ServerTrust, TlsClient, TlsError};
use crate::wire::{HttpsClient, HttpsError, NotAServerUrl, ServerUrl};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use std::io;
use std::path::PathBuf;

/// Which server, and whom to believe that it is the one.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ServerArgs {
    // The variables are read by hand: only what is typed may conflict, or count for more.
    #[arg(long, value_name = "URL", help = "The server's https URL [env: LANYARD_SERVER]")]
    server: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "PEM file of the CA that signed the server's certificate [env: LANYARD_SERVER_CA] [default: the system's]"
    )]
    server_ca: Option<PathBuf>,
    #[arg(
        long,
        value_name = "HEX",
        conflicts_with = "server_ca",
        help = "SHA-256 of a certificate in the server's chain (DER), in place of a file [env: LANYARD_SERVER_CA_SHA256]"
    )]
    server_ca_sha256: Option<Digest>,
}

/// `--server` of a command that goes to no server which it does not name itself.
pub(super) fn typed(server: clap::Arg) -> clap::Arg {
    server.required(true).help("The server's https URL; no variable counts here")
}

/// Why a server gave no answer that helps.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error("{} cannot be read: {}", file.display(), plain(source))]
    CaFile { file: PathBuf, source: io::Error },
    #[error("LANYARD_SERVER_CA_SHA256 {0:?}: write 64 hexadecimal digits")]
    Digest(String),
    #[error(transparent)]
    Https(#[from] HttpsError),
    #[error("no server is named: set LANYARD_SERVER (with `. dev.env` after `lanyard dev`), or give --server URL")]
    NoServer,
    #[error("--server {0:?}: write https://host or https://host:port")]
    Url(String),
    #[error("{} ({})", .0.detail, .0.code)]
    Refused(Problem),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl RemoteError {
    pub(super) const fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::Digest(_) | Self::NoServer | Self::Url(_))
    }

    pub(super) const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Https(HttpsError::Connect(_) | HttpsError::Exchange { .. } | HttpsError::Slow { .. }))
    }
}

impl ServerArgs {
    /// Asks for a page.
    pub(super) async fn fetch(&self, path: &str) -> Result<Bytes, RemoteError> {
        let (status, body) = self.client()?.fetch(path).await?;
        answer(status, body)
    }

    /// Asks with a body.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Bytes, RemoteError> {
        let (status, body) = self.client()?.post_json(path, body.to_string().into_bytes()).await?;
        answer(status, body)
    }

    /// Where it is.
    pub(super) fn url(&self) -> Result<ServerUrl, RemoteError> {
        let named = self.server.clone().or_else(|| SystemEnvironment.value("LANYARD_SERVER"));
        let url = named.filter(|url| !url.is_empty()).ok_or(RemoteError::NoServer)?;
        url.parse().map_err(|_odd: NotAServerUrl| RemoteError::Url(url))
    }

    /// Whether this very command names it.
    pub(super) const fn is_typed(&self) -> bool {
        self.server.is_some()
    }

    /// Whom to believe.
    pub(super) fn trust(&self) -> Result<ServerTrust, RemoteError> {
        let variable = |name| SystemEnvironment.value(name).filter(|value| !value.is_empty());
        let of_file = |file: PathBuf| {
            let pem = std::fs::read(&file).map_err(|source| RemoteError::CaFile { file: file.clone(), source })?;
            Ok(ServerTrust::from_pem(&pem, &file.to_string_lossy())?)
        };
        match (self.server_ca_sha256, &self.server_ca) {
            (Some(digest), _) => return Ok(ServerTrust::Sha256(digest)),
            (None, Some(file)) => return of_file(file.clone()),
            (None, None) => {}
        }
        if let Some(digest) = variable("LANYARD_SERVER_CA_SHA256") {
            return digest.parse().map(ServerTrust::Sha256).map_err(|_odd| RemoteError::Digest(digest));
        }
        variable("LANYARD_SERVER_CA").map_or(Ok(ServerTrust::System), |file| of_file(file.into()))
    }

    /// Which flag or variable that is by.
    pub(super) fn trust_named_by(&self) -> &'static str {
        let (digest, file) = ("LANYARD_SERVER_CA_SHA256", "LANYARD_SERVER_CA");
        match (self.server_ca_sha256, &self.server_ca) {
            (Some(_), _) => "--server-ca-sha256",
            (None, Some(_)) => "--server-ca",
            (None, None) if SystemEnvironment.value(digest).is_some() => digest,
            (None, None) if SystemEnvironment.value(file).is_some() => file,
            (None, None) => "the system's store",
        }
    }

    fn client(&self) -> Result<HttpsClient, RemoteError> {
        Ok(HttpsClient::new(self.url()?, TlsClient::new(&self.trust()?, None, &["http/1.1"])?))
    }
}

fn answer(status: StatusCode, body: Bytes) -> Result<Bytes, RemoteError> {
    if status.is_success() {
        return Ok(body);
    }
    Err(RemoteError::Refused(Problem::of(status, &body)))
}

/// The configuration that was typed, or else the variable's; read by hand, since only what is typed may conflict.
pub(super) fn named_config(typed: Option<PathBuf>) -> Option<PathBuf> {
    typed.or_else(|| SystemEnvironment.value("LANYARD_CONFIG").map(Into::into))
}
