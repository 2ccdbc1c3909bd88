//! An archive laid out in a folder of its own, each file synced, all of it checked: nothing of it is used before.

use super::piece::{HEAD, JOURNAL, Piece, SEAL, SEALING_KEY, WRAPPED_KEY, mode_of};
use super::seal::check;
use super::{BackupError, Head, ReadBackup, read_backup};
use crate::authority::SealingSettings;
use crate::crypto::{Digest, Sealing};
use crate::custody::Places;
use crate::store::{Evidence, VerifierKey, VerifyReport, verify_against};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Nobody else looks in.
const FOLDER_MODE: u32 = 0o700;

/// A backup's files, and what they say of themselves.
#[derive(Debug)]
pub struct Unpacked {
    /// Whose backup it is.
    pub head: Head,
    /// Where its files are.
    pub folder: PathBuf,
    digests: BTreeMap<String, Digest>,
    seal: Vec<u8>,
}

/// A backup whose journal was read from its first record to its last.
#[derive(Debug)]
pub struct Whole {
    /// What the journal comes to.
    pub report: VerifyReport,
    /// The key that vouches for it.
    pub key: VerifierKey,
}

impl Unpacked {
    /// Lays an archive out in a folder, which is made.
    ///
    /// # Errors
    /// See [`BackupError`]; then the folder is of no use.
    pub fn of(archive: &Path, folder: &Path) -> Result<Self, BackupError> {
        make(folder)?;
        make(&folder.join("journal"))?;
        let file = File::open(archive).map_err(BackupError::file(archive))?;
        let bytes = file.metadata().map_err(BackupError::file(archive))?.len();
        let mut open: Option<File> = None;
        let ReadBackup { head, digests } = read_backup(file, bytes, |piece| {
            match (piece, &mut open) {
                (Piece::File { name, .. }, open) => *open = Some(next(open.take(), folder, name)?),
                (Piece::Bytes(bytes), Some(file)) => file.write_all(bytes).map_err(BackupError::file(folder))?,
                (Piece::Bytes(_), None) => return Err(BackupError::Cut),
            }
            Ok(())
        })?;
        sync(open, folder)?;
        let unsealed = |_missing| BackupError::Changed { name: SEAL.to_owned() };
        let seal = fs::read(folder.join(SEAL)).map_err(unsealed)?;
        for said in [HEAD, SEAL] {
            fs::remove_file(folder.join(said)).map_err(BackupError::file(folder))?;
        }
        for made in [&folder.join("journal"), folder] {
            sync(Some(File::open(made).map_err(BackupError::file(made))?), made)?;
        }
        Ok(Self { head, folder: folder.to_owned(), digests, seal })
    }

    /// What opens it: the configured key, or the one that it brings for a folder that has none yet.
    ///
    /// # Errors
    /// `Sealing`, `SealingKeyGone`.
    pub async fn sealing(
        &self,
        settings: &SealingSettings,
        (places, data): (&Places, &Path),
    ) -> Result<Sealing, BackupError> {
        let file = self.brought(settings, data).unwrap_or_else(|| settings.file.clone());
        Ok(SealingSettings { file, ..settings.clone() }.open(places).await?)
    }

    /// Where the sealing key lies that is to be laid into a data folder, too.
    pub(super) fn brought(&self, settings: &SealingSettings, data: &Path) -> Option<PathBuf> {
        let name = if settings.place.is_some() { WRAPPED_KEY } else { SEALING_KEY };
        let own = self.folder.join(name);
        (settings.file == data.join(name) && !settings.file.exists() && own.exists()).then_some(own)
    }

    /// Whether it is as the server said that had the sealing key: what it is, and each of its files.
    ///
    /// # Errors
    /// `Changed`, and `OtherSeal`.
    pub fn check_seal(&self, sealing: &Sealing) -> Result<(), BackupError> {
        let head = self.digests.get(HEAD).copied().ok_or(BackupError::NotABackup)?;
        check(sealing, (&self.head.trust_domain, head), &self.seal)?;
        let of_itself = |name: &str| [HEAD, SEAL, SEALING_KEY].contains(&name) || name.starts_with(JOURNAL);
        let found: BTreeMap<_, _> = self.digests.iter().filter(|(name, _)| !of_itself(name)).collect();
        let names = found.keys().copied().chain(self.head.files.keys());
        let differs = |name: &&String| found.get(*name).copied() != self.head.files.get(*name);
        match names.into_iter().find(differs) {
            Some(name) => Err(BackupError::Changed { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Reads the journal through, by this key or the one that is with it; it must be as the head says.
    ///
    /// # Errors
    /// `Journal`, and `Changed` where head and journal differ.
    pub fn verify(&self, key: Option<&VerifierKey>) -> Result<Whole, BackupError> {
        let own = self.key()?;
        let key = key.unwrap_or(&own).clone();
        let report = verify_against(&self.folder, Evidence { key: Some(key.key()), ..Evidence::default() })?;
        let says = &self.head.journal;
        if (says.first, says.last, says.digest) != (report.first, report.records, report.last_digest) {
            return Err(BackupError::Changed { name: HEAD.to_owned() });
        }
        Ok(Whole { report, key })
    }

    /// As `verify`, by its own key; and a signature covers all of it.
    ///
    /// # Errors
    /// As `verify`, `Cut`, and `Unsigned`.
    pub(super) fn verify_signed(&self) -> Result<Whole, BackupError> {
        let whole = self.verify(None)?;
        let (signed, last) = (whole.report.signed_upto, whole.report.records);
        if whole.report.torn.is_some() {
            return Err(BackupError::Cut);
        }
        if signed < last {
            return Err(BackupError::Unsigned { first: signed + 1, last });
        }
        Ok(whole)
    }

    fn key(&self) -> Result<VerifierKey, BackupError> {
        let changed = || BackupError::Changed { name: "journal.vkey".to_owned() };
        let text = fs::read_to_string(self.folder.join("journal.vkey")).map_err(|_missing| changed())?;
        text.trim_end().parse().map_err(|_odd| changed())
    }
}

fn make(folder: &Path) -> Result<(), BackupError> {
    DirBuilder::new().mode(FOLDER_MODE).create(folder).map_err(BackupError::file(folder))
}

/// The next file, once the one before is on the medium.
fn next(former: Option<File>, folder: &Path, name: &str) -> Result<File, BackupError> {
    sync(former, folder)?;
    let path = folder.join(name);
    let mode = mode_of(name).ok_or_else(|| BackupError::Name { name: name.to_owned() })?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
    opened.map_err(BackupError::file(&path))
}

fn sync(file: Option<File>, folder: &Path) -> Result<(), BackupError> {
    file.map_or(Ok(()), |file| file.sync_all()).map_err(BackupError::file(folder))
}
