//! What a change of keys that was broken off leaves behind, and the commands that finish it or take it back.

use crate::crypto::KeyId;
use std::path::Path;

/// How far a change of the root's key is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Left {
    /// Nothing: it has not begun, or is done.
    #[default]
    Nothing,
    /// A root was asked for, and the answer is not there.
    Asked,
    /// A root that is published and signs nothing.
    Prepared(KeyId),
    /// Another root signs, and the former one is trusted as before.
    Former(KeyId),
    /// The former root is tainted, and published still.
    Tainted(KeyId),
}

impl Left {
    /// For whoever gave the order; none where there is nothing to do.
    pub(super) fn words(self, socket: &Path) -> Option<String> {
        let line = |order: &str| format!("\n  lanyard authority {order} --admin-socket {}", socket.display());
        Some(match self {
            Self::Nothing => return None,
            Self::Asked => {
                format!(
                    "a root may have been prepared, which stays published; this shows whether it was:{}",
                    line("list")
                )
            }
            Self::Prepared(key) => format!(
                "the root {key} was prepared and stays published. To take it back:{}\nor to go on, once all have it:{}",
                line(&format!("revoke {key}")),
                line(&format!("activate {key}"))
            ),
            Self::Former(key) => format!(
                "another root signs, and the former one, {key}, stays trusted. To finish:{}{}",
                line(&format!("taint {key}")),
                line(&format!("revoke {key}"))
            ),
            Self::Tainted(key) => format!(
                "the former root, {key}, is tainted and stays published. To finish, once nothing valid hangs on it:{}",
                line(&format!("revoke {key}"))
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_stops_a_change_is_told_the_command_that_finishes_it_or_takes_it_back() {
        let key: KeyId = "ab".repeat(32).parse().unwrap();
        let told = |left: Left| left.words(Path::new("/run/admin.sock")).unwrap_or_default();
        assert_eq!(told(Left::Nothing), "");
        for (left, orders) in [
            (Left::Asked, &["list"][..]),
            (Left::Prepared(key), &["revoke", "activate"]),
            (Left::Former(key), &["taint", "revoke"]),
            (Left::Tainted(key), &["revoke"]),
        ] {
            let lines: Vec<_> =
                told(left).lines().filter_map(|line| line.strip_prefix("  ").map(str::to_owned)).collect();
            let named = if left == Left::Asked { String::new() } else { format!(" {key}") };
            let wanted = |order: &&str| format!("lanyard authority {order}{named} --admin-socket /run/admin.sock");
            assert_eq!(lines, orders.iter().map(wanted).collect::<Vec<_>>());
        }
    }
}
