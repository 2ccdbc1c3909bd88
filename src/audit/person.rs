//! Who did something by hand, at the admin socket.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a machine's own users have their names (passwd(5)); those of a directory have only their number here.
const USERS: &str = "/etc/passwd";

/// The user of an operator's process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Person {
    /// The user id.
    pub uid: u32,
    /// Its name at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Person {
    /// A user of this machine.
    pub fn of(uid: u32) -> Self {
        let users = std::fs::read_to_string(USERS).unwrap_or_default();
        Self { uid, user: name_in(&users, uid) }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{user} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

fn name_in(users: &str, uid: u32) -> Option<String> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        let (name, _password, own) = (fields.next()?, fields.next()?, fields.next()?);
        (own.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    };
    users.lines().find_map(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_where_the_machine_knows_one() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\n:x:7:7::/:\nada:x:1000:1000:Ada,,,:/home/ada:/bin/bash\n";
        assert_eq!(name_in(users, 1000).as_deref(), Some("ada"));
        assert_eq!((name_in(users, 7), name_in(users, 100)), (None, None));
        assert_eq!(Person { uid: 1000, user: name_in(users, 1000) }.to_string(), "ada (uid 1000)");
        assert_eq!(Person { uid: 100, user: None }.to_string(), "uid 100");
    }
}
