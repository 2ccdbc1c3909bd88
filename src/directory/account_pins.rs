//! Which account is whose: remembered when a user of an issuer is first led to one, and held against all later answers.

use super::DirectoryError;
use super::sid::Guid;
use crate::audit::{AdmitError, Auditable, Changes, Entry, Ledger, Person};
use crate::people::{Form, People, PersonKey, Sealed};
use crate::store::{Committed, Condition, Revision, Store, StoreError, Version, Write};
use crate::token::IssuerName;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::sync::Arc;

/// A user of an issuer.
pub type User = (IssuerName, u64);

/// What is kept of a user, under `account/<issuer>/<user>`; of a person who is sealed, the account is too.
#[derive(Deserialize, Serialize)]
struct Record {
    v: Version<1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guid: Option<Guid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<Sealed>,
}

/// A user who is led to an account for the first time.
struct First<'a> {
    issuer: &'a IssuerName,
    user: &'a str,
    account: Option<Guid>,
}

/// The accounts of all users who were ever led to one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Accounts {
    store: Arc<dyn Store>,
    ledger: Ledger,
    people: People,
}

impl Accounts {
    /// Those of a store.
    pub fn new(store: Arc<dyn Store>, ledger: Ledger, people: People) -> Self {
        Self { store, ledger, people }
    }

    /// Whose account it was; none where nobody was led to one.
    ///
    /// # Errors
    /// `Store`.
    pub(super) fn of(&self, user: &User) -> Result<Option<Guid>, DirectoryError> {
        let kept = self.kept(user)?;
        Ok(kept.and_then(|(_, record, _)| record.guid.or_else(|| self.people.open_more(&record.person?))))
    }

    /// Remembers it; whoever came first counts, and is answered.
    ///
    /// # Errors
    /// `Store`.
    pub(super) async fn remember(&self, user: &User, guid: Guid) -> Result<Guid, DirectoryError> {
        let person = self.person(user);
        if person.is_none() && self.people.form() == Form::Sealed {
            // Only explained, by somebody of whom nothing is written yet.
            return Ok(guid);
        }
        let sealed = person.as_ref().and_then(|key| key.seal_more(&guid));
        let (name, guid_shown) = (name_of(user, person.as_deref()), sealed.is_none().then_some(guid));
        let key = key(&user.0, &name);
        let record = Record { v: Version, guid: guid_shown, person: sealed };
        let record = to_raw_value(&record).map_err(|fault| StoreError::Index(fault.into()))?;
        let changes =
            Changes { conditions: vec![Condition::Absent(key.clone())], writes: vec![Write::Put(key, record)] };
        let first = First { issuer: &user.0, user: &name, account: guid_shown };
        match self.ledger.admit(first, changes).await {
            Ok(_recorded) => Ok(guid),
            Err(AdmitError::Conflict { .. }) => Ok(self.of(user)?.unwrap_or(guid)),
            Err(AdmitError::Store(fault)) => Err(fault.into()),
        }
    }

    /// Forgets whose account it was, by an operator's word; false where nobody knew.
    ///
    /// # Errors
    /// `Store`.
    pub async fn forget(&self, user: &User, (by, say): (&Person, &str)) -> Result<bool, StoreError> {
        while let Some((name, _, revision)) = self.kept(user)? {
            let key = key(&user.0, &name);
            let conditions = vec![Condition::Unchanged(key.clone(), revision)];
            let entry = Entry::AccountForgotten { issuer: &user.0.0, user: &name, by, say };
            let changes = Changes { conditions, writes: vec![Write::Delete(key)] };
            if matches!(self.ledger.commit(&entry, changes).await?, Committed::Done(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is kept, under which name. Persons may have been in the clear when they were first led to an account.
    fn kept(&self, user: &User) -> Result<Option<(String, Record, Revision)>, StoreError> {
        let person = self.person(user);
        let names =
            person.as_deref().map(|person| name_of(user, Some(person))).into_iter().chain([name_of(user, None)]);
        for name in names {
            if let Some(kept) = self.store.read(&key(&user.0, &name))? {
                let record = serde_json::from_str(kept.value.get()).map_err(|fault| StoreError::Index(fault.into()))?;
                return Ok(Some((name, record, kept.revision)));
            }
        }
        Ok(None)
    }

    /// The key of a person who is to be sealed, where there is one already.
    fn person(&self, (issuer, user_id): &User) -> Option<Arc<PersonKey>> {
        self.people.person(issuer, &user_id.to_string())
    }
}

/// What stands for a user: their id, or what stands for a person who is sealed.
fn name_of((_, user_id): &User, person: Option<&PersonKey>) -> String {
    person.map_or_else(|| user_id.to_string(), |person| person.name().to_string())
}

fn key(issuer: &IssuerName, name: &str) -> String {
    format!("account/{issuer}/{name}")
}

impl Auditable for First<'_> {
    fn entry(&self) -> Entry<'_> {
        let Self { issuer, user, account } = self;
        Entry::AccountRemembered { issuer: &issuer.0, user, account: account.map(|guid| guid.to_string()) }
    }
}
