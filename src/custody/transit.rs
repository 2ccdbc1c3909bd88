//! Keys in the transit engine of a Vault: they sign there, or wrap a secret of ours, and `exportable` is never set.

use super::place::{Place, Waiting};
use super::wrap::Wrap;
use super::{Label, PlaceFault};
use crate::crypto::{CryptoError, Digest, PublicKey};
use crate::vault::{Reply, Vault, VaultError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The only version of a key that we use: after a rotation in Vault the newest one would sign, which no certificate names.
const VERSION: &str = "1";
/// Each as Vault calls it, and as we do.
const SIGNS: (&str, &str) = ("ecdsa-p256", "an ECDSA key on P-256");
const WRAPS: (&str, &str) = ("aes256-gcm96", "an AES key of 256 bits");

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
    /// By version; what is told of each depends on the kind.
    keys: BTreeMap<String, Value>,
}

/// What is wrapped, on its way.
#[derive(Serialize)]
struct Clear<'a> {
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Signature {
    signature: String,
}

#[derive(Deserialize)]
struct Closed {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Opened {
    plaintext: String,
}

impl Transit {
    pub(super) const fn new(vault: Arc<Vault>, mount: String) -> Self {
        Self { vault, mount }
    }

    fn key(&self, label: &Label) -> String {
        format!("{}/keys/{label}", self.mount)
    }

    async fn made(&self, label: &Label) -> Result<PublicKey, PlaceFault> {
        self.made_as(label, SIGNS).await?;
        self.found(label).await?.ok_or_else(|| PlaceFault::NotThere { label: label.clone() })
    }

    async fn made_as(&self, label: &Label, (kind, _): (&str, &str)) -> Result<(), PlaceFault> {
        let wanted = json!({ "type": kind, "exportable": false, "allow_plaintext_backup": false });
        Ok(self.vault.tell(&self.key(label), &wanted).await?)
    }

    /// A key of a kind, which cannot leave; none where there is none of that label.
    async fn kept(&self, label: &Label, (kind, wanted): (&str, &'static str)) -> Result<Option<Kept>, PlaceFault> {
        let kept: Kept = match self.vault.read(&self.key(label)).await {
            Ok(Reply { data, .. }) => data,
            Err(VaultError::Missing { .. }) => return Ok(None),
            Err(fault) => return Err(fault.into()),
        };
        if kept.kind != kind {
            return Err(PlaceFault::Kind { label: label.clone(), found: kept.kind, wanted });
        }
        let ways = [
            (kept.exportable, "exportable"),
            (kept.allow_plaintext_backup, "allow_plaintext_backup"),
            (kept.imported_key, "it was imported"),
        ];
        if let Some((_, how)) = ways.into_iter().find(|(is_so, _)| *is_so) {
            return Err(PlaceFault::Exposed { label: label.clone(), how });
        }
        Ok(Some(kept))
    }

    async fn found(&self, label: &Label) -> Result<Option<PublicKey>, PlaceFault> {
        let Some(kept) = self.kept(label, SIGNS).await? else { return Ok(None) };
        let odd = |source| PlaceFault::Crypto { label: label.clone(), source };
        let pem = kept.keys.get(VERSION).and_then(|version| version.get("public_key")).and_then(Value::as_str);
        let pem = pem.unwrap_or_default().as_bytes();
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

    /// Versions of a wrapping key may come and go in Vault: what was wrapped says its own.
    async fn closed(&self, label: &Label, secret: &[u8]) -> Result<Vec<u8>, PlaceFault> {
        if self.kept(label, WRAPS).await?.is_none() {
            self.made_as(label, WRAPS).await?;
            let made = self.kept(label, WRAPS).await?;
            made.ok_or_else(|| PlaceFault::NotThere { label: label.clone() })?;
        }
        let plaintext = Zeroizing::new(STANDARD.encode(secret));
        let path = format!("{}/encrypt/{label}", self.mount);
        let Closed { ciphertext } = self.vault.write(&path, &Clear { plaintext: &plaintext }).await?.data;
        Ok(ciphertext.into_bytes())
    }

    async fn opened(&self, label: &Label, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, PlaceFault> {
        let asked = json!({ "ciphertext": String::from_utf8_lossy(wrapped) });
        let path = format!("{}/decrypt/{label}", self.mount);
        let Opened { plaintext } = self.vault.write(&path, &asked).await?.data;
        let odd =
            |_not_base64| PlaceFault::Crypto { label: label.clone(), source: CryptoError::BadKey { what: "secret" } };
        STANDARD.decode(&*Zeroizing::new(plaintext)).map(Zeroizing::new).map_err(odd)
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

impl Wrap for Transit {
    fn wrap<'a>(&'a self, label: &'a Label, secret: &'a [u8]) -> Waiting<'a, Vec<u8>> {
        Box::pin(self.closed(label, secret))
    }

    fn open<'a>(&'a self, label: &'a Label, wrapped: &'a [u8]) -> Waiting<'a, Zeroizing<Vec<u8>>> {
        Box::pin(self.opened(label, wrapped))
    }
}
