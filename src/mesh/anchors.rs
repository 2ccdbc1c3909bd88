//! The roots that a Linkerd proxy must know beside its mesh's own, in objects and files of ours: never in Linkerd's.

use super::kubernetes::Metadata;
use super::{Document, Name, NotRendered};
use crate::crypto::PemLabel;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde_saphyr::LitString;
use std::collections::BTreeMap;

/// The key under which Linkerd, and most others, look for roots in a ConfigMap.
const BUNDLE_KEY: &str = "ca-bundle.crt";

/// The mesh's own roots and ours: of both the old and the new, while one changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Anchors {
    mesh: Vec<CertificateDer<'static>>,
    ours: Vec<CertificateDer<'static>>,
}

/// A set that would end trust instead of adding to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AnchorsError {
    /// With these anchors no proxy would trust its own mesh.
    #[error(
        "the mesh's own root is missing: give it with --mesh-roots (`kubectl -n linkerd get configmap \
         linkerd-identity-trust-roots -o jsonpath='{{.data.ca-bundle\\.crt}}'`)"
    )]
    NoMeshRoot,
    /// Nothing of ours.
    #[error("no root of this trust domain: give them with --roots (`lanyard bundle show --format pem`)")]
    NoOwnRoot,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMap {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    data: BTreeMap<&'static str, LitString>,
}

impl Anchors {
    /// Of the mesh's roots and ours.
    ///
    /// # Errors
    /// See [`AnchorsError`].
    pub fn new(mesh: Vec<CertificateDer<'static>>, ours: Vec<CertificateDer<'static>>) -> Result<Self, AnchorsError> {
        if ours.is_empty() {
            return Err(AnchorsError::NoOwnRoot);
        }
        let mesh: Vec<_> = mesh.into_iter().filter(|root| !ours.contains(root)).collect();
        if mesh.is_empty() { Err(AnchorsError::NoMeshRoot) } else { Ok(Self { mesh, ours }) }
    }

    /// All of them, the mesh's first.
    pub fn to_pem(&self) -> String {
        self.mesh.iter().chain(&self.ours).map(|root| pem(root)).collect()
    }

    /// All of them in a ConfigMap of ours.
    ///
    /// # Errors
    /// Never for what it is made of.
    pub fn config_map(&self, name: Name, namespace: &Name) -> Result<Document, NotRendered> {
        config_map(name, namespace, self.to_pem())
    }
}

/// Our roots alone, as a source of a trust-manager Bundle, which adds the mesh's own.
///
/// # Errors
/// Never for what it is made of.
pub fn trust_manager_source(
    ours: &[CertificateDer<'static>],
    name: Name,
    namespace: &Name,
) -> Result<Document, NotRendered> {
    config_map(name, namespace, ours.iter().map(|root| pem(root)).collect())
}

fn pem(root: &CertificateDer<'_>) -> String {
    PemLabel::Certificate.armour(root).to_string()
}

fn config_map(name: Name, namespace: &Name, pem: String) -> Result<Document, NotRendered> {
    Ok(Document::of(&ConfigMap {
        api_version: "v1",
        kind: "ConfigMap",
        metadata: Metadata::new(name, namespace),
        data: BTreeMap::from([(BUNDLE_KEY, LitString(pem))]),
    })?)
}
