//! Who approved something in GitLab, and who of them counts: a person, and neither whoever asks for it nor whoever made it.

use crate::policy::Seen;
use crate::token::{PERSON, kind_of_login};
use serde::Deserialize;
use std::collections::BTreeSet;

/// A user, as GitLab's API names one.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: u64,
    username: String,
}

impl User {
    /// Tokens of a project approve nothing: whoever made one could approve with it what is theirs.
    fn is_person(&self) -> bool {
        kind_of_login(&self.username) == PERSON
    }
}

/// How many people other than these approved, each once.
pub(super) fn independent<'a, T: Iterator<Item = &'a User>>(approvers: T, not: &[u64]) -> u64 {
    let counted: BTreeSet<u64> =
        approvers.filter(|user| user.is_person() && !not.contains(&user.id)).map(|user| user.id).collect();
    u64::try_from(counted.len()).unwrap_or(u64::MAX)
}

/// Their numbers, for the journal.
pub(super) fn numbers<'a, T: Iterator<Item = &'a User>>(users: T) -> Seen {
    Seen::Texts(users.map(|user| user.id.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_counts_once_and_neither_the_excluded_nor_tokens_do() {
        let user = |id, username: &str| User { id, username: username.to_owned() };
        let all =
            [user(1, "ada"), user(2, "bob"), user(2, "bob"), user(3, "eve"), user(4, "project_4711_bot_0c55e1aa90d7")];
        for (not, count) in [(&[][..], 3), (&[1], 2), (&[1, 2, 3], 0)] {
            assert_eq!(independent(all.iter(), not), count);
        }
    }
}
