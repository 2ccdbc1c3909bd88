//! The keyring of several replicas: its sealed text stands in what they share, and its revision there decides who changes it.
//!
//! The file of each replica is a copy. Decision 004 holds, but that the text is replaced and the step recorded in one
//! transaction: then the file is made the same, and the key used last.

use super::in_use::signers;
use super::on_record::{record_latest, record_with};
use super::{Keyring, KeyringFile, Rotator, RotatorError};
use crate::audit::Changes;
use crate::identity::TrustDomain;
use crate::store::{Etcd, Revision, StoreError};
use crate::telemetry::chain;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::watch;

/// Where the sealed text stands, and which one is ours.
#[derive(Debug)]
pub struct SharedKeyring {
    etcd: Arc<Etcd>,
    revision: Option<Revision>,
    /// One that could not be taken, and is tried again.
    unfit: watch::Sender<Option<Revision>>,
}

impl SharedKeyring {
    /// Of which nothing is known yet.
    pub fn new(etcd: Arc<Etcd>) -> Self {
        Self { etcd, revision: None, unfit: watch::Sender::new(None) }
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
        match take(text.get(), file, trust_domain) {
            Ok(keyring) => {
                self.revision = Some(revision);
                self.unfit.send_replace(None);
                Ok(Some(keyring))
            }
            Err(fault) => {
                self.unfit.send_replace(Some(revision));
                Err(fault)
            }
        }
    }

    /// Makes ours the shared one where there is none; else takes that of whoever was first.
    ///
    /// # Errors
    /// As [`SharedKeyring::fetch`]; `Shared`: then it may have been done all the same.
    pub async fn begin(&mut self, file: &KeyringFile, ours: Keyring) -> Result<Keyring, RotatorError> {
        match self.etcd.put_keyring(sealed(file, &ours)?, None).await? {
            Some(revision) => {
                self.revision = Some(revision);
                Ok(ours)
            }
            None => self.fetch(file, &ours.trust_domain)?.ok_or(RotatorError::Overtaken),
        }
    }

    /// Makes the file's keyring the shared one, which is older.
    ///
    /// # Errors
    /// `Overtaken`; `Shared`: then it may have been done all the same.
    pub async fn give_back(&mut self, file: &KeyringFile, trust_domain: &TrustDomain) -> Result<(), RotatorError> {
        let ours = file.load(trust_domain)?.ok_or(RotatorError::NoRoot)?;
        let older = *self.unfit.borrow();
        self.revision = Some(self.etcd.put_keyring(sealed(file, &ours)?, older).await?.ok_or(RotatorError::Overtaken)?);
        Ok(())
    }

    /// It was written together with its record; others may have followed by now, and are heard.
    fn settle(&mut self, ours: &RawValue) {
        self.revision =
            self.etcd.keyring().filter(|(text, _)| text.get() == ours.get()).map(|(_, at)| at).or(self.revision);
    }

    /// Resolves when others have changed it; never where there are no others.
    pub(super) async fn changed(shared: Option<&Self>) {
        match shared {
            Some(Self { etcd, revision, unfit }) => {
                let unfit = *unfit.borrow();
                etcd.keyring_changes([*revision, unfit]).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// A clock that is not believed stops a step before anybody is asked.
fn perhaps_done(fault: StoreError) -> RotatorError {
    match fault {
        StoreError::Clock(_) | StoreError::ClocksApart { .. } => RotatorError::Store(fault),
        StoreError::Index(_)
        | StoreError::Journal(_)
        | StoreError::Stopped
        | StoreError::Unreachable { .. }
        | StoreError::WentBack { .. } => RotatorError::Unsure(fault),
    }
}

fn take(text: &str, file: &KeyringFile, trust_domain: &TrustDomain) -> Result<Keyring, RotatorError> {
    let known = file.load(trust_domain)?.map_or(0, |known| known.sequence);
    let keyring = file.parsed(text, trust_domain)?;
    if keyring.sequence < known {
        return Err(RotatorError::OldKeyring { found: keyring.sequence, recorded: known });
    }
    file.adopt(text)?;
    Ok(keyring)
}

fn sealed(file: &KeyringFile, keyring: &Keyring) -> Result<Box<RawValue>, RotatorError> {
    let text = String::from_utf8(file.sealed(keyring)?).unwrap_or_default();
    RawValue::from_string(text).map_err(|odd| RotatorError::Store(StoreError::Index(odd.into())))
}

impl Rotator {
    /// Changes keys together with other replicas.
    #[must_use]
    pub fn sharing(mut self, shared: Option<SharedKeyring>) -> Self {
        self.shared = shared;
        self
    }

    /// Which keyring of other replicas cannot be taken, now and in future; none where there are no others.
    pub fn unfit(&self) -> Option<watch::Receiver<Option<Revision>>> {
        self.shared.as_ref().map(|shared| shared.unfit.subscribe())
    }

    /// Whether changing keys by the clock is this replica's work.
    pub(super) fn leads(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.etcd.leads())
    }

    /// Saves a keyring and has its last step recorded: here the one after the other, with other replicas both in one
    /// transaction. So none is written that is not recorded, and of two that were made from the same one only the first.
    pub(super) async fn save_and_record(&mut self, next: &Keyring) -> Result<(), RotatorError> {
        let Some(shared) = &mut self.shared else {
            self.file.save(next)?;
            return record_latest(&self.ledger, next).await.map_err(|fault| self.not_recorded(fault));
        };
        let taken = next.latest.as_ref().ok_or(RotatorError::NoRoot)?;
        let text = sealed(&self.file, next)?;
        let (condition, write) = Etcd::keyring_change(text.clone(), shared.revision);
        let changes = Changes { conditions: vec![condition], writes: vec![write] };
        if !record_with(&self.ledger, taken, changes).await.map_err(perhaps_done)? {
            return Err(RotatorError::Overtaken);
        }
        shared.settle(&text);
        Ok(self.file.adopt(text.get())?)
    }

    /// Takes what another replica has made of the keyring; who made it has recorded it.
    pub(super) fn follow_others(&mut self) {
        match self.fetch() {
            Ok(()) => tracing::info!(sequence = self.keyring.sequence, "another replica has changed the keys"),
            Err(fault) => tracing::error!(fault = %chain(&fault), "another replica's keyring cannot be taken yet"),
        }
    }

    /// Whether one of another replica could not be taken.
    pub(super) fn is_unfit(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.unfit.borrow().is_some())
    }

    /// Tries it again.
    pub(super) fn try_unfit(&mut self) {
        if self.is_unfit() {
            self.follow_others();
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
