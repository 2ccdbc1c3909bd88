//! All persons' keys: found in memory, made when a person first comes, deleted when one is to be forgotten.

use super::file::{FileId, PeopleFile, Person, read_people};
use super::person_key::PersonKey;
use super::personal::PersonId;
use super::{Keeping, PeopleError, PersonName, Personal, Sealed};
use crate::crypto::Sealing;
use crate::identity::TrustDomain;
use crate::token::{Claims, IssuerName};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How journal and store tell of persons.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// In the clear, for as long as the journal is kept.
    #[default]
    Plain,
    /// Under a key per person.
    Sealed,
}

/// The persons' keys. Cheap to clone; without any, nothing opens.
#[derive(Clone, Debug, Default)]
pub struct People {
    form: Form,
    inside: Arc<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    keys: RwLock<Keys>,
    /// Who is about to be given a key: whoever has the file next writes all of them at once.
    waiting: Mutex<Vec<PersonId>>,
    /// A reader has none.
    file: Mutex<Option<PeopleFile>>,
    /// Which file it is; none where there was none.
    id: Option<FileId>,
}

#[derive(Debug, Default)]
struct Keys {
    by_person: HashMap<PersonId, Arc<PersonKey>>,
    by_name: HashMap<PersonName, Arc<PersonKey>>,
}

impl Keys {
    fn insert(&mut self, (id, key): Person) {
        self.by_name.insert(key.name, Arc::clone(&key));
        self.by_person.insert(id, key);
    }

    fn of(people: Vec<Person>) -> Self {
        let mut keys = Self::default();
        for person in people {
            keys.insert(person);
        }
        keys
    }

    fn remove(&mut self, (id, key): &Person) {
        self.by_person.remove(id);
        self.by_name.remove(&key.name);
    }
}

impl People {
    /// In the data folder: the keys.
    pub const FILE: &'static str = "people.keys";

    /// Reads the keys that there are, to open what they have sealed; nothing is written, and a server may be at work.
    ///
    /// # Errors
    /// See [`PeopleError`].
    pub fn read(path: &Path, sealing: &Sealing) -> Result<Self, PeopleError> {
        let keys = Keys::of(read_people(path, sealing)?.people);
        let inside = Inside { keys: RwLock::new(keys), ..Inside::default() };
        Ok(Self { form: Form::Plain, inside: Arc::new(inside) })
    }

    /// The keys of a server, which alone writes them.
    ///
    /// # Errors
    /// See [`PeopleError`].
    pub fn open(
        path: PathBuf,
        sealing: Sealing,
        (form, trust_domain): (Form, &TrustDomain),
    ) -> Result<Self, PeopleError> {
        let (mut file, people) = PeopleFile::open(path, sealing, trust_domain)?;
        file.tidy()?;
        if form == Form::Sealed && file.id().is_none() {
            // From now on a file that is not there is one that was lost.
            file.keep(&[])?;
        }
        let id = file.id();
        let (keys, file) = (RwLock::new(Keys::of(people)), Mutex::new(Some(file)));
        Ok(Self { form, inside: Arc::new(Inside { keys, waiting: Mutex::default(), file, id }) })
    }

    /// Which file the keys are kept in; none where there is none.
    pub(super) fn file_id(&self) -> Option<FileId> {
        self.inside.id.clone()
    }

    /// How persons are written.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// How what these claims tell of a person is written down. A new person's key is durable first.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn keeping(&self, claims: &Claims) -> Result<Keeping, PeopleError> {
        let Some(id) = (self.form == Form::Sealed).then(|| PersonId::of(claims)).flatten() else {
            return Ok(Keeping::Open);
        };
        self.keeping_of(id).await
    }

    async fn keeping_of(&self, id: PersonId) -> Result<Keeping, PeopleError> {
        if let Some(known) = self.key_of(&id) {
            return Ok(Keeping::Sealed(known));
        }
        let people = self.clone();
        let adding = tokio::task::spawn_blocking(move || people.add(&id)); // a file: no work for a thread that serves others
        adding.await.map_err(|_stopped| PeopleError::Stopped)?.map(Keeping::Sealed)
    }

    /// What is told of somebody, sealed under their key, which is durable first; none where persons stand in the clear.
    ///
    /// # Errors
    /// When the key cannot be written.
    pub async fn sealed(&self, (issuer, user): (&IssuerName, &str), told: &str) -> Result<Option<Sealed>, PeopleError> {
        if self.form == Form::Plain {
            return Ok(None);
        }
        let keeping = self.keeping_of(PersonId { issuer: issuer.clone(), user: user.to_owned() }).await?;
        let Keeping::Sealed(key) = keeping else { return Ok(None) };
        key.seal_more(&told).map(Some).ok_or(PeopleError::Stopped)
    }

    fn add(&self, id: &PersonId) -> Result<Arc<PersonKey>, PeopleError> {
        self.waiting().push(id.clone());
        self.with_file(|file| {
            if let Some(known) = self.key_of(id) {
                return Ok(known);
            }
            let mut new: HashSet<_> = mem::take(&mut *self.waiting()).into_iter().collect();
            new.retain(|id| self.key_of(id).is_none());
            new.insert(id.clone());
            for person in file.add(new)? {
                self.keys_mut().insert(person);
            }
            self.key_of(id).ok_or(PeopleError::Stopped)
        })
    }

    /// The personal claims; none once their person is erased.
    pub fn open_sealed(&self, sealed: &Sealed) -> Option<Personal> {
        self.open_more(sealed)
    }

    /// What else was sealed of a person; none once they are erased.
    pub fn open_more<T: DeserializeOwned>(&self, sealed: &Sealed) -> Option<T> {
        let key = self.keys().by_name.get(&sealed.name).map(Arc::clone);
        key?.open(sealed)
    }

    /// The key of an issuer's user, where there is one.
    pub fn person(&self, issuer: &IssuerName, user: &str) -> Option<Arc<PersonKey>> {
        self.key_of(&PersonId { issuer: issuer.clone(), user: user.to_owned() })
    }

    /// Puts what was sealed of claims back into them. Whether it opened: what was none needs not.
    pub fn put_back(&self, claims: &mut Claims, person: Option<&Sealed>) -> bool {
        let Some(sealed) = person else { return true };
        let opened = self.open_sealed(sealed).map(|personal| personal.restore((&mut claims.subject, &mut claims.more)));
        opened.is_some()
    }

    /// What stands for a user of an issuer; none where no key is kept.
    pub fn name_of(&self, issuer: &IssuerName, user: &str) -> Option<PersonName> {
        self.person(issuer, user).map(|key| key.name)
    }

    /// Deletes persons' keys, durably. Whoever is not there is erased already.
    ///
    /// # Errors
    /// When the file cannot be replaced; then nothing is deleted.
    pub async fn erase(&self, names: Vec<PersonName>) -> Result<(), PeopleError> {
        let people = self.clone();
        let erasing = tokio::task::spawn_blocking(move || people.erase_now(&names));
        erasing.await.map_err(|_stopped| PeopleError::Stopped)?
    }

    fn erase_now(&self, names: &[PersonName]) -> Result<(), PeopleError> {
        self.with_file(|file| {
            let all: Vec<Person> =
                self.keys().by_person.iter().map(|(id, key)| (id.clone(), Arc::clone(key))).collect();
            let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, key)| names.contains(&key.name));
            if gone.is_empty() {
                return Ok(());
            }
            file.keep(&left)?;
            for person in &gone {
                self.keys_mut().remove(person);
            }
            Ok(())
        })
    }

    /// Nobody else reads or changes who is in the file meanwhile.
    fn with_file<T>(&self, work: impl FnOnce(&mut PeopleFile) -> Result<T, PeopleError>) -> Result<T, PeopleError> {
        let file = self.inside.file.lock();
        work(file.unwrap_or_else(PoisonError::into_inner).as_mut().ok_or(PeopleError::Stopped)?)
    }

    fn key_of(&self, id: &PersonId) -> Option<Arc<PersonKey>> {
        self.keys().by_person.get(id).map(Arc::clone)
    }

    /// A holder that panicked left a whole table behind; so below.
    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.inside.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<PersonId>> {
        self.inside.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys_mut(&self) -> RwLockWriteGuard<'_, Keys> {
        self.inside.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}
