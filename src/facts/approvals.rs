//! Who approved something in GitLab, and who of them counts: a person, and none of those whose own work it is.

use super::Silence;
use super::api::Question;
use crate::policy::Seen;
use crate::token::{ClaimView, Claims, PERSON, kind_of_login};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Nobody asks for more approvals, and each is a question.
const USERS_MAX: usize = 12;

/// A user, as GitLab's API names one beside something else.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: u64,
}

/// What we read of a user's own page (GitLab's users API).
#[derive(Debug, Deserialize)]
struct Account {
    bot: Option<bool>,
    state: String,
    username: String,
}

/// Those of some users who are people with an account in use.
#[derive(Debug)]
pub(super) struct People(BTreeSet<u64>);

impl People {
    /// Asks for each: an account can be renamed, and only its own page tells whether it is a program's.
    pub(super) async fn of<'a, T: Iterator<Item = &'a User> + Send>(
        gitlab: &Question<'_>,
        users: T,
    ) -> Result<Self, Silence> {
        let users: BTreeSet<u64> = users.map(|user| user.id).collect();
        if users.len() > USERS_MAX {
            return Err(Silence::Unclear(format!("more than {USERS_MAX} users have to do with it")));
        }
        let mut people = BTreeSet::new();
        for user in users {
            let account = gitlab.find::<Account>(&format!("/users/{user}"), "user").await?;
            people.extend(account.filter(Account::is_person).map(|_| user));
        }
        Ok(Self(people))
    }

    pub(super) fn has(&self, user: &User) -> bool {
        self.0.contains(&user.id)
    }

    /// How many of them approved, each once, whose own work it is not.
    pub(super) fn independent<'a, T: Iterator<Item = &'a User>>(&self, approvers: T, own: &[u64]) -> u64 {
        let counted: BTreeSet<u64> =
            approvers.filter(|user| self.has(user) && !own.contains(&user.id)).map(|user| user.id).collect();
        u64::try_from(counted.len()).unwrap_or(u64::MAX)
    }
}

impl Account {
    fn is_person(&self) -> bool {
        self.bot != Some(true) && self.state == "active" && kind_of_login(&self.username) == PERSON
    }
}

/// The job's user.
///
/// # Errors
/// Why nobody can be known to be somebody else: whoever made a program's account can approve what that does.
pub(super) fn person_of(claims: &Claims) -> Result<u64, String> {
    match (claims.view("user_id"), claims.view("actor.kind")) {
        (Some(ClaimView::Id(user)), Some(ClaimView::Text(PERSON))) => Ok(user),
        _ => Err("the job's user is no person, so that nobody is known to be another".to_owned()),
    }
}

/// Their numbers, for the journal.
pub(super) fn numbers<'a, T: Iterator<Item = &'a User>>(users: T) -> Seen {
    Seen::Texts(users.map(|user| user.id.to_string()).collect())
}
