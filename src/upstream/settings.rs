//! Which authority stands above ours, as it is configured.

use super::{ClusterIssuer, Disk, PkiIssuer, RootsFile};

/// See the file's words.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The roots that we publish.
    pub roots: RootsFile,
    /// Who signs.
    pub kind: UpstreamKind,
}

/// Who signs our intermediates.
#[derive(Clone, Debug)]
pub enum UpstreamKind {
    /// cert-manager, in a Kubernetes cluster.
    CertManager(ClusterIssuer),
    /// Certificate and key in files.
    Disk(Disk),
    /// The PKI engine of the Vault that is configured.
    VaultPki(PkiIssuer),
}
