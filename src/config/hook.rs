//! `[[issuer.hook]]`: which deliveries of GitLab's may end jobs, and whose.

use super::section::Section;
use crate::crypto::SharedSecret;
use crate::hooks::{Hook, Hooks, Scope, SigningToken};

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
                section.problem("", None, "the secrets of another hook", remedy);
            }
            hooks.push(hook);
        }
        section.finish();
    }
    Hooks(hooks)
}

fn read_hook(section: &mut Section<'_, '_>) -> Option<Hook> {
    let scope = read_scope(section);
    let secret = read_secret(section);
    let signing_token = read_signing_token(section);
    let canceling = section.flag("canceling").unwrap_or(false);
    if secret.is_none() && signing_token.is_none() {
        return section
            .missing("secret_file", "name the file with the hook's secret token, or a signing_token_file, or both");
    }
    Some(Hook { scope: scope?, secret, signing_token, canceling })
}

fn read_scope(section: &mut Section<'_, '_>) -> Option<Scope> {
    let group = section.parsed("group", "the full path of a group, such as \"acme/payments\"", |text| {
        let odd = text.is_empty() || text.starts_with('/') || text.ends_with('/') || text.contains(['*', ' ']);
        if odd { Err("no path") } else { Ok(Scope::group(text)) }
    });
    let project_line = section.line_of("project");
    let project = section.id("project", "the project's number, without quotes");
    match (group, project) {
        (Some(_), Some(_)) => {
            section.problem("project", project_line, "given beside group", "write one [[issuer.hook]] for each");
            None
        }
        (group, project) => group.or(project.map(Scope::Project)).or_else(|| {
            section.missing("group", "write whose jobs the hook may end: group = \"acme/payments\" or project = 4711")
        }),
    }
}

fn read_secret(section: &mut Section<'_, '_>) -> Option<SharedSecret> {
    let line = section.line_of("secret_file");
    let (path, bytes) = section.file("secret_file")?;
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
    let (path, bytes) = section.file("signing_token_file")?;
    let token = str::from_utf8(bytes.trim_ascii()).ok().and_then(|text| SigningToken::parse(text).ok());
    if token.is_none() {
        let remedy = "name a file with the signing token as GitLab shows it: whsec_ and 32 bytes in base64";
        section.problem("signing_token_file", line, format!("{} is none", path.display()), remedy);
    }
    token
}
