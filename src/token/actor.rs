//! `actor.kind`: who started the pipeline, as far as a login tells.
//!
//! GitLab makes the logins of its bots and of the accounts behind access tokens, and nobody can change them. A service
//! account begins with such a login and may be renamed; and nothing keeps a user from choosing one that looks like it.

/// A person, or an account that is named like one.
pub const PERSON: &str = "person";
/// An account for programs that a group or an administrator made.
pub const SERVICE_ACCOUNT: &str = "service_account";
/// No user at all: GitLab sends neither id nor login.
const NONE: &str = "none";
const BOT: &str = "bot";
const GROUP_TOKEN: &str = "group_token";
const PROJECT_TOKEN: &str = "project_token";

/// Every kind there is.
pub const ACTOR_KINDS: [&str; 6] = [PERSON, BOT, GROUP_TOKEN, PROJECT_TOKEN, SERVICE_ACCOUNT, NONE];

/// The kinds that a policy means by a word: the accounts behind access tokens are bots of GitLab's too.
pub fn actor_kinds(word: &str) -> &'static [&'static str] {
    const BOTS: [&str; 3] = [BOT, GROUP_TOKEN, PROJECT_TOKEN];
    match ACTOR_KINDS.iter().position(|kind| *kind == word) {
        Some(_) if word == BOT => &BOTS,
        Some(at) => ACTOR_KINDS.get(at..=at).unwrap_or_default(),
        None => &[],
    }
}

/// The kind of one account; none where the token says half of what it would take to know.
pub(super) fn actor_kind(user_id: Option<u64>, login: Option<&str>) -> Option<&'static str> {
    let login = match (user_id, login) {
        (Some(_), Some(login)) => login,
        (None, None) => return Some(NONE),
        (Some(_), None) | (None, Some(_)) => return None,
    };
    Some(kind_of_login(login))
}

/// The kind of the account with this login.
pub fn kind_of_login(login: &str) -> &'static str {
    let is_of_token = |prefix: &str| {
        let numbered = login.strip_prefix(prefix).filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        numbered.is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("_bot"))
    };
    match login {
        _ if is_of_token("group_") => GROUP_TOKEN,
        _ if is_of_token("project_") => PROJECT_TOKEN,
        _ if login.starts_with("security-policy-bot") => BOT,
        _ if login.starts_with("service_account_") => SERVICE_ACCOUNT,
        _ => PERSON,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_access_tokens_are_told_from_people() {
        for (login, kind) in [
            ("arcalder", PERSON),
            ("project_4711_bot_0c55e1aa90d7", PROJECT_TOKEN),
            ("project_4711_bot", PROJECT_TOKEN),
            ("project_4711_bot1", PROJECT_TOKEN),
            ("group_812_bot_6a1f9d0c7be24e53", GROUP_TOKEN),
            ("project_bot", PERSON),
            ("security-policy-bot-4711", BOT),
            ("service_account_group_812_f00dbead42", SERVICE_ACCOUNT),
        ] {
            assert_eq!(actor_kind(Some(1), Some(login)), Some(kind), "{login}");
        }
        assert_eq!(actor_kind(None, None), Some(NONE));
    }

    #[test]
    fn half_an_account_is_of_no_known_kind() {
        assert_eq!(actor_kind(Some(1), None), None);
        assert_eq!(actor_kind(None, Some("arcalder")), None);
    }

    #[test]
    fn a_word_for_bots_means_those_of_tokens_too_and_no_other_word_means_more_than_itself() {
        assert_eq!(actor_kinds("bot"), ["bot", "group_token", "project_token"]);
        for kind in ACTOR_KINDS.into_iter().filter(|kind| *kind != "bot") {
            assert_eq!(actor_kinds(kind), [kind]);
        }
        assert_eq!(actor_kinds("human"), [""; 0]);
    }
}
