//! Which account is whose: remembered when a user of an issuer is first led to one, and held against all later answers.

use super::DirectoryError;
use super::sid::Guid;
use crate::audit::{AdmitError, Auditable, Changes, Entry, Ledger};
use crate::people::People;
use crate::store::{Condition, Store, StoreError, Version, Write};
use crate::token::IssuerName;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::sync::Arc;

/// How the names of the records begin.
const PREFIX: &str = "account/";

/// What is kept of a user, under `account/<issuer>/<user>`.
#[derive(Deserialize, Serialize)]
struct Record {
    v: Version<1>,
    guid: Guid,
}

/// A user who is led to an account for the first time.
struct First<'a> {
    issuer: &'a IssuerName,
    user: &'a str,
    guid: Guid,
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
    pub(super) fn of(&self, issuer: &IssuerName, user_id: u64) -> Result<Option<Guid>, DirectoryError> {
        let kept = self.store.read(&self.key(issuer, user_id))?;
        let record = |kept: crate::store::Stored| serde_json::from_str::<Record>(kept.value.get());
        Ok(kept.map(record).transpose().map_err(|fault| StoreError::Index(fault.into()))?.map(|record| record.guid))
    }

    /// Remembers it; whoever came first counts, and is answered.
    ///
    /// # Errors
    /// `Store`.
    pub(super) async fn remember(
        &self,
        (issuer, user_id): (&IssuerName, u64),
        guid: Guid,
    ) -> Result<Guid, DirectoryError> {
        let key = self.key(issuer, user_id);
        let user = key.rsplit('/').next().unwrap_or_default().to_owned();
        let record = to_raw_value(&Record { v: Version, guid }).map_err(|fault| StoreError::Index(fault.into()))?;
        let changes =
            Changes { conditions: vec![Condition::Absent(key.clone())], writes: vec![Write::Put(key, record)] };
        match self.ledger.admit(First { issuer, user: &user, guid }, changes).await {
            Ok(_recorded) => Ok(guid),
            Err(AdmitError::Conflict { .. }) => Ok(self.of(issuer, user_id)?.unwrap_or(guid)),
            Err(AdmitError::Store(fault)) => Err(fault.into()),
        }
    }

    /// By the user's id, or by what stands for a person who is sealed.
    fn key(&self, issuer: &IssuerName, user_id: u64) -> String {
        let user = user_id.to_string();
        match self.people.name_of(issuer, &user) {
            Some(person) => format!("{PREFIX}{issuer}/{person}"),
            None => format!("{PREFIX}{issuer}/{user}"),
        }
    }
}

impl Auditable for First<'_> {
    fn entry(&self) -> Entry<'_> {
        let Self { issuer, user, guid } = self;
        Entry::AccountRemembered { issuer: &issuer.0, user, account: guid.to_string() }
    }
}
