//! The sealing key in a file of its own, read by its owner only: 32 bytes, or those wrapped by a place.

use super::{KeyringError, KeyringFile};
use crate::crypto::{SealError, Sealing, SealingKey, SealingKeyName, SecretFileError, read_secret_file};
use crate::custody::{CustodyError, Label, Places};
use crate::identity::TrustDomain;
use crate::store::{Version, replace_file};
use crate::telemetry::chain;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// For its owner alone.
const MODE: u32 = 0o600;

/// Where the sealing key is, and the one before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealingSettings {
    /// The file: the key, or the key as a place has wrapped it.
    pub file: PathBuf,
    /// The place that wraps it; none where it stands in the file as it is.
    pub place: Option<String>,
    /// The file of the key before it, wherever that was: what it sealed is sealed anew at the next start.
    pub former: Option<PathBuf>,
}

/// Why there is no sealing key.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    /// A keyring is there, but not the key that opens it.
    #[error("{path} is missing, and the keyring needs it: restore it from a backup")]
    Gone {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is none yet, and the file system takes none.
    #[error("the sealing key {path} cannot be written")]
    Make {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The file holds it in another way than the configuration says.
    #[error(
        "the sealing key {path} is {found}, and [keys] says {wanted}: to move it, name another sealing_key_file, which is \
         made, and this one as former_sealing_key_file; else mend sealing_place"
    )]
    Misplaced {
        /// Which file.
        path: PathBuf,
        /// How it is there.
        found: String,
        /// How it should be.
        wanted: String,
    },
    /// It is to be made, and the former one is not the keyring's.
    #[error("the sealing key {path} is not there, and is made only after a former one that opens the keyring")]
    NotFormer {
        /// Which file.
        path: PathBuf,
        /// Why it does not.
        #[source]
        source: Box<KeyringError>,
    },
    /// It says that it is wrapped, in no form that we know.
    #[error("{path} does not say how the sealing key is wrapped")]
    Odd {
        /// Which file.
        path: PathBuf,
        /// What is odd.
        #[source]
        odd: serde_json::Error,
    },
    /// The place does not wrap it, or does not open what it has wrapped.
    #[error(
        "the sealing key {path} is not to be had from where it is kept; nothing is changed or lost: mend that, and start again"
    )]
    Place {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<CustodyError>,
    },
    /// Somebody has copied it.
    #[error(
        "{path} holds the same key as {former}, its former one: remove the new file, and another key is made at the next start"
    )]
    Same {
        /// The new one's file.
        path: PathBuf,
        /// The former one's.
        former: PathBuf,
    },
    /// What the place gave is not what it was given.
    #[error("the place {place:?} gave another key than the one that {path} wraps: it is not the place that wrapped it")]
    Swapped {
        /// Which file.
        path: PathBuf,
        /// The place's configured name.
        place: String,
    },
    /// It cannot be read, or by others too.
    #[error("the sealing key {0}")]
    Unread(#[source] SecretFileError),
    /// Neither 32 bytes, nor wrapped.
    #[error("the sealing key {path} is not usable")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SealError,
    },
}

/// What a file says of a key that a place has wrapped.
#[derive(Deserialize, Serialize)]
struct Wrapped {
    v: Version<1>,
    /// The place's configured name.
    place: String,
    /// The wrapping key there.
    label: Label,
    /// The wrapped key.
    name: SealingKeyName,
    ciphertext: String,
}

impl SealingSettings {
    /// A key in a file, which no place wraps.
    pub const fn at(file: PathBuf) -> Self {
        Self { file, place: None, former: None }
    }

    /// The sealing key, with the former one where that is to be had.
    ///
    /// # Errors
    /// See [`SealingKeyError`].
    pub async fn open(&self, places: &Places) -> Result<Sealing, SealingKeyError> {
        let own = self.own(places).await?.ok_or_else(|| self.gone())?;
        let former = self.former(places).await;
        self.beside(own, former)
    }

    /// The same; makes the key where there is neither it nor a keyring, or where the former one opens the keyring.
    ///
    /// # Errors
    /// See [`SealingKeyError`].
    pub async fn open_or_make(
        &self,
        places: &Places,
        (keyring, trust_domain): (&Path, &TrustDomain),
    ) -> Result<Sealing, SealingKeyError> {
        let (own, former) = (self.own(places).await?, self.former(places).await);
        if let Some(own) = own {
            // Somebody has put it there, and what is sealed under it must not outlive it.
            let synced = File::open(&self.file).and_then(|file| file.sync_all());
            synced.map_err(|source| SealingKeyError::Make { path: self.file.clone(), source })?;
            return self.beside(own, former);
        }
        let former = if keyring.exists() {
            let former = former?.ok_or_else(|| self.gone())?;
            let opened = KeyringFile::new(keyring.to_owned(), Arc::clone(&former)).load(trust_domain);
            opened.map_err(|fault| SealingKeyError::NotFormer { path: self.file.clone(), source: Box::new(fault) })?;
            Some(former)
        } else {
            None
        };
        let own = self.make(places, trust_domain).await?;
        self.beside(own, Ok(former))
    }

    fn gone(&self) -> SealingKeyError {
        SealingKeyError::Gone { path: self.file.clone() }
    }

    /// One that is not to be had is told of and done without: nothing may be sealed under it any more.
    fn beside(
        &self,
        own: Arc<SealingKey>,
        former: Result<Option<Arc<SealingKey>>, SealingKeyError>,
    ) -> Result<Sealing, SealingKeyError> {
        let sealing = Sealing::from(own);
        let Some(path) = &self.former else { return Ok(sealing) };
        match former {
            Ok(Some(former)) if sealing.has(former.name()) => {
                Err(SealingKeyError::Same { path: self.file.clone(), former: path.clone() })
            }
            Ok(Some(former)) => Ok(sealing.after(former)),
            Ok(None) => {
                tracing::warn!("{} is gone: take former_sealing_key_file out of the configuration", path.display());
                Ok(sealing)
            }
            Err(fault) => {
                tracing::warn!(fault = %chain(&fault), "what only the former sealing key opens stays closed");
                Ok(sealing)
            }
        }
    }

    async fn own(&self, places: &Places) -> Result<Option<Arc<SealingKey>>, SealingKeyError> {
        let Some(kept) = Kept::read(&self.file)? else { return Ok(None) };
        if kept.place() != self.place.as_deref() {
            let (found, wanted) = (told(kept.place()), told(self.place.as_deref()));
            return Err(SealingKeyError::Misplaced { path: self.file.clone(), found, wanted });
        }
        kept.open(&self.file, places).await.map(Some)
    }

    async fn former(&self, places: &Places) -> Result<Option<Arc<SealingKey>>, SealingKeyError> {
        let Some(path) = &self.former else { return Ok(None) };
        match Kept::read(path)? {
            Some(kept) => kept.open(path, places).await.map(Some),
            None => Ok(None),
        }
    }

    async fn make(&self, places: &Places, trust_domain: &TrustDomain) -> Result<Arc<SealingKey>, SealingKeyError> {
        let (key, bytes) = SealingKey::generate();
        let text = match &self.place {
            None => Zeroizing::new(bytes.to_vec()),
            Some(place) => Zeroizing::new(self.wrapped((place, &key), &*bytes, (places, trust_domain)).await?),
        };
        // A crash or a full disk must not leave half a key, which no later start could use.
        let made = replace_file(&self.file, &text, MODE);
        made.map_err(|source| SealingKeyError::Make { path: self.file.clone(), source })?;
        Ok(Arc::new(key))
    }

    /// What the file is to say of a key. A place that does not open what it has wrapped is found now, not at the next start.
    async fn wrapped(
        &self,
        (place, key): (&str, &SealingKey),
        bytes: &[u8],
        (places, trust_domain): (&Places, &TrustDomain),
    ) -> Result<Vec<u8>, SealingKeyError> {
        let label = Label::wrapping(trust_domain);
        let wrapped = places.wrap(place, &label, bytes).await.map_err(of(&self.file))?;
        let kept = Wrapped {
            v: Version,
            place: place.to_owned(),
            label,
            name: key.name(),
            ciphertext: STANDARD.encode(wrapped),
        };
        kept.open(&self.file, places).await?;
        serde_json::to_vec_pretty(&kept)
            .map_err(|odd| SealingKeyError::Make { path: self.file.clone(), source: odd.into() })
    }
}

/// What a file holds.
enum Kept {
    Plain(Arc<SealingKey>),
    Wrapped(Wrapped),
}

impl Kept {
    /// None where there is no file.
    fn read(path: &Path) -> Result<Option<Self>, SealingKeyError> {
        let bytes = match read_secret_file(path) {
            Ok(bytes) => bytes,
            Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(unread) => return Err(SealingKeyError::Unread(unread)),
        };
        let path = path.to_owned();
        let plain = match SealingKey::from_bytes(&bytes) {
            Err(_) if bytes.starts_with(b"{") => {
                let wrapped = serde_json::from_slice(&bytes);
                return wrapped
                    .map(|wrapped| Some(Self::Wrapped(wrapped)))
                    .map_err(|odd| SealingKeyError::Odd { path, odd });
            }
            key => key.map_err(|source| SealingKeyError::Unusable { path, source })?,
        };
        Ok(Some(Self::Plain(Arc::new(plain))))
    }

    fn place(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Wrapped(wrapped) => Some(&wrapped.place),
        }
    }

    async fn open(self, path: &Path, places: &Places) -> Result<Arc<SealingKey>, SealingKeyError> {
        match self {
            Self::Plain(key) => Ok(key),
            Self::Wrapped(wrapped) => wrapped.open(path, places).await,
        }
    }
}

impl Wrapped {
    async fn open(&self, path: &Path, places: &Places) -> Result<Arc<SealingKey>, SealingKeyError> {
        let odd = |source| SealingKeyError::Odd { path: path.to_owned(), odd: serde::de::Error::custom(source) };
        let wrapped = STANDARD.decode(&self.ciphertext).map_err(odd)?;
        let opened = places.open(&self.place, &self.label, &wrapped).await.map_err(of(path))?;
        let key = SealingKey::from_bytes(&opened).ok().filter(|key| key.name() == self.name);
        let swapped = || SealingKeyError::Swapped { path: path.to_owned(), place: self.place.clone() };
        key.map(Arc::new).ok_or_else(swapped)
    }
}

fn of(path: &Path) -> impl Fn(CustodyError) -> SealingKeyError {
    |fault| SealingKeyError::Place { path: path.to_owned(), source: Box::new(fault) }
}

/// How a key is kept, in words.
fn told(place: Option<&str>) -> String {
    place.map_or_else(|| "in the clear".to_owned(), |place| format!("wrapped by {place:?}"))
}
