//! The lines to paste into a job's `.gitlab-ci.yml`, where a token is missing or the wrong one.

use crate::config::{Environment as _, SystemEnvironment};

/// The variable that all commands read.
const VARIABLE: &str = "LANYARD_ID_TOKEN";

/// The lines, for a job to be given a token for this audience.
pub(super) fn block(audience: &str) -> String {
    format!(
        "put these lines into the job in .gitlab-ci.yml:\n\n  id_tokens:\n    {VARIABLE}:\n      aud: {audience:?}\n"
    )
}

/// Why a command has no token, and what gives it one: the lines that are missing, or the name that it has instead.
pub(super) fn no_token(place: &str, (characters, elsewhere): (usize, Option<&&str>), file_flag: &str) -> String {
    let found = format!("{place} holds no token ({characters} characters)");
    // Known where a project or an image sets it; a server says it to whoever offers it a wrong token.
    let audience = SystemEnvironment.value("LANYARD_AUDIENCE");
    let lines = block(audience.as_deref().unwrap_or("<the audience that the server's configuration names>"));
    match elsewhere {
        Some(name) => format!("{found}, but {name} does: give --token-env {name}, or {lines}"),
        None => format!("{found}: {lines}\nor name a file with {file_flag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_under_another_name_is_named_beside_the_lines_to_paste() {
        let said = no_token("LANYARD_ID_TOKEN", (0, Some(&"VAULT_ID_TOKEN")), "--token-file");
        let (name, lines) = said.split_once(", or put these lines into the job in .gitlab-ci.yml:\n").unwrap();
        let found = "LANYARD_ID_TOKEN holds no token (0 characters), but VAULT_ID_TOKEN does";
        assert_eq!(name, format!("{found}: give --token-env VAULT_ID_TOKEN"));
        assert!(lines.starts_with("\n  id_tokens:\n    LANYARD_ID_TOKEN:\n      aud: \""), "{lines}");
    }

    #[test]
    fn the_lines_to_paste_are_whole() {
        let lines = "\n  id_tokens:\n    LANYARD_ID_TOKEN:\n      aud: \"https://lanyard.example\"\n";
        assert!(block("https://lanyard.example").ends_with(lines));
    }
}
