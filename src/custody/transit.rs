//! Keys in the transit engine of a Vault: they sign there, and `exportable` is never set.

use super::place::{Place, Waiting};
use super::{Label, PlaceFault};
use crate::crypto::{CryptoError, Digest, PublicKey};
use crate::vault::{Reply, Vault, VaultError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The only version of a key that we use: after a rotation in Vault the newest one would sign, which no certificate names.
const VERSION: &str = "1";
const KIND: &str = "ecdsa-p256";

/// A transit engine.
#[derive(Clone, Debug)]
pub(super) struct Transit {
    vault: Arc<Vault>,
    mount: String,
}

#[derive(Deserialize)]
struct Kept {
    #[serde(rename = "type")]
    kind: String,
    exportable: bool,
    allow_plaintext_backup: bool,
    #[serde(default)]
    imported_key: bool,
    keys: BTreeMap<String, Version>,
}

#[derive(Deserialize)]
struct Version {
    public_key: String,
}

#[derive(Deserialize)]
struct Signature {
    signature: String,
}

impl Transit {
    pub(super) const fn new(vault: Arc<Vault>, mount: String) -> Self {
        Self { vault, mount }
    }

    fn key(&self, label: &Label) -> String {
        format!("{}/keys/{label}", self.mount)
    }

    async fn made(&self, label: &Label) -> Result<PublicKey, PlaceFault> {
        let wanted = json!({ "type": KIND, "exportable": false, "allow_plaintext_backup": false });
        self.vault.tell(&self.key(label), &wanted).await?;
        self.found(label).await?.ok_or_else(|| PlaceFault::NotThere { label: label.clone() })
    }

    async fn found(&self, label: &Label) -> Result<Option<PublicKey>, PlaceFault> {
        let kept: Kept = match self.vault.read(&self.key(label)).await {
            Ok(Reply { data, .. }) => data,
            Err(VaultError::Missing { .. }) => return Ok(None),
            Err(fault) => return Err(fault.into()),
        };
        if kept.kind != KIND {
            return Err(PlaceFault::Kind { label: label.clone(), found: kept.kind });
        }
        let ways = [
            (kept.exportable, "exportable"),
            (kept.allow_plaintext_backup, "allow_plaintext_backup"),
            (kept.imported_key, "it was imported"),
        ];
        if let Some((_, how)) = ways.into_iter().find(|(is_so, _)| *is_so) {
            return Err(PlaceFault::Exposed { label: label.clone(), how });
        }
        let odd = |source| PlaceFault::Crypto { label: label.clone(), source };
        let pem = kept.keys.get(VERSION).map(|version| version.public_key.as_bytes()).unwrap_or_default();
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem);
        let spki = spki.map_err(|_odd| odd(CryptoError::BadKey { what: "public key (PEM)" }))?;
        PublicKey::from_spki_der(&spki).map(Some).map_err(odd)
    }

    async fn signed(&self, label: &Label, message: &[u8]) -> Result<Vec<u8>, PlaceFault> {
        let digest = STANDARD.encode(Digest::of(message).as_bytes());
        let asked = json!({ "input": digest, "prehashed": true, "marshaling_algorithm": "asn1", "key_version": 1 });
        let path = format!("{}/sign/{label}/sha2-256", self.mount);
        let Signature { signature } = match self.vault.write(&path, &asked).await {
            Ok(Reply { data, .. }) => data,
            Err(VaultError::Missing { .. }) => return Err(PlaceFault::NotThere { label: label.clone() }),
            Err(fault) => return Err(fault.into()),
        };
        let text = signature.strip_prefix("vault:v1:").and_then(|text| STANDARD.decode(text).ok());
        text.ok_or_else(|| PlaceFault::Crypto { label: label.clone(), source: CryptoError::Signature })
    }

    /// Vault deletes only what was said to be deletable.
    async fn deleted(&self, label: &Label) -> Result<(), PlaceFault> {
        if matches!(self.vault.read::<IgnoredAny>(&self.key(label)).await, Err(VaultError::Missing { .. })) {
            return Ok(());
        }
        self.vault.tell(&format!("{}/config", self.key(label)), &json!({ "deletion_allowed": true })).await?;
        Ok(self.vault.delete(&self.key(label)).await?)
    }
}

impl Place for Transit {
    fn make<'a>(&'a self, label: &'a Label) -> Waiting<'a, PublicKey> {
        Box::pin(self.made(label))
    }

    fn find<'a>(&'a self, label: &'a Label) -> Waiting<'a, Option<PublicKey>> {
        Box::pin(self.found(label))
    }

    fn sign<'a>(&'a self, label: &'a Label, message: &'a [u8]) -> Waiting<'a, Vec<u8>> {
        Box::pin(self.signed(label, message))
    }

    fn list(&self) -> Waiting<'_, Vec<String>> {
        Box::pin(async { Ok(self.vault.list(&format!("{}/keys", self.mount)).await?) })
    }

    fn delete<'a>(&'a self, label: &'a Label) -> Waiting<'a, ()> {
        Box::pin(self.deleted(label))
    }
}
