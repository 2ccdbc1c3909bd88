//! In which of the groups that rules name an account is.

use super::account::{Account, Untold};
use super::finding::{Directory, Groups};
use super::ldap::{Entry, Filter, Scope, Search};
use super::settings::Group;
use super::{DirectoryError, Sid};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// A group that was there is taken to be there so long.
const THERE_FOR: Duration = Duration::from_secs(300);

/// Which groups are there, and when that was last seen.
#[derive(Debug, Default)]
pub(super) struct KnownGroups(Mutex<HashMap<Group, OffsetDateTime>>);

impl KnownGroups {
    fn inside(&self) -> MutexGuard<'_, HashMap<Group, OffsetDateTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&self, group: &Group, now: OffsetDateTime) -> bool {
        self.inside().get(group).is_some_and(|at| *at <= now && now - *at < THERE_FOR)
    }

    fn seen(&self, group: &Group, now: OffsetDateTime) {
        self.inside().insert(group.clone(), now);
    }
}

impl Directory {
    /// The groups of an account, among those that have names. A name that nothing is behind leaves all of it open: an account
    /// that is not in a group which was renamed away is no proof of anything.
    pub(super) async fn groups_of(&self, account: &Account) -> Result<Groups, DirectoryError> {
        let settings = &self.settings;
        let by_sid = settings.groups.values().any(|group| matches!(group, Group::Sid(_)));
        let sids = if by_sid { self.sids_of(account).await? } else { BTreeSet::new() };
        let mut names = Vec::new();
        for (name, group) in &settings.groups {
            if !self.is_there(group).await? {
                return Ok(Err(format!("the directory has no group that is {name} in [directory.groups]")));
            }
            let is_in = match group {
                Group::Dn(dn) => !self.ask(account, Filter::Leads("memberOf", dn), &["objectSid"]).await?.is_empty(),
                Group::Sid(sid) => sids.contains(sid),
            };
            if is_in {
                names.push(name.clone());
            }
        }
        Ok(Ok(names))
    }

    /// Everything that an account is in at login: members of members, and its primary group. The directory makes this list
    /// only for a search of the one entry (MS-ADTS §3.1.1.4.5.19).
    async fn sids_of(&self, account: &Account) -> Result<BTreeSet<Sid>, DirectoryError> {
        const ALL: &str = "tokenGroups";
        let found = self.ask(account, Filter::Is("objectClass", b"user"), &[ALL]).await?;
        let values = found.first().and_then(|entry| entry.values(ALL)).ok_or(Untold(ALL))?;
        let sids: Result<_, _> = values.iter().map(|bytes| Sid::try_from(bytes.as_slice())).collect();
        Ok(sids.map_err(|_odd| Untold(ALL))?)
    }

    /// Asks something of an account's own entry. One that has moved since is found by nobody here, and at the next question.
    async fn ask(
        &self,
        account: &Account,
        filter: Filter<'_>,
        attributes: &[&str],
    ) -> Result<Vec<Entry>, DirectoryError> {
        self.client.search(&Search { base: &account.dn, scope: Scope::Base, filter, attributes, most: 1 }).await
    }

    async fn is_there(&self, group: &Group) -> Result<bool, DirectoryError> {
        let now = self.clock.now();
        if self.groups.is_there(group, now) {
            return Ok(true);
        }
        let is_group = Filter::Is("objectClass", b"group");
        let search = match group {
            Group::Dn(dn) => {
                Search { base: dn, scope: Scope::Base, filter: is_group, attributes: &["objectSid"], most: 1 }
            }
            Group::Sid(sid) => {
                let filter = Filter::All(vec![is_group, Filter::Is("objectSid", sid.as_bytes())]);
                let base = domain_of(&self.settings.base);
                Search { base, scope: Scope::Subtree, filter, attributes: &["objectSid"], most: 1 }
            }
        };
        let is_there = match self.client.search(&search).await {
            Err(fault) if fault.is_nowhere() => false,
            found => !found?.is_empty(),
        };
        if is_there {
            self.groups.seen(group, now);
        }
        Ok(is_there)
    }
}

/// Groups are often elsewhere than people: the part of a base that names its domain.
fn domain_of(base: &str) -> &str {
    let is_domain = |part: &str| part.trim_start().get(..3).is_some_and(|name| name.eq_ignore_ascii_case("dc="));
    let mut rest = base;
    while !is_domain(rest) {
        let Some((_, after)) = rest.split_once(',') else { return base };
        rest = after;
    }
    rest.trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_the_end_of_a_base() {
        for (base, domain) in [
            ("OU=People, OU=Corp, dc=corp,DC=example", "dc=corp,DC=example"),
            ("DC=corp,DC=example", "DC=corp,DC=example"),
            ("O=corp", "O=corp"),
        ] {
            assert_eq!(domain_of(base), domain);
        }
    }
}
