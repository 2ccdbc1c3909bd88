//! Which account is whose: pinned when a user of an issuer is first led to one, and held against all later answers.
//!
//! Two records say the same from both sides, and are written in one commit: no account answers for two users, and no user
//! has two accounts. What stands for an account is its digest, so that it is the same whether persons are sealed or not.

use crate::audit::{AccountWord, AdmitError, Auditable, Changes, Entry, Ledger, Person};
use crate::crypto::Digest;
use crate::people::{Form, People, PersonKey, Sealed};
use crate::store::{Committed, Condition, Revision, Store, StoreError, Version, Write};
use crate::token::IssuerName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::sync::Arc;

/// A user of an issuer.
pub type IssuerUser = (IssuerName, u64);

/// Whose pin is meant.
#[derive(Clone, Debug)]
pub enum Pinned {
    /// The one of this account: a GUID of Active Directory, an id of Okta.
    Account(IssuerName, String),
    /// This user's.
    User(IssuerUser),
}

/// Why an account does not answer for a user. It names nobody: this is written where persons may be sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotTheirs {
    /// The user was led to another one before.
    #[error(
        "another account than before answers to the token's user; find out why, and if it is right, let the former one be \
         forgotten: lanyard directory forget --help"
    )]
    AnotherAccount,
    /// Somebody else was led to it before.
    #[error(
        "the account of the token's user answers to another user of the issuer already; find out why, and if that one is gone \
         or had no right to it, let it be forgotten: lanyard directory forget --help"
    )]
    AnotherUser,
    /// They were erased a moment ago.
    #[error("the token's user has just been erased")]
    Erased,
}

/// What is kept of a user, under `account/<issuer>/<user>`; of a person who is sealed, the account is too.
#[derive(Deserialize, Serialize)]
struct Record {
    v: Version<1>,
    /// The first ones knew Active Directory only.
    #[serde(default, alias = "guid", skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<Sealed>,
}

/// What is kept of an account, under `account-of/<issuer>/<digest of the account>`.
#[derive(Deserialize, Serialize)]
struct Holder {
    v: Version<1>,
    /// The user's id, or what stands for a person who is sealed.
    user: String,
}

/// A user who is led to an account for the first time.
#[derive(Debug)]
struct First<'a> {
    issuer: &'a IssuerName,
    user: &'a str,
    account: Option<&'a str>,
}

/// What stands under a key, if anything does.
struct Kept<T> {
    key: String,
    said: Option<(T, Revision)>,
}

impl<T: Serialize> Kept<T> {
    fn said(&self) -> Option<&T> {
        self.said.as_ref().map(|(said, _)| said)
    }

    /// As long as it stands so.
    fn condition(&self) -> Condition {
        let key = self.key.clone();
        self.said
            .as_ref()
            .map_or_else(|| Condition::Absent(key.clone()), |(_, at)| Condition::Unchanged(key.clone(), *at))
    }

    /// Says it, where nothing stands yet.
    fn put(self, said: &T) -> Result<Option<Write>, StoreError> {
        let text = to_raw_value(said).map_err(|fault| StoreError::Index(fault.into()))?;
        Ok(self.said.is_none().then_some(Write::Put(self.key, text)))
    }

    fn delete(self) -> (Condition, Write) {
        (self.condition(), Write::Delete(self.key))
    }
}

/// By what a user may be known: what stands for the person, where there is a key, and the id.
struct Names {
    person: Option<Arc<PersonKey>>,
    id: String,
}

impl Names {
    /// The one that is written now.
    fn written(&self) -> String {
        self.person.as_ref().map_or_else(|| self.id.clone(), |person| person.name().to_string())
    }

    fn has(&self, name: &str) -> bool {
        name == self.id || name == self.written()
    }
}

/// The accounts of all users who were ever led to one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccountPins {
    store: Arc<dyn Store>,
    ledger: Ledger,
    people: People,
}

impl AccountPins {
    /// Those of a store.
    pub fn new(store: Arc<dyn Store>, ledger: Ledger, people: People) -> Self {
        Self { store, ledger, people }
    }

    /// Whether the journal may show whose account it was.
    pub(crate) fn are_shown(&self) -> bool {
        self.people.form() == Form::Plain
    }

    /// Whose account it was; none where nobody was led to one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn account_of(&self, user: &IssuerUser) -> Result<Option<String>, StoreError> {
        let of_user = self.of_user(&user.0, &self.names_of(user))?;
        Ok(of_user.said().and_then(|record| self.account_in(record)))
    }

    /// Holds an account against what is pinned, and pins it where nothing is.
    ///
    /// # Errors
    /// When the store cannot be read, or written.
    pub(crate) async fn hold(&self, user: &IssuerUser, account: &str) -> Result<Result<(), NotTheirs>, StoreError> {
        loop {
            let (issuer, names) = (&user.0, self.names_of(user));
            let (of_user, of_account) = (self.of_user(issuer, &names)?, self.of_account(issuer, account)?);
            if of_user.said().is_some_and(|record| self.account_in(record).as_deref() != Some(account)) {
                return Ok(Err(NotTheirs::AnotherAccount));
            }
            if of_account.said().is_some_and(|holder| !names.has(&holder.user)) {
                return Ok(Err(NotTheirs::AnotherUser));
            }
            let is_pinned = of_user.said.is_some() && of_account.said.is_some();
            // Only explained, by somebody of whom nothing is written yet.
            let is_unwritten = names.person.is_none() && !self.are_shown();
            if is_pinned || is_unwritten {
                return Ok(Ok(()));
            }
            if let Some(outcome) = self.pin((issuer, &names), (of_user, of_account), account).await? {
                return Ok(outcome);
            }
        }
    }

    /// None where somebody was faster.
    async fn pin(
        &self,
        (issuer, names): (&IssuerName, &Names),
        (of_user, of_account): (Kept<Record>, Kept<Holder>),
        account: &str,
    ) -> Result<Option<Result<(), NotTheirs>>, StoreError> {
        let person = names.person.as_ref();
        let sealed = person.and_then(|person| person.seal_more(&account));
        let shown = sealed.is_none().then(|| account.to_owned());
        let erased = person.map(|person| person.name().erased_key());
        let conditions = erased.clone().map(Condition::Absent).into_iter();
        let conditions = conditions.chain([of_user.condition(), of_account.condition()]).collect();
        let user = names.written();
        let writes = [
            of_user.put(&Record { v: Version, account: shown.clone(), person: sealed })?,
            of_account.put(&Holder { v: Version, user: user.clone() })?,
        ];
        let changes = Changes { conditions, writes: writes.into_iter().flatten().collect() };
        match self.ledger.admit(First { issuer, user: &user, account: shown.as_deref() }, changes).await {
            Ok(_recorded) => Ok(Some(Ok(()))),
            Err(AdmitError::Conflict { key, .. }) if Some(&key) == erased.as_ref() => Ok(Some(Err(NotTheirs::Erased))),
            Err(AdmitError::Conflict { .. }) => Ok(None),
            Err(AdmitError::Store(fault)) => Err(fault),
        }
    }

    /// Forgets whose account it was, by an operator's word; false where nobody knew.
    ///
    /// # Errors
    /// `Store`.
    pub async fn forget(&self, pinned: &Pinned, (by, say): (&Person, &str)) -> Result<bool, StoreError> {
        let (Pinned::Account(issuer, _) | Pinned::User((issuer, _))) = pinned;
        while let Some((user, changes)) = self.forgetting(pinned)? {
            let entry = Entry::AccountForgotten(AccountWord { issuer: &issuer.0, user: &user, by, say });
            if matches!(self.ledger.commit(&entry, changes).await?, Committed::Done(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What it takes to forget both records, and by which name they know the user; none where there are none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn forgetting(&self, pinned: &Pinned) -> Result<Option<(String, Changes)>, StoreError> {
        let (issuer, of_user, account) = match pinned {
            Pinned::Account(issuer, account) => {
                let Some((holder, _)) = self.of_account(issuer, account)?.said else { return Ok(None) };
                (issuer, self.read(user_key(issuer, &holder.user))?, Some(account.clone()))
            }
            Pinned::User(user) => {
                let of_user = self.of_user(&user.0, &self.names_of(user))?;
                let Some(record) = of_user.said() else { return Ok(None) };
                let account = self.account_in(record);
                (&user.0, of_user, account)
            }
        };
        let name = of_user.key.rsplit('/').next().unwrap_or_default().to_owned();
        let of_account = account.map(|account| self.of_account(issuer, &account)).transpose()?;
        let of_account = of_account.filter(|kept| kept.said().is_some_and(|holder| holder.user == name));
        let of_user: Option<Kept<Record>> = of_user.said.is_some().then_some(of_user);
        let both = of_user.map(Kept::delete).into_iter().chain(of_account.map(Kept::delete));
        let (conditions, writes) = both.unzip();
        Ok(Some((name, Changes { conditions, writes })))
    }

    fn account_in(&self, record: &Record) -> Option<String> {
        record.account.clone().or_else(|| self.people.open_more(record.person.as_ref()?))
    }

    /// Persons may have been in the clear when they were first led to an account.
    fn of_user(&self, issuer: &IssuerName, names: &Names) -> Result<Kept<Record>, StoreError> {
        let of_name = self.read(user_key(issuer, &names.written()))?;
        let of_id: Kept<Record> = self.read(user_key(issuer, &names.id))?;
        Ok(if of_name.said.is_none() && of_id.said.is_some() { of_id } else { of_name })
    }

    fn of_account(&self, issuer: &IssuerName, account: &str) -> Result<Kept<Holder>, StoreError> {
        self.read(format!("account-of/{issuer}/{}", Digest::of(account.as_bytes())))
    }

    fn read<T: DeserializeOwned>(&self, key: String) -> Result<Kept<T>, StoreError> {
        let said = self.store.read(&key)?.map(|stored| {
            let said = serde_json::from_str(stored.value.get()).map_err(|fault| StoreError::Index(fault.into()))?;
            Ok::<_, StoreError>((said, stored.revision))
        });
        Ok(Kept { key, said: said.transpose()? })
    }

    fn names_of(&self, (issuer, user_id): &IssuerUser) -> Names {
        let id = user_id.to_string();
        Names { person: self.people.person(issuer, &id), id }
    }
}

fn user_key(issuer: &IssuerName, name: &str) -> String {
    format!("account/{issuer}/{name}")
}

impl Auditable for First<'_> {
    fn entry(&self) -> Entry<'_> {
        let Self { issuer, user, account } = self;
        Entry::AccountRemembered { issuer: &issuer.0, user, account: account.map(str::to_owned) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::crypto::{Sealing, SealingKey};
    use crate::identity::TrustDomain;
    use crate::store::{IndexKind, LocalSettings, LocalStore, NoteSigner};
    use crate::token::Claims;
    use tempfile::TempDir;

    /// Of a store of its own, and persons' keys in a file of its own.
    pub(crate) struct Scene {
        folder: TempDir,
        store: Arc<dyn Store>,
    }

    impl Scene {
        pub(crate) fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let settings =
                LocalSettings { index: IndexKind::Memory, ..LocalSettings::new(folder.path().join("journal")) };
            let store = LocalStore::open(settings, NoteSigner::for_test(), Arc::new(SystemClock)).unwrap();
            Self { folder, store }
        }

        pub(crate) fn pins(&self, people: People) -> AccountPins {
            AccountPins::new(Arc::clone(&self.store), Ledger::new(Arc::clone(&self.store)), people)
        }

        fn people(&self) -> People {
            let sealing: Sealing = SealingKey::from_bytes(&[7; 32]).unwrap().into();
            let domain = TrustDomain::parse("ci.example.org").unwrap();
            People::open(self.folder.path().join(People::FILE), sealing, (Form::Sealed, &domain)).unwrap()
        }

        fn kept(&self) -> Vec<String> {
            let both = ["account/", "account-of/"].map(|prefix| self.store.list(prefix).unwrap());
            both.into_iter().flatten().map(|(key, stored)| format!("{key} {}", stored.value)).collect()
        }
    }

    const ALICE: &str = "00112233-4455-6677-8899-aabbccddeeff";
    const BOB: &str = "00ub0oNGTSWTBKOLGLNR";
    const BY: (&Person, &str) = (&Person { uid: 7, user: None }, "made anew");

    fn user(id: u64) -> IssuerUser {
        (IssuerName("corp".into()), id)
    }

    #[tokio::test]
    async fn an_account_answers_for_one_user_and_a_user_has_one_account() {
        let scene = Scene::new();
        let pins = scene.pins(People::default());
        let hold = async |id, account| pins.hold(&user(id), account).await.unwrap();
        assert_eq!((hold(51, ALICE).await, hold(51, ALICE).await), (Ok(()), Ok(())));
        assert_eq!(
            (hold(52, ALICE).await, hold(51, BOB).await),
            (Err(NotTheirs::AnotherUser), Err(NotTheirs::AnotherAccount))
        );
        assert_eq!(hold(52, BOB).await, Ok(()));
        assert_eq!(
            pins.hold(&(IssuerName("other".into()), 9), ALICE).await.unwrap(),
            Ok(()),
            "users of another issuer"
        );
        assert_eq!(scene.kept().len(), 6);
        for (pinned, was) in [
            (Pinned::User(user(51)), true),
            (Pinned::User(user(51)), false),
            (Pinned::Account(user(51).0, BOB.to_owned()), true),
            (Pinned::Account(user(51).0, BOB.to_owned()), false),
        ] {
            assert_eq!(pins.forget(&pinned, BY).await.unwrap(), was, "{pinned:?}");
        }
        assert_eq!(scene.kept().len(), 2);
        assert_eq!((hold(52, ALICE).await, hold(51, BOB).await), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn of_many_who_come_at_once_one_has_the_account() {
        let scene = Scene::new();
        let pins = scene.pins(People::default());
        let come = async |id| pins.hold(&user(id), ALICE).await.unwrap();
        let (a, b, c, d) = tokio::join!(come(1), come(2), come(3), come(1));
        let theirs = [a, b, c, d].into_iter().flatten().count();
        assert!((1..=2).contains(&theirs) && scene.kept().len() == 2, "{:?}", scene.kept());
    }

    #[tokio::test]
    async fn what_was_pinned_before_accounts_knew_their_users_is_completed() {
        let scene = Scene::new();
        let pins = scene.pins(People::default());
        let former = serde_json::value::RawValue::from_string(format!("{{\"v\":1,\"guid\":\"{ALICE}\"}}")).unwrap();
        for id in [51, 52] {
            let write = Write::Put(user_key(&user(id).0, &id.to_string()), former.clone());
            let first = First { issuer: &user(id).0, user: "x", account: None };
            pins.ledger.admit(first, Changes { conditions: Vec::new(), writes: vec![write] }).await.unwrap();
        }
        assert_eq!(pins.hold(&user(52), ALICE).await.unwrap(), Ok(()));
        assert_eq!(pins.hold(&user(51), ALICE).await.unwrap(), Err(NotTheirs::AnotherUser));
        assert_eq!(pins.hold(&user(51), BOB).await.unwrap(), Err(NotTheirs::AnotherAccount));
        assert!(pins.forget(&Pinned::User(user(51)), BY).await.unwrap());
        assert_eq!(pins.hold(&user(51), ALICE).await.unwrap(), Err(NotTheirs::AnotherUser), "the other one's stands");
    }

    /// Decided: nothing completes such pins at a start. No version was released that wrote them; whose account it is completes its own
    /// at their next job, and until then the first who comes has it, which the other hears of by name.
    #[tokio::test]
    async fn a_pin_of_one_side_protects_the_user_and_not_yet_the_account() {
        let scene = Scene::new();
        let pins = scene.pins(People::default());
        let former = serde_json::value::RawValue::from_string(format!("{{\"v\":1,\"guid\":\"{ALICE}\"}}")).unwrap();
        let write = Write::Put(user_key(&user(51).0, "51"), former);
        let first = First { issuer: &user(51).0, user: "x", account: None };
        pins.ledger.admit(first, Changes { conditions: Vec::new(), writes: vec![write] }).await.unwrap();
        assert_eq!(pins.hold(&user(51), BOB).await.unwrap(), Err(NotTheirs::AnotherAccount), "the user's side holds");
        assert_eq!(pins.hold(&user(53), ALICE).await.unwrap(), Ok(()), "the account's side is not there");
        assert_eq!(pins.hold(&user(51), ALICE).await.unwrap(), Err(NotTheirs::AnotherUser), "and nobody gets it twice");
        assert!(pins.forget(&Pinned::Account(user(53).0, ALICE.to_owned()), BY).await.unwrap());
        assert_eq!(pins.hold(&user(51), ALICE).await.unwrap(), Ok(()));
        assert_eq!(pins.hold(&user(53), ALICE).await.unwrap(), Err(NotTheirs::AnotherUser), "complete from now on");
    }

    #[tokio::test]
    async fn of_persons_who_are_sealed_nothing_shows_and_all_is_forgotten_with_them() {
        use crate::token::tests::claims_of;
        use serde_json::json;
        let scene = Scene::new();
        let (people, plain) = (scene.people(), scene.pins(People::default()));
        assert_eq!(plain.hold(&user(50), BOB).await.unwrap(), Ok(()));
        let pins = scene.pins(people.clone());
        assert_eq!(pins.hold(&user(51), ALICE).await.unwrap(), Ok(()), "only explained");
        assert_eq!(scene.kept().len(), 2);
        for id in [50, 51, 52] {
            let claims = claims_of("deploy_production_protected", &[("user_id".to_owned(), json!(id.to_string()))]);
            let claims = Claims { issuer: user(id).0, ..claims.unwrap().claims().clone() };
            people.keeping(&claims).await.unwrap();
        }
        assert_eq!(pins.hold(&user(51), ALICE).await.unwrap(), Ok(()));
        let shown = scene.kept().concat();
        assert!(!shown.contains(ALICE) && !shown.contains("\"51\"") && shown.contains("/corp/50 "), "{shown}");
        for (id, account, outcome) in [
            (52, ALICE, Err(NotTheirs::AnotherUser)),
            (52, BOB, Err(NotTheirs::AnotherUser)),
            (50, BOB, Ok(())),
            (51, ALICE, Ok(())),
        ] {
            assert_eq!(pins.hold(&user(id), account).await.unwrap(), outcome, "{id} {account}");
        }
        let (name, changes) = pins.forgetting(&Pinned::User(user(51))).unwrap().unwrap();
        assert_eq!((name.len(), changes.writes.len(), changes.conditions.len()), (32, 2, 2));
    }
}
