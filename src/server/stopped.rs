//! The store of a server that does not run, for commands that move or mend it.

use super::ground::{connect_etcd, open_journal, open_keys};
use super::{ServerError, data_folder, open_places};
use crate::authority::{KeyringFile, RotatorError, SharedKeyring};
use crate::clock::Clock;
use crate::config::ServerSettings;
use crate::crypto::Random;
use crate::session::Loss;
use crate::store::{Etcd, LocalStore, Reconciled, Replica, Store, StoreContent, reconciled, take_over};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Opened as its server would.
#[derive(Debug)]
pub struct Stopped {
    folder: PathBuf,
    file: KeyringFile,
    journal: Arc<LocalStore>,
    replica: Option<Arc<Replica>>,
    trust_domain: String,
}

impl Stopped {
    /// Opens keys, journal and store.
    ///
    /// # Errors
    /// `OthersRun`, and whatever keeps the server from starting.
    pub async fn open(settings: &ServerSettings, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        let random = Random::system();
        data_folder::own(&settings.data_dir)?;
        let (_vault, places) = open_places((settings.vault.as_ref(), &settings.keys.places), Arc::clone(&clock))?;
        let etcd = connect_etcd(settings, (&clock, &random)).await?;
        let replicas = etcd.as_ref().map(|etcd| etcd.others_that_run()).unwrap_or_default();
        if !replicas.is_empty() {
            return Err(ServerError::OthersRun { replicas });
        }
        let keys = open_keys(settings, (places, None, etcd.as_ref()), (&clock, &random)).await?;
        let journal = open_journal(settings, &keys.keyring, &clock).await?;
        let replica = etcd.map(|etcd| Replica::open(etcd, Arc::clone(&journal), clock)).transpose()?;
        let (folder, trust_domain) = (settings.data_dir.clone(), settings.trust_domain.to_string());
        Ok(Self { folder, file: keys.file, journal, replica, trust_domain })
    }

    /// All that it holds.
    ///
    /// # Errors
    /// `InEtcd`, where that is nothing because it stands there; when something of it cannot be read.
    pub fn content(&self) -> Result<StoreContent, ServerError> {
        let journal = &*self.journal;
        if self.replica.is_none() && StoreContent::is_in_etcd(journal)? && !StoreContent::is_here(journal)? {
            return Err(ServerError::InEtcd { path: self.folder.clone() });
        }
        let path = self.file.path();
        let unreadable = |source| ServerError::File { path: path.to_owned(), source };
        let keyring = std::fs::read_to_string(path).map_err(unreadable)?;
        let keyring = RawValue::from_string(keyring).map_err(|odd| unreadable(odd.into()))?;
        Ok(StoreContent::of(self.store(), self.trust_domain.clone(), keyring)?)
    }

    /// Makes it hold this; how many keys.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn take(&self, content: &StoreContent) -> Result<usize, ServerError> {
        let count = content.lay_into(self.store()).await?;
        match &self.replica {
            // What this folder's journal knew alone is everybody's now.
            Some(_) => drop(StoreContent::nothing().lay_into(&*self.journal).await?),
            None => StoreContent::leave_etcd(&*self.journal).await?,
        }
        Ok(count)
    }

    /// Ends it.
    pub fn close(&self) {
        self.replica.iter().for_each(|replica| replica.close());
        self.journal.close();
    }

    fn store(&self) -> &dyn Store {
        match &self.replica {
            Some(replica) => &**replica,
            None => &*self.journal,
        }
    }
}

/// What is asked of a reconciliation.
#[derive(Debug)]
pub struct Reconcile<'a> {
    /// Replicas whose journals are gone.
    pub lost: &'a [String],
    /// Etcd was restored, whatever this replica's journal has seen.
    pub restored: bool,
    /// Nothing is to be written.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug)]
pub enum Reconciling {
    /// There is no etcd.
    Alone,
    /// It was done, or would be.
    Done(Reconciled),
    /// Etcd holds all that this replica's journal has seen, and does not wait for this one, but perhaps for others.
    Whole(BTreeSet<String>),
}

/// Writes into the replicas' etcd what this one's journal knows and etcd has forgotten.
///
/// # Errors
/// When a lost one is not known, or keys, journal or etcd cannot be used; asking again goes on.
pub async fn reconcile(
    settings: &ServerSettings,
    Reconcile { lost, restored, dry_run }: Reconcile<'_>,
    clock: Arc<dyn Clock>,
) -> Result<Reconciling, ServerError> {
    let random = Random::system();
    data_folder::own(&settings.data_dir)?;
    let Some(etcd) = connect_etcd(settings, (&clock, &random)).await? else { return Ok(Reconciling::Alone) };
    may_be_lost(&etcd, lost)?;
    // What was begun is finished as it was begun.
    let given_up = etcd.given_up().into_iter().filter(|name| !lost.contains(name));
    let lost: &[String] = &lost.iter().cloned().chain(given_up).collect::<Vec<_>>();
    let waiting = etcd.waiting();
    let is_restored = !waiting.is_empty() || restored;
    if (lost.is_empty() || !is_restored) && etcd.has_all_of(&settings.data_dir)? {
        return Ok(Reconciling::Whole(waiting));
    }
    let forgotten = (!lost.is_empty()).then(|| Loss::until(clock.now(), settings.policy.longest_ttl()));
    let refused_before = forgotten.map(|loss| loss.refuses_before());
    if dry_run {
        let would = etcd.would_reconcile(&settings.data_dir, lost)?;
        return Ok(Reconciling::Done(Reconciled { refused_before, ..would }));
    }
    let (_vault, places) = open_places((settings.vault.as_ref(), &settings.keys.places), Arc::clone(&clock))?;
    // The keys as this replica knows them: those in etcd may be older.
    let keys = open_keys(settings, (places, None, None), (&clock, &random)).await?;
    let journal = open_journal(settings, &keys.keyring, &clock).await?;
    let write = forgotten.map(|loss| loss.beside_kept(etcd.read(Loss::KEY)?)).transpose()?;
    // Before others may write: what the lost ones did must not go with the next restore.
    let mut told_late = 0;
    for replica in lost {
        told_late += take_over(&journal, &etcd, replica).await?;
    }
    let done = etcd.reconcile(&settings.data_dir, (lost, write)).await?;
    let done = Reconciled { told_late, refused_before, ..done };
    give_back_keys(&keys.file, settings, &etcd).await?;
    let waiting = reconciled(&journal, &etcd, &done).await?;
    journal.close();
    etcd.close();
    Ok(Reconciling::Done(Reconciled { waiting, ..done }))
}

/// A name that was mistyped must not cost anybody a token.
fn may_be_lost(etcd: &Etcd, lost: &[String]) -> Result<(), ServerError> {
    let mut known = etcd.known();
    known.extend(etcd.waiting());
    known.extend(etcd.given_up());
    known.remove(etcd.replica());
    match lost.iter().find(|lost| !known.contains(*lost)) {
        Some(replica) => Err(ServerError::NotLost { replica: replica.clone(), here: etcd.replica().to_owned(), known }),
        None => Ok(()),
    }
}

/// The newer keyring counts.
async fn give_back_keys(file: &KeyringFile, settings: &ServerSettings, etcd: &Arc<Etcd>) -> Result<(), ServerError> {
    let mut shared = SharedKeyring::new(Arc::clone(etcd));
    match shared.fetch(file, &settings.trust_domain) {
        Ok(_) => Ok(()),
        Err(RotatorError::OldKeyring { .. }) => Ok(shared.give_back(file, &settings.trust_domain).await?),
        Err(fault) => Err(fault.into()),
    }
}
