//! Where a Vault is, whom we believe there, and as whom we come.

use std::path::PathBuf;

/// Where a Vault is, and as whom we come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VaultSettings {
    /// With `https://`, without a slash behind it.
    pub address: String,
    /// The namespace that all is in (Vault Enterprise, OpenBao).
    pub namespace: Option<String>,
    /// The only CA trusted for it, PEM; none for the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// As whom we come.
    pub auth: VaultAuth,
}

/// As whom we come. Files are read anew at each use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VaultAuth {
    /// A role of the `approle` method.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// Which role.
        role_id: String,
        /// What proves that we may be it.
        secret_id_file: PathBuf,
    },
    /// A role of the `kubernetes` or the `jwt` method, by a JWT in a file.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// Which role.
        role: String,
        /// The service account's token, as the kubelet keeps it fresh.
        jwt_file: PathBuf,
    },
    /// A token, from an operator or from Vault's agent.
    TokenFile(PathBuf),
}
