//! Asks a directory: whose account a token's user has, whether that may act, and in which groups it is.

use super::account::{ATTRIBUTES, Account};
use super::client::Client;
use super::groups::KnownGroups;
use super::ldap::{Entry, Filter, LdapError, Scope, Search};
use super::settings::{DirectorySettings, dn_parts};
use super::sid::Guid;
use super::way::{Lookup, Sought};
use super::{AccountPins, AllLinks, DirectoryError, IssuerUser, NobodySought};
use crate::clock::Clock;
use crate::telemetry::chain;
use crate::token::Claims;
use std::borrow::Cow;
use std::sync::Arc;

/// A directory, and what is remembered of its accounts.
#[derive(Debug)]
pub struct Directory {
    pub(super) settings: Arc<DirectorySettings>,
    pub(super) pins: AccountPins,
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) groups: KnownGroups,
    links: AllLinks,
}

/// Whom a directory shows.
#[derive(Debug)]
pub enum Found {
    /// Nobody whose word could count for the token's user; why. It names nobody: this is written where persons may be sealed.
    Nobody(String),
    /// An account that may act.
    Person {
        /// Which; none where persons are sealed.
        account: Option<Guid>,
        /// Where it is in.
        groups: Groups,
    },
}

/// The groups of an account, by the names that rules use; or why they are not known.
pub type Groups = Result<Vec<String>, String>;

impl Directory {
    /// A directory of these settings; nobody is asked yet.
    pub fn new(settings: DirectorySettings, pins: AccountPins, clock: Arc<dyn Clock>) -> Self {
        let settings = Arc::new(settings);
        let client = Client::new(Arc::clone(&settings), Arc::clone(&clock));
        Self { settings, pins, client, clock, groups: KnownGroups::default(), links: AllLinks::new() }
    }

    /// Where each GitLab can be asked what it links its users to.
    #[must_use]
    pub fn asking(self, links: AllLinks) -> Self {
        Self { links, ..self }
    }

    /// What it was made of.
    pub fn settings(&self) -> &DirectorySettings {
        &self.settings
    }

    /// Whom to look for.
    ///
    /// # Errors
    /// See [`NobodySought`].
    pub fn sought(&self, claims: &Claims) -> Result<Sought, NobodySought> {
        Sought::of(claims, &self.settings.ways)
    }

    /// Looks for them.
    ///
    /// # Errors
    /// When nothing can be said.
    pub async fn find(&self, sought: &Sought) -> Result<Found, DirectoryError> {
        let known = self.guid_of(&sought.user)?;
        let account = match self.account(sought, known).await? {
            Ok(account) => account,
            Err(why) => return Ok(Found::Nobody(why.to_owned())),
        };
        if let Some(unfit) = account.unfit(self.clock.now()) {
            return Ok(Found::Nobody(unfit.to_string()));
        }
        if let Err(not_theirs) = self.pins.hold(&sought.user, &account.guid.to_string()).await? {
            return Ok(Found::Nobody(not_theirs.to_string()));
        }
        let groups = match self.groups_of(&account).await {
            // That it may act is known all the same.
            Err(fault) if fault.is_of_this_question() => Err(chain(&fault)),
            groups => groups?,
        };
        let account = self.pins.are_shown().then_some(account.guid);
        Ok(Found::Person { account, groups })
    }

    /// Whose account it was, where it was one of Active Directory.
    pub(super) fn guid_of(&self, user: &IssuerUser) -> Result<Option<Guid>, DirectoryError> {
        Ok(self.pins.account_of(user)?.and_then(|account| account.parse().ok()))
    }

    /// The one account that is meant, or why there is none.
    async fn account(
        &self,
        sought: &Sought,
        known: Option<Guid>,
    ) -> Result<Result<Account, &'static str>, DirectoryError> {
        let mut is_linked = false;
        for lookup in &sought.by {
            let lookup = match self.told(lookup, &sought.user).await? {
                Ok(Some(lookup)) => lookup,
                Ok(None) => continue,
                Err(several) => return Ok(Err(several)),
            };
            is_linked = true;
            let found = match &*lookup {
                Lookup::Asked(_) => continue,
                Lookup::Dn(dn) => self.at(dn).await?,
                Lookup::Is { attribute, value } => self.below_base((attribute, value.as_bytes())).await?,
            };
            match (found.as_slice(), &*lookup) {
                ([one], Lookup::Is { attribute, value }) if !says(one, attribute, value) => return Ok(Err(NONE)),
                ([one], _) => return Ok(Ok(Account::read(one)?)),
                ([], Lookup::Asked(_) | Lookup::Dn(_)) => {}
                ([], Lookup::Is { .. }) => return Ok(Err(NONE)),
                ([_, _, ..], _) => return Ok(Err(SEVERAL)),
            }
            // Where the account is remembered, it has only moved.
            if let Some(guid) = known {
                let found = self.below_base(("objectGUID", guid.as_bytes())).await?;
                return Ok(match found.as_slice() {
                    [one] => Ok(Account::read(one)?),
                    _ => Err(NONE),
                });
            }
        }
        Ok(Err(if is_linked { MOVED } else { UNLINKED }))
    }

    /// What to look for, with what GitLab tells where it is to be asked.
    async fn told<'s>(
        &self,
        lookup: &'s Lookup,
        (issuer, user_id): &IssuerUser,
    ) -> Result<Result<Option<Cow<'s, Lookup>>, &'static str>, DirectoryError> {
        let Lookup::Asked(way) = lookup else { return Ok(Ok(Some(Cow::Borrowed(lookup)))) };
        let nobody = || DirectoryError::Links("the issuer has no [issuer.api]".to_owned());
        let links = self.links.get(issuer).ok_or_else(nobody)?.of(*user_id).await.map_err(DirectoryError::Links)?;
        Ok(way.among(&links).map(|lookup| lookup.map(Cow::Owned)).map_err(|_two| TWO_LINKS))
    }

    /// The account at a DN, if it is below the base.
    async fn at(&self, dn: &str) -> Result<Vec<Entry>, DirectoryError> {
        let search =
            Search { base: dn, scope: Scope::Base, filter: person(Vec::new()), attributes: &ATTRIBUTES, most: 1 };
        match self.client.search(&search).await {
            Err(fault) if fault.is_nowhere() => Ok(Vec::new()),
            found => Ok(found?.into_iter().filter(|entry| is_below(&entry.dn, &self.settings.base)).collect()),
        }
    }

    /// The accounts that fit; two are as many as are told.
    async fn below_base(&self, (attribute, value): (&str, &[u8])) -> Result<Vec<Entry>, DirectoryError> {
        let (base, filter) = (self.settings.base.as_str(), person(vec![Filter::Is(attribute, value)]));
        let attributes: Vec<&str> = ATTRIBUTES.into_iter().chain([attribute]).collect();
        let search = Search { base, scope: Scope::Subtree, filter, attributes: &attributes, most: 2 };
        match self.client.search(&search).await {
            Err(DirectoryError::Ldap { fault: LdapError::TooMany, .. }) => Ok(vec![Entry::default(); 2]),
            found => found,
        }
    }
}

const NONE: &str = "the directory knows no account of the token's user";
const MOVED: &str = "the account that GitLab links to is not there: it was renamed, moved or deleted, and GitLab has not \
                     noticed, and no other way leads to it";
const TWO_LINKS: &str = "GitLab links the token's user to two accounts of one provider";
const UNLINKED: &str = "GitLab links the token's user to no account of the directory, or has blocked them";
const SEVERAL: &str = "more than one account fits what the token says of its user";

/// A user's object that is a person's; computers are users too.
pub(super) fn person(more: Vec<Filter<'_>>) -> Filter<'_> {
    let mut all = vec![Filter::Is("objectCategory", b"person"), Filter::Is("objectClass", b"user")];
    all.extend(more);
    Filter::All(all)
}

/// Whether an entry has just this value: to Active Directory also texts with other accents or widths are equal.
fn says(entry: &Entry, attribute: &str, value: &str) -> bool {
    let values = entry.values(attribute).unwrap_or_default();
    values.iter().any(|one| one.eq_ignore_ascii_case(value.as_bytes()))
}

/// Whether a DN, as the directory writes it, is that of an entry at or below another.
fn is_below(dn: &str, base: &str) -> bool {
    dn_parts(dn).ends_with(&dn_parts(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_just_the_value_that_was_asked_for() {
        let values = vec![b"ada@corp.example".to_vec(), b"Countess@corp.example".to_vec()];
        let entry = Entry { dn: String::new(), attributes: [("mail".to_owned(), values)].into() };
        for (value, is_said) in [
            ("ada@corp.example", true),
            ("Ada@CORP.example", true),
            ("countess@corp.example", true),
            ("ad\u{e0}@corp.example", false),
            ("\u{ff41}da@corp.example", false),
            ("", false),
        ] {
            assert_eq!(says(&entry, "Mail", value), is_said, "{value}");
        }
        assert!(!says(&entry, "userPrincipalName", "ada@corp.example"));
    }

    #[test]
    fn an_entry_is_below_its_base_however_that_is_written() {
        let base = "OU=People, DC=corp,dc=EXAMPLE";
        for (dn, below) in [
            ("CN=Ada,OU=People,DC=corp,DC=example", true),
            ("OU=People,DC=corp,DC=example", true),
            ("CN=Ada,OU=Others,DC=corp,DC=example", false),
            ("CN=Ada\\,OU=People,DC=corp,DC=example,DC=x", false),
            ("CN=Ada,XOU=People,DC=corp,DC=example", false),
            ("", false),
        ] {
            assert_eq!(is_below(dn, base), below, "{dn}");
        }
    }
}
