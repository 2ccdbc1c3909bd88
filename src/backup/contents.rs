//! What is in a backup, at one record of the journal: all of it belongs together, whatever is written meanwhile.
//!
//! The keyring is read before and after the journal's point is taken, until both are the same: so it is at the step that the
//! journal has recorded, or at one that is about to be. The persons' keys are read last: whoever stands in the journal is in
//! them, and whoever was erased meanwhile is not.

use super::piece::{DOOR_KEY, HEAD, SEAL, WRAPPED_KEY};
use super::seal::seal;
use super::{BackupError, Head, Piece};
use crate::authority::{Authority, AuthorityKind, KeyringFile, RotatorError};
use crate::crypto::{KeyId, SealContext, Sealing};
use crate::identity::TrustDomain;
use crate::people::People;
use crate::store::{CopyFile, CopyFrom, JournalCopy, LocalStore, NoteSigner, VerifierKey};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// So much is read at once.
const STEP: usize = 64 << 10;
/// Keys change a few times a day.
const TRIES: usize = 8;
/// In the data folder: what clients trust, and what only the server reads.
const DOOR_CA: (&str, &str) = ("door-ca.pem", "door-ca-key.pem");

/// A server's data folder.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Whose identities it issues.
    pub trust_domain: TrustDomain,
    /// Where it is.
    pub path: PathBuf,
    /// The file of its sealing key, where a place wraps that: without the place it is worth nothing, so it comes along.
    pub wrapped_key: Option<PathBuf>,
}

/// Makes backups of a running server.
#[derive(Debug)]
pub struct Backups {
    store: Arc<LocalStore>,
    folder: Folder,
    sealing: Sealing,
}

/// A backup that is about to be read, piece by piece.
#[derive(Debug)]
pub struct Contents {
    /// What it says of itself.
    pub head: Head,
    files: Vec<CopyFile>,
    /// Small files, as they were; what it says of itself is first.
    texts: Vec<(&'static str, Vec<u8>)>,
    /// Of a stopped server, which cannot start meanwhile.
    _journal: JournalCopy,
}

#[derive(Deserialize)]
struct Sequence {
    sequence: u64,
}

impl Backups {
    /// Of the server that has this folder and this store in use.
    pub const fn new(store: Arc<LocalStore>, folder: Folder, sealing: Sealing) -> Self {
        Self { store, folder, sealing }
    }

    /// The folder as it is now.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn now(&self, now: OffsetDateTime) -> Result<Contents, BackupError> {
        for _ in 0..TRIES {
            let keyring = self.folder.keyring()?;
            let journal = self.store.copy().await?;
            if keyring == self.folder.keyring()? {
                let (folder, sealing) = (self.folder.clone(), self.sealing.clone());
                let of = move || Contents::of((&folder, &sealing), journal, keyring, now);
                let read = tokio::task::spawn_blocking(of);
                return read.await.map_err(|_stopped| BackupError::Stopped)?;
            }
        }
        Err(BackupError::KeysChange)
    }
}

impl Folder {
    /// A stopped server's folder as it is; none can start until the contents are dropped.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn at_rest(&self, sealing: &Sealing, now: OffsetDateTime) -> Result<Contents, BackupError> {
        let journal = JournalCopy::at_rest(&self.path, &self.signer(sealing)?)?;
        Contents::of((self, sealing), journal, self.keyring()?, now)
    }

    /// What signs the journal.
    fn signer(&self, sealing: &Sealing) -> Result<NoteSigner, BackupError> {
        let file = KeyringFile::new(self.path.join("keyring.json"), sealing.clone());
        let keyring = file.load(&self.trust_domain).map_err(RotatorError::from)?.ok_or(RotatorError::NoRoot)?;
        let key = keyring.active(AuthorityKind::Journal).and_then(Authority::held_key).ok_or(RotatorError::NoRoot)?;
        let vkey = self.path.join("journal.vkey");
        let name = fs::read_to_string(&vkey).map_err(BackupError::file(&vkey))?.trim_end().parse::<VerifierKey>();
        let changed = |_odd| BackupError::Changed { name: "journal.vkey".to_owned() };
        Ok(NoteSigner::new(name.map_err(changed)?.name().to_owned(), Arc::clone(key))?)
    }

    fn keyring(&self) -> Result<Vec<u8>, BackupError> {
        let path = self.path.join("keyring.json");
        fs::read(&path).map_err(BackupError::file(&path))
    }

    /// A file that may be missing.
    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, BackupError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(|bytes| Some(Zeroizing::new(bytes))).map_err(BackupError::file(&path)),
        }
    }

    /// The door CA, with its key sealed: in the clear, a stolen backup could stand in for the server.
    fn door_ca(&self, sealing: &Sealing) -> Result<Vec<(&'static str, Vec<u8>)>, BackupError> {
        let (certificate, key) = (self.read(DOOR_CA.0)?, self.read(DOOR_CA.1)?);
        let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(Vec::new()) };
        let sealed = sealing.seal(door_context(&self.trust_domain, &certificate), &key);
        let sealed = serde_json::to_vec(&sealed).map_err(|odd| BackupError::Write(odd.into()))?;
        Ok(vec![(DOOR_CA.0, certificate.to_vec()), (DOOR_KEY, sealed)])
    }
}

/// What the door CA's key is bound to.
pub(super) fn door_context<'a>(trust_domain: &'a TrustDomain, certificate: &[u8]) -> SealContext<'a> {
    let key_id = KeyId::of_spki(certificate);
    SealContext { trust_domain: trust_domain.as_str(), key_id, kind: "door-ca", generation: 0 }
}

impl Contents {
    fn of(
        (folder, sealing): (&Folder, &Sealing),
        mut journal: JournalCopy,
        keyring: Vec<u8>,
        now: OffsetDateTime,
    ) -> Result<Self, BackupError> {
        let Sequence { sequence } = serde_json::from_slice(&keyring)
            .map_err(|odd| BackupError::file(&folder.path.join("keyring.json"))(odd.into()))?;
        let mut texts = vec![("keyring.json", keyring)];
        texts.extend(journal.checkpoint.take().map(|note| ("checkpoint", note.into_bytes())));
        texts.extend(folder.door_ca(sealing)?);
        for name in ["journal.vkey", People::FILE] {
            texts.extend(folder.read(name)?.map(|bytes| (name, bytes.to_vec())));
        }
        if let Some(path) = &folder.wrapped_key {
            texts.push((WRAPPED_KEY, fs::read(path).map_err(BackupError::file(path))?));
        }
        let files = std::mem::take(&mut journal.files);
        let small = texts.iter().map(|(_, text)| length(text)).sum::<u64>();
        let bytes = files.iter().map(|file| file.bytes).sum::<u64>() + small;
        let head = Head::of(folder.trust_domain.clone(), (&journal, sequence), (&texts, bytes), now);
        let text = serde_json::to_vec_pretty(&head).map_err(|odd| BackupError::Write(odd.into()))?;
        let vouched = seal(sealing, (&folder.trust_domain, &text))?;
        let texts = [(HEAD, text), (SEAL, vouched)].into_iter().chain(texts).collect();
        Ok(Self { head, files, texts, _journal: journal })
    }

    /// Hands all of it on, what it is first.
    ///
    /// # Errors
    /// When a file cannot be read any more, and whatever the hearer says.
    pub fn read(self, mut each: impl FnMut(Piece<'_>) -> Result<(), BackupError>) -> Result<(), BackupError> {
        for (name, text) in self.texts {
            each(Piece::File { name, bytes: length(&text) })?;
            text.chunks(STEP).try_for_each(|bytes| each(Piece::Bytes(bytes)))?;
        }
        self.files.into_iter().try_for_each(|file| copy(file, &mut each))
    }
}

/// So much of the file as there was when it was looked at.
fn copy(file: CopyFile, each: &mut impl FnMut(Piece<'_>) -> Result<(), BackupError>) -> Result<(), BackupError> {
    let CopyFile { name, from, bytes } = file;
    each(Piece::File { name: &name, bytes })?;
    let from = match from {
        CopyFrom::Open(file) => file,
        CopyFrom::Path(path) => File::open(&path).map_err(BackupError::file(&path))?,
    };
    let (mut from, mut step) = (from.take(bytes), vec![0; STEP]);
    loop {
        let read = from.read(&mut step).map_err(BackupError::Read)?;
        match step.get(..read) {
            None | Some([]) => return Ok(()),
            Some(bytes) => each(Piece::Bytes(bytes))?,
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
