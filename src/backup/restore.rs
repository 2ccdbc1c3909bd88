//! From an archive to a data folder that a server goes on from: everything is checked aside, the keys are made fit, and the
//! journal is told what it lost, before anything is laid into its place.

use super::contents::{Folder, door_context};
use super::piece::{DOOR_KEY, SEALING_KEY, WRAPPED_KEY};
use super::place::Place;
use super::{BackupError, Head, Unpacked, Whole};
use crate::audit::{Changes, Entry, Ledger};
use crate::authority::{AuthorityKind, KeyringFile, RotatorError, SealingSettings, go_on_after_loss};
use crate::clock::Clock;
use crate::crypto::Sealing;
use crate::custody::Places;
use crate::people::{Form, People};
use crate::session::Loss;
use crate::store::{
    CheckpointSettings, IndexKind, LocalSettings, LocalStore, NoteSigner, Position, Store, VerifierKey, replace_file,
    witnessed_beyond,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// What is to be laid down, where, and what is known of the time since.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The archive.
    pub archive: &'a Path,
    /// The data folder.
    pub folder: &'a Folder,
    /// What opens its keys.
    pub sealing: &'a SealingSettings,
    /// The places that may wrap that.
    pub places: &'a Places,
    /// Where signed checkpoints go besides: they may tell of more records.
    pub checkpoints: &'a CheckpointSettings,
    /// The longest life that a rule gives.
    pub longest_ttl: Duration,
    /// How persons are written down.
    pub people: Form,
    /// When the lost server surely did nothing more; none for now.
    pub stopped_at: Option<OffsetDateTime>,
    /// Whether records that are known to be lost are given up.
    pub accepts_loss: bool,
    /// Who restores.
    pub uid: u32,
    /// Why.
    pub reason: &'a str,
}

/// What was laid down.
#[derive(Debug)]
pub struct Restored {
    /// What the backup said of itself.
    pub head: Head,
    /// Tokens of before are refused; none where nothing was lost.
    pub refused_before: Option<OffsetDateTime>,
    /// The last record that is known to be lost.
    pub lost_upto: Option<Position>,
    /// A checkpoint of the lost records, and where it was moved to.
    pub witness: Option<PathBuf>,
}

/// Where things stand before they are laid.
struct Aside<'a> {
    asked: &'a Restore<'a>,
    backup: &'a Unpacked,
    sealing: Sealing,
    key: VerifierKey,
}

/// Restores, or leaves the folder as it was.
///
/// # Errors
/// See [`BackupError`].
pub async fn restore(asked: &Restore<'_>, clock: Arc<dyn Clock>) -> Result<Restored, BackupError> {
    let place = Place::take(&asked.folder.path)?;
    let backup = Unpacked::of(asked.archive, &place.aside())?;
    if backup.head.trust_domain != asked.folder.trust_domain {
        let (found, wanted) = (backup.head.trust_domain, asked.folder.trust_domain.clone());
        return Err(BackupError::TrustDomain { found, wanted });
    }
    let Whole { key, .. } = backup.verify_signed()?;
    let witness = witnessed_beyond(asked.checkpoints, &key, backup.head.journal.last);
    if let (Some((witness, last)), false) = (&witness, asked.accepts_loss) {
        let (first, last, witness) = (backup.head.journal.last + 1, *last, witness.clone());
        return Err(BackupError::Witnessed { first, last, witness });
    }
    let sealing = backup.sealing(asked.sealing, (asked.places, &asked.folder.path)).await?;
    backup.check_seal(&sealing)?;
    let brought = backup.brought(asked.sealing, &asked.folder.path);
    let refused_before = Aside { asked, backup: &backup, sealing, key }.go_on(clock).await?;
    for name in [SEALING_KEY, WRAPPED_KEY] {
        if brought.as_ref().is_none_or(|brought| !brought.ends_with(name)) {
            place.forget(name)?;
        }
    }
    place.lay()?;
    let lost_upto = witness.as_ref().map(|(_, last)| *last);
    let witness = witness.map(|(witness, _)| put_away(&witness)).transpose()?;
    Ok(Restored { head: backup.head, refused_before, lost_upto, witness })
}

impl Aside<'_> {
    /// Opens all that is sealed, and tells the journal. Before when tokens are refused from now on.
    async fn go_on(&self, clock: Arc<dyn Clock>) -> Result<Option<OffsetDateTime>, BackupError> {
        let Self { asked, backup: Unpacked { head, folder, .. }, key, .. } = self;
        let trust_domain = &asked.folder.trust_domain;
        let file = KeyringFile::new(folder.join("keyring.json"), self.sealing.clone());
        let keyring = file.load(trust_domain).map_err(RotatorError::from)?.ok_or(RotatorError::NoRoot)?;
        let journal_key = keyring.active(AuthorityKind::Journal).ok_or(RotatorError::NoRoot)?;
        let own_key = journal_key.held_key().ok_or(RotatorError::NoRoot)?;
        let signer = NoteSigner::new(key.name().to_owned(), Arc::clone(own_key))?;
        if signer.verifier() != key {
            return Err(BackupError::Changed { name: "journal.vkey".to_owned() });
        }
        self.open_door_key()?;
        let now = clock.now();
        let settings =
            LocalSettings { index: IndexKind::Memory, reserve_bytes: 0, ..LocalSettings::new(folder.clone()) };
        let store = LocalStore::open(settings, signer, clock)?;
        let shared: Arc<dyn Store> = Arc::<LocalStore>::clone(&store);
        let ledger = Ledger::new(shared);
        let (sequence, write) = go_on_after_loss(&file, keyring, (&*store, &ledger), now).await?;
        let until = lost_until(head, asked.stopped_at, now)?;
        let loss = until.map(|until| Loss::until(until, asked.longest_ttl));
        let mut writes = vec![write];
        if let Some(loss) = loss {
            writes.push(loss.beside(&*store)?);
        }
        let people = People::open(folder.join(People::FILE), self.sealing.clone(), (asked.people, trust_domain))?;
        people.erase_again(&*store).await?;
        let entry = Entry::Restored {
            made_at: head.made_at.unix_timestamp(),
            made_by: &head.lanyard,
            last: head.journal.last,
            keyring: sequence,
            refused_before: until.map(OffsetDateTime::unix_timestamp),
            uid: asked.uid,
            say: asked.reason,
        };
        ledger.commit(&entry, Changes { conditions: Vec::new(), writes }).await?;
        store.close();
        Ok(until)
    }

    fn open_door_key(&self) -> Result<(), BackupError> {
        let folder = &self.backup.folder;
        let sealed = folder.join(DOOR_KEY);
        if !sealed.exists() {
            return Ok(());
        }
        let changed = || BackupError::Changed { name: DOOR_KEY.to_owned() };
        let certificate = fs::read(folder.join("door-ca.pem")).map_err(|_missing| changed())?;
        let text = fs::read(&sealed).map_err(BackupError::file(&sealed))?;
        let text = serde_json::from_slice(&text).map_err(|_odd| changed())?;
        let context = door_context(&self.asked.folder.trust_domain, &certificate);
        let key = self.sealing.unseal(context, &text).map_err(|_sealed| changed())?.secret;
        let path = folder.join("door-ca-key.pem");
        replace_file(&path, &key, 0o600).map_err(BackupError::file(&path))?;
        fs::remove_file(&sealed).map_err(BackupError::file(&sealed))
    }
}

/// Until when the server may have done what the backup does not know; none where it was stopped by then. Who names a time does
/// so in whole seconds.
fn lost_until(
    head: &Head,
    stopped_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, BackupError> {
    let (made_at, seconds) = (head.made_at, OffsetDateTime::unix_timestamp);
    if seconds(now) < seconds(made_at) {
        return Err(BackupError::Future { made_at, now });
    }
    match stopped_at {
        Some(stopped_at) if seconds(stopped_at) < seconds(made_at) => {
            Err(BackupError::StoppedBefore { made_at, stopped_at })
        }
        Some(stopped_at) if head.at_rest && seconds(stopped_at) == seconds(made_at) => Ok(None),
        stopped_at => Ok(Some(stopped_at.unwrap_or(now).max(made_at))),
    }
}

/// A server does not start beside a checkpoint that knows of more than its journal. It is evidence, and is kept.
fn put_away(witness: &Path) -> Result<PathBuf, BackupError> {
    let mut name = witness.as_os_str().to_owned();
    name.push(".before-restore");
    let away = PathBuf::from(name);
    fs::rename(witness, &away).map_err(BackupError::file(witness))?;
    Ok(away)
}
