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

/// Why a command has no token, and what gives it one: a name to change, or the lines that are missing.
pub(super) fn no_token(place: &str, characters: usize, elsewhere: Option<&&str>) -> String {
    let found = format!("{place} holds no token ({characters} characters)");
    if let Some(name) = elsewhere {
        return format!(
            "{found}, but {name} does: call it {VARIABLE} under id_tokens in .gitlab-ci.yml, or give --token-env {name}"
        );
    }
    // Known where a project or an image sets it; a server says it to whoever offers it a wrong token.
    let audience = SystemEnvironment.value("LANYARD_AUDIENCE");
    let audience = audience.as_deref().unwrap_or("<the audience that the server's configuration names>");
    format!("{found}: {}\nor name a file with --token-file", block(audience))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_under_another_name_is_found_and_named() {
        let said = no_token("LANYARD_ID_TOKEN", 0, Some(&"VAULT_ID_TOKEN"));
        assert_eq!(
            said,
            "LANYARD_ID_TOKEN holds no token (0 characters), but VAULT_ID_TOKEN does: call it LANYARD_ID_TOKEN under \
             id_tokens in .gitlab-ci.yml, or give --token-env VAULT_ID_TOKEN"
        );
    }

    #[test]
    fn the_lines_to_paste_are_whole() {
        let lines = "\n  id_tokens:\n    LANYARD_ID_TOKEN:\n      aud: \"https://lanyard.example\"\n";
        assert!(block("https://lanyard.example").ends_with(lines));
    }
}
