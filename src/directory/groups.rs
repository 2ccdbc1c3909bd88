//! In which of the groups that rules name an account is: in all that give it rights at login, its primary group among them.

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
/// What is asked of a group.
const OF_GROUP: [&str; 2] = ["objectSid", "groupType"];

/// Which groups are there: by which SID, and when that was last seen.
#[derive(Debug, Default)]
pub(super) struct KnownGroups(Mutex<HashMap<Group, (Sid, OffsetDateTime)>>);

impl KnownGroups {
    fn inside(&self) -> MutexGuard<'_, HashMap<Group, (Sid, OffsetDateTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sid_of(&self, group: &Group, now: OffsetDateTime) -> Option<Sid> {
        let is_fresh = |(_, at): &&(Sid, OffsetDateTime)| *at <= now && now - *at < THERE_FOR;
        self.inside().get(group).filter(is_fresh).map(|(sid, _)| sid.clone())
    }

    fn seen(&self, group: &Group, sid: Sid, now: OffsetDateTime) {
        self.inside().insert(group.clone(), (sid, now));
    }
}

impl Directory {
    /// The groups of an account, among those that have names. A name that nothing is behind leaves all of it open: an account
    /// that is not in a group which was renamed away is no proof of anything.
    pub(super) async fn groups_of(&self, account: &Account) -> Result<Groups, DirectoryError> {
        let named = &self.settings.groups;
        let held = if named.is_empty() { BTreeSet::new() } else { self.sids_of(account).await? };
        let mut theirs = Vec::new();
        for (name, group) in named {
            match self.sid_of(group).await? {
                Ok(sid) if held.contains(&sid) => theirs.push(name.clone()),
                Ok(_not_held) => {}
                Err(why) => return Ok(Err(format!("the directory has {why} that is {name} in [directory.groups]"))),
            }
        }
        Ok(Ok(theirs))
    }

    /// Everything that an account is in at login: members of members, and its primary group. The directory makes this list
    /// only for a search of the one entry (MS-ADTS §3.1.1.4.5.19).
    async fn sids_of(&self, account: &Account) -> Result<BTreeSet<Sid>, DirectoryError> {
        const ALL: &str = "tokenGroups";
        let (base, filter) = (account.dn.as_str(), Filter::Is("objectClass", b"user"));
        // One that has moved since is found by nobody here, and at the next question.
        let search = Search { base, scope: Scope::Base, filter, attributes: &[ALL], most: 1 };
        let found = self.client.search(&search).await?;
        let values = found.first().and_then(|entry| entry.values(ALL)).ok_or(Untold(ALL))?;
        let sids: Result<_, _> = values.iter().map(|bytes| Sid::try_from(bytes.as_slice())).collect();
        Ok(sids.map_err(|_odd| Untold(ALL))?)
    }

    /// By which SID a group is among those; or what is there in its place.
    async fn sid_of(&self, group: &Group) -> Result<Result<Sid, &'static str>, DirectoryError> {
        let now = self.clock.now();
        if let Some(sid) = self.groups.sid_of(group, now) {
            return Ok(Ok(sid));
        }
        let is_group = Filter::Is("objectClass", b"group");
        let (base, scope, filter) = match group {
            Group::Dn(dn) => (dn.as_str(), Scope::Base, is_group),
            Group::Sid(sid) => {
                let filter = Filter::All(vec![is_group, Filter::Is("objectSid", sid.as_bytes())]);
                (domain_of(&self.settings.base), Scope::Subtree, filter)
            }
        };
        let found = match self.client.search(&Search { base, scope, filter, attributes: &OF_GROUP, most: 1 }).await {
            Err(fault) if fault.is_nowhere() => Vec::new(),
            found => found?,
        };
        let Some(entry) = found.first() else { return Ok(Err("no group")) };
        let sid = read_group(entry)?;
        if let Some(sid) = &sid {
            self.groups.seen(group, sid.clone(), now);
        }
        Ok(sid.ok_or("a distribution list, which gives nobody a right, instead of the security group"))
    }
}

/// Its SID; none of a list for mail, which no login counts.
fn read_group(entry: &Entry) -> Result<Option<Sid>, Untold> {
    let [sid, kind] = OF_GROUP;
    let number =
        entry.value(kind).and_then(|text| str::from_utf8(text).ok()?.parse::<i64>().ok()).ok_or(Untold(kind))?;
    let sid = entry.value(sid).and_then(|bytes| Sid::try_from(bytes).ok()).ok_or(Untold(sid))?;
    // The highest bit, which makes the number negative, is `GROUP_TYPE_SECURITY_ENABLED` (MS-ADTS §2.2.12).
    Ok((number < 0).then_some(sid))
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
