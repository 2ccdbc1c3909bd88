//! The keyring of several replicas: its sealed text stands in what they share, and its revision there decides who changes it.
//!
//! The file of each replica is a copy. Decision 004 holds, with that text in the place of the file: it is replaced first,
//! recorded then, and the key used last.

use super::in_use::signers;
use super::{Keyring, KeyringFile, Rotator, RotatorError};
use crate::identity::TrustDomain;
use crate::store::{Etcd, Revision};
use crate::telemetry::chain;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Where the sealed text stands, and which one is ours.
#[derive(Debug)]
pub struct SharedKeyring {
    etcd: Arc<Etcd>,
    revision: Option<Revision>,
    /// One that could not be taken; there is no use in looking at it again.
    unfit: Option<Revision>,
}

impl SharedKeyring {
    /// Of which nothing is known yet.
    pub const fn new(etcd: Arc<Etcd>) -> Self {
        Self { etcd, revision: None, unfit: None }
    }

    /// The shared keyring, if it is another than the last that we know; the file is made the same. One that is older than
    /// the file was put back by somebody.
    ///
    /// # Errors
    /// `OldKeyring`, `Keyring`.
    pub fn fetch(&mut self, file: &KeyringFile, trust_domain: &TrustDomain) -> Result<Option<Keyring>, RotatorError> {
        let Some((text, revision)) = self.etcd.keyring().filter(|(_, found)| Some(*found) != self.revision) else {
            return Ok(None);
        };
        self.unfit = Some(revision);
        let known = file.load(trust_domain)?.map_or(0, |known| known.sequence);
        let keyring = file.parsed(text.get(), trust_domain)?;
        if keyring.sequence < known {
            return Err(RotatorError::OldKeyring { found: keyring.sequence, recorded: known });
        }
        file.adopt(text.get())?;
        self.revision = Some(revision);
        Ok(Some(keyring))
    }

    /// Makes ours the shared one where there is none; else takes that of whoever was first.
    ///
    /// # Errors
    /// As [`SharedKeyring::fetch`] and [`SharedKeyring::replace`].
    pub async fn begin(&mut self, file: &KeyringFile, ours: Keyring) -> Result<Keyring, RotatorError> {
        match self.replace(file, &ours).await {
            Ok(()) => Ok(ours),
            Err(RotatorError::Overtaken) => self.fetch(file, &ours.trust_domain)?.ok_or(RotatorError::Overtaken),
            Err(fault) => Err(fault),
        }
    }

    /// Replaces it by this one, if it is still the one that we know.
    ///
    /// # Errors
    /// `Overtaken`; `Shared`: then it may have been done all the same, and is heard of.
    pub async fn replace(&mut self, file: &KeyringFile, keyring: &Keyring) -> Result<(), RotatorError> {
        let text = String::from_utf8(file.sealed(keyring)?).unwrap_or_default();
        let text = RawValue::from_string(text).map_err(|odd| RotatorError::Store(odd_text(odd)))?;
        let replaced = self.etcd.replace_keyring(text, self.revision).await?;
        self.revision = Some(replaced.ok_or(RotatorError::Overtaken)?);
        Ok(())
    }

    /// Makes the file's keyring the shared one, which is older.
    ///
    /// # Errors
    /// As [`SharedKeyring::replace`].
    pub async fn give_back(&mut self, file: &KeyringFile, trust_domain: &TrustDomain) -> Result<(), RotatorError> {
        let ours = file.load(trust_domain)?.ok_or(RotatorError::NoRoot)?;
        self.revision = self.unfit;
        self.replace(file, &ours).await
    }

    /// Resolves when others have changed it; never where there are no others.
    pub(super) async fn changed(shared: Option<&Self>) {
        match shared {
            Some(Self { etcd, revision, unfit }) => etcd.keyring_changes([*revision, *unfit]).await,
            None => std::future::pending().await,
        }
    }
}

fn odd_text(odd: serde_json::Error) -> crate::store::StoreError {
    crate::store::StoreError::Index(odd.into())
}

impl Rotator {
    /// Changes keys together with other replicas.
    #[must_use]
    pub fn sharing(mut self, shared: Option<SharedKeyring>) -> Self {
        self.shared = shared;
        self
    }

    /// Whether changing keys by the clock is this replica's work.
    pub(super) fn leads(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.etcd.leads())
    }

    /// Saves a keyring where everybody finds it, then here.
    pub(super) async fn save(&mut self, next: &Keyring) -> Result<(), RotatorError> {
        if let Some(shared) = &mut self.shared {
            shared.replace(&self.file, next).await?;
        }
        Ok(self.file.save(next)?)
    }

    /// Takes what another replica has made of the keyring; who made it has recorded it.
    pub(super) fn follow_others(&mut self) {
        match self.fetch() {
            Ok(()) => tracing::info!(sequence = self.keyring.sequence, "another replica has changed the keys"),
            Err(fault) => tracing::error!(fault = %chain(&fault), "another replica's keyring cannot be taken"),
        }
    }

    fn fetch(&mut self) -> Result<(), RotatorError> {
        let Some(shared) = &mut self.shared else { return Ok(()) };
        let Some(keyring) = shared.fetch(&self.file, &self.keyring.trust_domain)? else { return Ok(()) };
        let signers = signers(&keyring).ok_or(RotatorError::NoSigner)?;
        self.authorities.swap(&keyring, signers);
        self.keyring = keyring;
        Ok(())
    }
}
