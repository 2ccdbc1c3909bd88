//! What is believed of a server, and shown to it, as it stands in files.

use crate::telemetry::chain;
use crate::tls::{ServerTrust, SessionCertificate, TlsClient, TlsError};
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read again for each connection, so that a CA that was replaced is believed, and a certificate that was renewed is shown.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    ca_file: Option<PathBuf>,
    /// A certificate and its key.
    shown: Option<(PathBuf, PathBuf)>,
    /// As the files were read last.
    last: Arc<ArcSwap<TlsClient>>,
}

impl TlsFiles {
    /// Of these files; without one for the CA the system's are believed.
    ///
    /// # Errors
    /// When one cannot be read or used.
    pub fn read(ca_file: Option<PathBuf>, shown: Option<(PathBuf, PathBuf)>) -> Result<Self, TlsError> {
        let client = read_client(ca_file.as_deref(), shown.as_ref())?;
        Ok(Self { ca_file, shown, last: Arc::new(ArcSwap::from_pointee(client)) })
    }

    /// For a new connection to this host.
    pub(super) fn client(&self, host: &str) -> TlsClient {
        match read_client(self.ca_file.as_deref(), self.shown.as_ref()) {
            Ok(client) => self.last.store(Arc::new(client)),
            // Somebody is writing them just now.
            Err(fault) => {
                tracing::warn!(peer = host, fault = %chain(&fault), "a server is reached as the files for TLS were before");
            }
        }
        TlsClient::clone(&self.last.load())
    }
}

fn read_client(ca_file: Option<&Path>, shown: Option<&(PathBuf, PathBuf)>) -> Result<TlsClient, TlsError> {
    let trust = match ca_file {
        Some(file) => {
            let place = file.display().to_string();
            let pem = std::fs::read(file).map_err(|source| TlsError::File { path: file.to_owned(), source })?;
            ServerTrust::from_pem(&pem, &place)?
        }
        None => ServerTrust::System,
    };
    let shown = shown.map(|(chain, key)| SessionCertificate::from_files(chain, key)).transpose()?;
    TlsClient::new(&trust, shown.as_ref(), &["h2"])
}
