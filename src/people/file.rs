//! The persons' keys at rest: one line a person, each sealed; a new one is appended and synced, and whoever is erased is
//! left out of a new file that takes the place of the old.

use super::person_key::{PersonKey, PersonName, context};
use super::personal::PersonId;
use crate::crypto::{Digest, Random, SealedKey, Sealing, Unsealed};
use crate::identity::TrustDomain;
use crate::store::{Version, replace_file};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::{Zeroize as _, Zeroizing};

/// For its owner alone.
const MODE: u32 = 0o600;

/// Why the persons' keys cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The file system said no.
    #[error("the persons' keys {path} cannot be read or written")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A line is not ours, or not for this sealing key.
    #[error(
        "line {line} of {path} does not open: wrong sealing key (the one before is named as former_sealing_key_file in \
         [keys]), a file from another place, or a changed one; restore it from a backup"
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The file is for another trust domain.
    #[error("{path} holds the persons' keys of {found}, the configuration says {wanted}")]
    TrustDomain {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        found: TrustDomain,
        /// What is configured.
        wanted: TrustDomain,
    },
    /// Whoever worked on it was stopped.
    #[error("the server is stopping")]
    Stopped,
}

/// The first line.
#[derive(Deserialize, Serialize)]
struct Head {
    v: Version<1>,
    trust_domain: TrustDomain,
    /// Tells it from any other file; empty in those of older versions.
    #[serde(default)]
    id: FileId,
}

/// Names a file of persons' keys for as long as there is one.
pub(super) type FileId = Arc<str>;

/// Each further line.
#[derive(Deserialize, Serialize)]
struct Line {
    name: PersonName,
    sealed: SealedKey,
}

/// What is sealed in a line.
#[derive(Deserialize, Serialize)]
struct Inside {
    #[serde(flatten)]
    id: PersonId,
    key: String,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// A person and the key.
pub(super) type Person = (PersonId, Arc<PersonKey>);

/// Where the keys are kept, and the key that opens them.
#[derive(Debug)]
pub(super) struct PeopleFile {
    path: PathBuf,
    sealing: Sealing,
    trust_domain: TrustDomain,
    id: FileId,
    /// Whole lines; none before there is a file.
    length: Option<u64>,
}

impl PeopleFile {
    /// Reads who is in the file, if there is one. What a crash left behind its last whole line was used by nobody.
    /// What a former key has sealed is sealed anew.
    pub(super) fn open(
        path: PathBuf,
        sealing: Sealing,
        wanted: &TrustDomain,
    ) -> Result<(Self, Vec<Person>), PeopleError> {
        let Contents { trust_domain, id, people, length, is_of_former } = read_people(&path, &sealing)?;
        let id = if length.is_some() { id } else { Digest::of(&Random::system().bytes::<32>()).to_string().into() };
        match trust_domain {
            Some(found) if found != *wanted => Err(PeopleError::TrustDomain { path, found, wanted: wanted.clone() }),
            Some(_) | None => {
                let mut file = Self { path, sealing, trust_domain: wanted.clone(), id, length };
                if is_of_former {
                    file.keep(&people)?;
                }
                Ok((file, people))
            }
        }
    }

    /// Which file it is; none before there is one.
    pub(super) fn id(&self) -> Option<FileId> {
        self.length.map(|_| Arc::clone(&self.id))
    }

    /// What a crash left beside it or at its end is taken away: there, keys would outlive their erasure.
    pub(super) fn tidy(&self) -> Result<(), PeopleError> {
        let aside = self.path.with_extension("new");
        match fs::remove_file(&aside) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(self.io(fault)),
            Ok(()) | Err(_) => {}
        }
        let Some(length) = self.length else { return Ok(()) };
        let file = OpenOptions::new().write(true).open(&self.path).map_err(|source| self.io(source))?;
        file.set_len(length).map_err(|source| self.io(source))
    }

    fn close(&self, (id, key): &Person, to: &mut Vec<u8>) -> io::Result<()> {
        let inside = Inside { id: id.clone(), key: STANDARD.encode(key.bytes.as_slice()) };
        let inside = Zeroizing::new(serde_json::to_vec(&inside)?);
        let sealed = self.sealing.seal(context(&self.trust_domain, key.name), &inside);
        serde_json::to_writer(&mut *to, &Line { name: key.name, sealed })?;
        to.push(b'\n');
        Ok(())
    }

    /// Makes keys for persons, and adds them durably: only then may they be used.
    pub(super) fn add(&mut self, ids: impl IntoIterator<Item = PersonId>) -> Result<Vec<Person>, PeopleError> {
        let made = |id| (id, Arc::new(PersonKey::generate(self.trust_domain.clone())));
        let people: Vec<Person> = ids.into_iter().map(made).collect();
        let added = match self.length {
            None => self.replace(&people),
            Some(length) => self.append(&people, length),
        };
        added.map_err(|source| self.io(source)).map(|()| people)
    }

    fn append(&mut self, people: &[Person], length: u64) -> io::Result<()> {
        let mut text = Vec::new();
        people.iter().try_for_each(|person| self.close(person, &mut text))?;
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        // A full disk may have left a piece of a line before.
        file.set_len(length)?;
        file.write_all(&text)?;
        file.sync_data()?;
        self.length = Some(length + length_of(&text));
        Ok(())
    }

    /// Only these stand in it from now on. A crash leaves the former or the new one, whole.
    pub(super) fn keep(&mut self, people: &[Person]) -> Result<(), PeopleError> {
        self.replace(people).map_err(|source| self.io(source))
    }

    fn replace(&mut self, people: &[Person]) -> io::Result<()> {
        let mut text = serde_json::to_vec(&Head {
            v: Version,
            trust_domain: self.trust_domain.clone(),
            id: Arc::clone(&self.id),
        })?;
        text.push(b'\n');
        people.iter().try_for_each(|person| self.close(person, &mut text))?;
        let replaced = replace_file(&self.path, &text, MODE);
        // What only could not be synced stands there all the same, and the next person is written behind it.
        if replaced.is_ok() || fs::read(&self.path).is_ok_and(|there| there == text) {
            self.length = Some(length_of(&text));
        }
        replaced
    }

    fn io(&self, source: io::Error) -> PeopleError {
        PeopleError::Io { path: self.path.clone(), source }
    }
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Contents {
    trust_domain: Option<TrustDomain>,
    id: FileId,
    pub(super) people: Vec<Person>,
    length: Option<u64>,
    /// Whether some line opens with the former key only.
    is_of_former: bool,
}

/// Who is in a file; nobody where there is none. A server may be writing to it.
pub(super) fn read_people(path: &Path, sealing: &Sealing) -> Result<Contents, PeopleError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(absent) if absent.kind() == ErrorKind::NotFound => return Ok(Contents::default()),
        Err(source) => return Err(PeopleError::Io { path: path.to_owned(), source }),
    };
    let lines = (1..).zip(text.split_inclusive(|byte| *byte == b'\n'));
    let mut contents = Contents::default();
    for (number, line) in lines.filter(|(_, line)| line.ends_with(b"\n")) {
        contents.take(line, sealing).ok_or_else(|| PeopleError::Line { path: path.to_owned(), line: number })?;
    }
    Ok(contents)
}

impl Contents {
    fn take(&mut self, line: &[u8], sealing: &Sealing) -> Option<()> {
        match &self.trust_domain {
            None => {
                let Head { trust_domain, id, .. } = serde_json::from_slice(line).ok()?;
                (self.trust_domain, self.id) = (Some(trust_domain), id);
            }
            Some(trust_domain) => {
                let (person, is_of_former) = opened(line, sealing, trust_domain)?;
                self.people.push(person);
                self.is_of_former |= is_of_former;
            }
        }
        self.length = Some(self.length.unwrap_or_default() + length_of(line));
        Some(())
    }
}

/// A person, and whether only the former key opens the line.
fn opened(line: &[u8], sealing: &Sealing, trust_domain: &TrustDomain) -> Option<(Person, bool)> {
    let Line { name, sealed } = serde_json::from_slice(line).ok()?;
    let Unsealed { secret, is_of_former } = sealing.unseal(context(trust_domain, name), &sealed).ok()?;
    let inside: Inside = serde_json::from_slice(&secret).ok()?;
    let bytes = Zeroizing::new(STANDARD.decode(&inside.key).ok()?);
    let key = PersonKey::from_bytes(Zeroizing::new(bytes.as_slice().try_into().ok()?), trust_domain.clone());
    (key.name == name).then(|| ((inside.id.clone(), Arc::new(key)), is_of_former))
}

fn length_of(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
