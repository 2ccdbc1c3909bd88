//! Whose account may not act any more: asked about many at once, for those who have an identity now.

use super::DirectoryError;
use super::IssuerUser;
use super::account::{ATTRIBUTES, Account};
use super::finding::{Directory, person};
use super::ldap::{Filter, Scope, Search};
use super::sid::Guid;
use crate::telemetry::chain;
use std::collections::BTreeMap;

/// Fewer than Active Directory puts into one page (`MaxPageSize`, 1000), and an answer of some tens of KiB.
const AT_ONCE: usize = 100;

impl Directory {
    /// Which of these users have an account that may not act, and why. Who was never led to one is not asked about.
    ///
    /// # Errors
    /// When it cannot be said of all.
    pub async fn departed(
        &self,
        users: impl Iterator<Item = IssuerUser>,
    ) -> Result<Vec<(IssuerUser, String)>, DirectoryError> {
        let mut accounts: BTreeMap<Guid, Vec<IssuerUser>> = BTreeMap::new();
        for user in users {
            if let Some(guid) = self.guid_of(&user)? {
                accounts.entry(guid).or_default().push(user);
            }
        }
        let guids: Vec<Guid> = accounts.keys().copied().collect();
        let mut departed = Vec::new();
        for guids in guids.chunks(AT_ONCE) {
            let there = self.states_of(guids).await?;
            let why = |guid| there.get(guid).map_or_else(|| Some("the account is gone".to_owned()), Clone::clone);
            for (guid, why) in guids.iter().filter_map(|guid| Some((guid, why(guid)?))) {
                departed.extend(accounts.remove(guid).into_iter().flatten().map(|user| (user, why.clone())));
            }
        }
        Ok(departed)
    }

    /// What keeps each of these accounts from acting, of those that are there. Of one that cannot be judged nothing is known, and
    /// its user's next renewal asks again.
    async fn states_of(&self, guids: &[Guid]) -> Result<BTreeMap<Guid, Option<String>>, DirectoryError> {
        let any = Filter::Any(guids.iter().map(|guid| Filter::Is("objectGUID", guid.as_bytes())).collect());
        let (base, filter) = (self.settings.base.as_str(), person(vec![any]));
        let search = Search { base, scope: Scope::Subtree, filter, attributes: &ATTRIBUTES, most: AT_ONCE };
        let found = self.client.search(&search).await?;
        let now = self.clock.now();
        let state = |entry| match Account::read(entry) {
            Ok(account) => Some((account.guid, account.unfit(now).map(|unfit| unfit.to_string()))),
            Err(untold) => {
                tracing::warn!(fault = chain(&untold), "an account behind a live session cannot be judged");
                Some((Account::guid_of(entry)?, None))
            }
        };
        Ok(found.iter().filter_map(state).collect())
    }
}
