//! A token of Vault's for the command, bought with a JWT-SVID: renewed while it runs, revoked when it ends.

use super::OwnFolder;
use super::token_file::TokenFile;
use crate::clock::SystemClock;
use crate::config::{Environment, SystemEnvironment};
use crate::crypto::Random;
use crate::store::write_aside;
use crate::telemetry::{Shutdown, ShutdownTrigger, chain};
use crate::vault::{Vault, VaultAuth, VaultError, VaultSettings};
use anyhow::Context;
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use tokio::process::Command;
use zeroize::Zeroizing;

/// A login that lasts as long as the command.
pub(super) struct VaultLogin {
    vault: Arc<Vault>,
    token: Zeroizing<String>,
    /// Whoever renews the token stops when this is dropped.
    running: (ShutdownTrigger, Shutdown),
}

impl VaultLogin {
    /// Logs in, with what the environment says of the Vault as its own command line reads it. The token lies in the folder.
    pub(super) async fn begin(
        (address, mount, role): (&str, &str, &str),
        jwt: &TokenFile,
        (folder, random): (&OwnFolder, &Random),
    ) -> anyhow::Result<Self> {
        let ca = SystemEnvironment.value("VAULT_CACERT");
        let read = |path: String| std::fs::read(&path).with_context(|| format!("VAULT_CACERT, {path}, cannot be read"));
        let (mount_path, jwt_file) = (mount.to_owned(), jwt.path().to_owned());
        let settings = VaultSettings {
            address: address.to_owned(),
            namespace: SystemEnvironment.value("VAULT_NAMESPACE"),
            ca_pem: ca.map(read).transpose()?,
            auth: VaultAuth::Jwt { mount: mount_path, role: role.to_owned(), jwt_file },
        };
        let login = Vault::new(settings.clone(), Arc::new(SystemClock))?.token().await;
        let token = login.map_err(|fault| refused(fault, (mount, role)))?;
        let path = write_aside(&folder.path().join("vault-token"), random, |file| file.write_all(token.as_bytes()))?;
        let settings = VaultSettings { auth: VaultAuth::TokenFile(path), ..settings };
        let vault = Arc::new(Vault::new(settings, Arc::new(SystemClock))?);
        Ok(Self { vault, token, running: Shutdown::pair() })
    }

    /// What Vault's command line and SDKs read.
    pub(super) fn equip(&self, command: &mut Command) {
        command.env("VAULT_ADDR", self.vault.address()).env("VAULT_TOKEN", self.token.as_str());
    }

    /// Renews the token, whose text stays the same, so that a command that runs for long never sees it end.
    pub(super) async fn keep_fresh(&self) -> Infallible {
        Arc::clone(&self.vault).run(self.running.1.clone()).await;
        std::future::pending().await
    }

    /// Nobody goes on with it.
    pub(super) async fn end(self) {
        if let Err(fault) = self.vault.tell("auth/token/revoke-self", &serde_json::Map::new()).await {
            tracing::warn!(fault = chain(&fault), "the token at Vault was not revoked; it ends by itself");
        }
    }
}

impl std::fmt::Debug for VaultLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VaultLogin({})", self.vault.address())
    }
}

/// In Vault's words, with where to look.
fn refused(fault: VaultError, (mount, role): (&str, &str)) -> anyhow::Error {
    let look = match &fault {
        VaultError::Missing { .. } => {
            format!("is its jwt method mounted at {mount:?}? name another with --vault-mount")
        }
        VaultError::Denied { .. } | VaultError::Refused { .. } => {
            format!(
                "`vault read auth/{mount}/role/{role}` shows what the role is bound to; --vault-audience names another audience"
            )
        }
        VaultError::Fetch(_)
        | VaultError::Jwt { .. }
        | VaultError::Sealed { .. }
        | VaultError::Standby { .. }
        | VaultError::Token(_)
        | VaultError::Unreadable { .. } => return anyhow::Error::new(fault).context("no login at Vault"),
    };
    anyhow::Error::new(fault).context(format!("no login at Vault; {look}"))
}
