//! `[[issuer.hook]]`: which deliveries of GitLab's may end jobs, and whose.

use super::conditions::id;
use super::section::Section;
use super::words::an;
use crate::crypto::{SharedSecret, read_secret_file};
use crate::hooks::{Hook, Hooks, Scope, SigningToken};
use crate::telemetry::chain;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Each delivery is held against all hooks of its issuer.
const HOOKS_MAX: usize = 64;
/// What can be guessed ends other people's jobs.
const SECRET_BYTES_MIN: usize = 16;

/// Reads every hook of an issuer.
pub(super) fn read_hooks(issuer: &mut Section<'_, '_>) -> Hooks {
    let sections = issuer.sections("hook");
    if sections.len() > HOOKS_MAX {
        let found = format!("{} hooks", sections.len());
        issuer.problem(
            "hook",
            None,
            found,
            format!("write at most {HOOKS_MAX}: one for a group serves all its projects"),
        );
    }
    let mut hooks: Vec<Hook> = Vec::new();
    for mut section in sections {
        if let Some(hook) = read_hook(&mut section) {
            if hooks.iter().any(|other| other.secret == hook.secret && other.signing_token == hook.signing_token) {
                let remedy = "give each hook secrets of its own: the first one that fits says whose jobs may end";
                section.problem("secret_file", None, "the secrets of another hook", remedy);
            }
            hooks.push(hook);
        }
        section.finish();
    }
    Hooks(hooks)
}

fn read_hook(section: &mut Section<'_, '_>) -> Option<Hook> {
    let scope = read_scope(section);
    let proven = section.holds("secret_file") || section.holds("signing_token_file");
    let secret = read_secret(section);
    let signing_token = read_signing_token(section);
    let canceling = section.flag("canceling").unwrap_or(false);
    if !proven {
        let remedy = "name the file with the hook's secret token, or a signing_token_file, or both";
        return section.missing("secret_file", remedy);
    }
    Some(Hook { scope: scope?, secret, signing_token, canceling })
}

fn read_scope(section: &mut Section<'_, '_>) -> Option<Scope> {
    let group = section.parsed("group", "the full path of a group, such as \"acme/payments\"", |text| {
        let odd = text.is_empty() || text.starts_with('/') || text.ends_with('/') || text.contains(['*', ' ']);
        if odd { Err("no path") } else { Ok(Scope::group(text)) }
    });
    let project_line = section.line_of("project");
    let project = section.values("project").into_iter().find_map(|(line, value)| {
        let project = id(&value);
        if project.is_none() {
            section.problem("project", Some(line), an(&value), "write the project's number, without quotes");
        }
        project
    });
    match (group, project) {
        (Some(_), Some(_)) => {
            section.problem("project", project_line, "given beside group", "write one [[issuer.hook]] for each");
            None
        }
        (Some(group), None) => Some(group),
        (None, Some(project)) => Some(Scope::Project(project)),
        (None, None) if project_line.is_some() => None,
        (None, None) => {
            section.missing("group", "write whose jobs the hook may end: group = \"acme/payments\" or project = 4711")
        }
    }
}

/// What nobody else may read, and where it stands.
fn read_closed(section: &mut Section<'_, '_>, key: &'static str) -> Option<(PathBuf, Zeroizing<Vec<u8>>)> {
    let line = section.line_of(key);
    let path = section.path(key)?;
    match read_secret_file(&path) {
        Ok(bytes) => Some((path, bytes)),
        Err(error) => {
            section.problem(key, line, chain(&error), "name a file that only this user may read");
            None
        }
    }
}

fn read_secret(section: &mut Section<'_, '_>) -> Option<SharedSecret> {
    let line = section.line_of("secret_file");
    let (path, bytes) = read_closed(section, "secret_file")?;
    let secret = bytes.trim_ascii();
    if secret.len() < SECRET_BYTES_MIN {
        let found = format!("{} with {} bytes", path.display(), secret.len());
        let remedy =
            format!("use a random secret of at least {SECRET_BYTES_MIN} bytes, such as openssl rand -hex 32 makes");
        section.problem("secret_file", line, found, remedy);
        return None;
    }
    Some(SharedSecret::new(secret.to_vec()))
}

fn read_signing_token(section: &mut Section<'_, '_>) -> Option<SigningToken> {
    let line = section.line_of("signing_token_file");
    let (path, bytes) = read_closed(section, "signing_token_file")?;
    let token = str::from_utf8(bytes.trim_ascii()).ok().and_then(|text| SigningToken::parse(text).ok());
    if token.is_none() {
        let remedy = "name a file with the signing token as GitLab shows it: whsec_ and 32 bytes in base64";
        section.problem("signing_token_file", line, format!("{} is none", path.display()), remedy);
    }
    token
}

#[cfg(test)]
mod tests {
    use crate::config::{MapEnvironment, load_server};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    /// What is wrong with the hooks of an otherwise good file, by key and remedy.
    fn problems(hooks: &str) -> Vec<String> {
        let folder = TempDir::new().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("policy.toml", "[[rule]]\nname = \"r\"\nid = \"/{project_path}/-/x\"\nwhen = { issuer = \"corp\" }\n");
        put("good", "what-only-gitlab-and-we-know\n");
        put("other", "what-nobody-else-can-guess");
        put("short", "secret");
        put("signing", "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n");
        put("open", "what-only-gitlab-and-all-of-us-know\n");
        for (name, mode) in [("good", 0o600), ("other", 0o400), ("short", 0o600), ("signing", 0o600), ("open", 0o640)] {
            fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        let text = format!(
            "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n[[issuer]]\n\
             name = \"corp\"\nurl = \"https://gitlab.example\"\naudience = \"us\"\n{hooks}"
        );
        put("server.toml", &text);
        let loaded = load_server(&folder.path().join("server.toml"), &MapEnvironment::default());
        loaded.err().unwrap_or_default().iter().map(|problem| format!("{}: {}", problem.key, problem.remedy)).collect()
    }

    fn hook(lines: &str) -> String {
        format!("[[issuer.hook]]\n{lines}\n")
    }

    #[test]
    fn hooks_with_a_scope_and_a_secret_load() {
        let one = hook("group = \"acme/payments\"\nsecret_file = \"good\"\ncanceling = true");
        let two = hook("project = 4711\nsecret_file = \"good\"\nsigning_token_file = \"signing\"");
        assert_eq!(problems(&format!("{one}{two}")), [""; 0]);
    }

    #[test]
    fn whatever_else_is_told_with_what_to_write() {
        for (lines, told) in [
            ("secret_file = \"good\"", "issuer[0].hook[0].group: write whose jobs the hook may end"),
            (
                "project = 1\ngroup = \"a\"\nsecret_file = \"good\"",
                "issuer[0].hook[0].project: write one [[issuer.hook]]",
            ),
            ("project = \"1\"\nsecret_file = \"good\"", "issuer[0].hook[0].project: write the project's number"),
            ("group = \"acme/*\"\nsecret_file = \"good\"", "issuer[0].hook[0].group: write the full path of a group"),
            ("project = 1", "issuer[0].hook[0].secret_file: name the file with the hook's secret token"),
            (
                "project = 1\nsecret_file = \"short\"",
                "issuer[0].hook[0].secret_file: use a random secret of at least 16",
            ),
            (
                "project = 1\nsigning_token_file = \"good\"",
                "issuer[0].hook[0].signing_token_file: name a file with the",
            ),
            (
                "project = 1\nsecret_file = \"nowhere\"",
                "issuer[0].hook[0].secret_file: name a file that only this user",
            ),
            ("project = 1\nsecret_file = \"open\"", "issuer[0].hook[0].secret_file: name a file that only this user"),
            (
                "project = 1\nsigning_token_file = \"open\"",
                "issuer[0].hook[0].signing_token_file: name a file that only this user",
            ),
            (
                "project = 1\nsecrets_file = \"x\"\nsecret_file = \"good\"",
                "issuer[0].hook[0].secrets_file: did you mean secret_file?",
            ),
        ] {
            let found = problems(&hook(lines));
            assert!(matches!(&*found, [only] if only.starts_with(told)), "{lines}\n{found:?}");
        }
    }

    #[test]
    fn two_hooks_never_share_their_secrets() {
        let hooks = [hook("project = 1\nsecret_file = \"good\""), hook("project = 2\nsecret_file = \"good\"")].concat();
        assert!(problems(&hooks)[0].contains("give each hook secrets of its own"));
        let hooks =
            [hook("project = 1\nsecret_file = \"good\""), hook("project = 2\nsecret_file = \"other\"")].concat();
        assert_eq!(problems(&hooks), [""; 0]);
    }
}
