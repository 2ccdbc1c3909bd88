//! The systems that can be asked about an issuer's jobs, each a table of its own within `[[issuer]]`.

use super::ca_file::read_ca_file;
use super::gerrit::read_gerrit;
use super::issuer::check_https;
use super::okta::read_okta;
use super::section::Section;
use crate::discovery::read_token;
use crate::facts::{Configured, GitlabApi, LetIn, Limits, Place, api_of};
use crate::telemetry::chain;
use crate::token::{Issuer, KeySource};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A system that can be asked.
pub(super) type System = Arc<dyn Configured>;

/// Reads a table, for the issuer in which it stands, if that can be read.
type Read = fn(Section<'_, '_>, Option<&Issuer>) -> Option<System>;

/// All there are, by their tables' names.
const SYSTEMS: [(&str, Read); 3] = [("api", read_gitlab), ("gerrit", read_gerrit), ("okta", read_okta)];

/// The tables of an issuer that were not read yet.
pub(super) struct Tables<'r, 't>(Vec<(Read, Section<'r, 't>)>);

impl<'r, 't> Tables<'r, 't> {
    /// Takes them out of an issuer's.
    pub(super) fn of(issuer: &mut Section<'r, 't>) -> Self {
        let mut taken = Vec::new();
        for (key, read) in SYSTEMS {
            let (is_given, section) = (issuer.holds(key), issuer.section(key));
            taken.extend(is_given.then_some((read, section)));
        }
        Self(taken)
    }

    /// Reads them.
    pub(super) fn read(self, issuer: Option<&Issuer>) -> impl Iterator<Item = System> {
        self.0.into_iter().filter_map(move |(read, section)| read(section, issuer))
    }
}

/// The first of the tables that stands in an issuer's.
pub(super) fn first_in(issuer: &Section<'_, '_>) -> Option<&'static str> {
    SYSTEMS.into_iter().map(|(key, _)| key).find(|key| issuer.holds(key))
}

/// `[issuer.api]`: its own GitLab's interface. What is said of the issuer holds for it too.
fn read_gitlab(mut section: Section<'_, '_>, issuer: Option<&Issuer>) -> Option<System> {
    let would_do = "GitLab's API with https://, such as \"https://gitlab.corp.example/api/v4\"";
    let url = section.parsed("url", would_do, check_https);
    let ca_pem = read_ca_file(&mut section, "ca_file").map(|(pem, _trust)| pem);
    let remedy = "write the file with an access token that has the scope read_api, and no other";
    let token_file = read_token_file(&mut section, remedy);
    let limits = read_limits(&mut section);
    let Some(issuer) = issuer else {
        section.finish();
        return None;
    };
    let of_issuer = match &issuer.keys {
        KeySource::Discovery { ca_pem, .. } => ca_pem.clone(),
        KeySource::Bundle(_) | KeySource::Jwks(_) => None,
    };
    let url = url.unwrap_or_else(|| api_of(&issuer.expectations.issuer_url));
    if check_https(&url).is_err() {
        section.missing::<()>("url", "write where GitLab's API is, with https://");
    }
    section.finish();
    let url = url.trim_end_matches('/').to_owned();
    let place = Place { url, let_in: LetIn::GitLab, token_file: token_file?, ca_pem: ca_pem.or(of_issuer) };
    Some(Arc::new(GitlabApi { issuer: issuer.name().clone(), place, limits }))
}

/// `token_file`, which must hold something that lets us in already.
pub(super) fn read_token_file(section: &mut Section<'_, '_>, remedy: &str) -> Option<PathBuf> {
    let line = section.line_of("token_file");
    let token_file = section.path("token_file").or_else(|| section.missing("token_file", remedy))?;
    if let Err(error) = read_token(&token_file) {
        section.problem("token_file", line, chain(&error), "put the token alone into a file of mode 0600");
    }
    Some(token_file)
}

/// `within` and `cache_for`, which each of them may have.
pub(super) fn read_limits(section: &mut Section<'_, '_>) -> Limits {
    let line = section.line_of("within");
    let within = section.duration("within", Limits::WITHIN_MAX);
    if within == Some(Duration::ZERO) {
        section.problem("within", line, "no time at all", "write a span such as \"2s\"");
    }
    let cache_for = section.duration("cache_for", Limits::CACHE_FOR_MAX);
    Limits { within: within.unwrap_or(Limits::WITHIN_MAX), cache_for }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{MapEnvironment, Problem, ServerSettings, load_server};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const RULE: &str = "[[rule]]\nname = \"a\"\nid = \"/{project_path}/-/a\"\nwhen.issuer = \"corp\"\nneed.\"job.state\" = \"running\"";

    /// With these lines in the issuer's section, and a token in a file of this mode.
    pub(in crate::config) fn load(lines: &str, mode: u32) -> Result<ServerSettings, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("policy.toml", RULE);
        write("api-token", "glpat-Az_09\n");
        fs::set_permissions(folder.path().join("api-token"), fs::Permissions::from_mode(mode)).unwrap();
        let issuer = "[[issuer]]\nname = \"corp\"\nurl = \"https://gitlab.example/\"\naudience = \"https://a.example\"";
        let server = "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"";
        write("server.toml", &format!("{server}\n{issuer}\n{lines}\n"));
        load_server(&folder.path().join("server.toml"), &MapEnvironment::default())
    }

    #[test]
    fn an_api_is_where_the_issuer_is_unless_it_is_told_otherwise() {
        let url = |lines: &str| load(lines, 0o600).unwrap().systems[0].gitlab().unwrap().place.url.clone();
        assert_eq!(url("[issuer.api]\ntoken_file = \"api-token\""), "https://gitlab.example/api/v4");
        let other = "[issuer.api]\nurl = \"https://inside.example/gitlab/api/v4/\"\ntoken_file = \"api-token\"";
        assert_eq!(url(other), "https://inside.example/gitlab/api/v4");
        assert!(!format!("{:?}", load(other, 0o600).unwrap()).contains("glpat"));
    }

    #[test]
    fn a_need_that_nobody_can_be_asked_for_does_not_load_and_neither_does_an_open_token() {
        for (lines, mode, key, told) in [
            ("", 0o600, "rule \"a\".need.\"job.state\"", "[issuer.api] with a token_file"),
            ("[issuer.api]", 0o600, "issuer[0].api.token_file", "read_api"),
            ("[issuer.api]\ntoken_file = \"api-token\"", 0o644, "issuer[0].api.token_file", "chmod 600"),
            ("[issuer.api]\ntoken_file = \"gone\"", 0o600, "issuer[0].api.token_file", "cannot be read"),
            ("[issuer.api]\ntoken_file = \"api-token\"\nurl = \"http://x\"", 0o600, "issuer[0].api.url", "not https"),
            ("[issuer.api]\ntoken_file = \"api-token\"\nscope = \"x\"", 0o600, "issuer[0].api.scope", "nobody reads"),
        ] {
            let problems = load(lines, mode).unwrap_err();
            let found = problems.iter().find(|problem| problem.key == key && problem.to_string().contains(told));
            assert!(found.is_some(), "{lines}: {problems:#?}");
        }
    }
}
