//! `[[issuer]]`: whose tokens count, for which audience, and where its keys come from.

use super::ca_file::read_ca_file;
use super::hook::read_hooks;
use super::quantity::SPAN_MAX;
use super::section::Section;
use super::sources::{self, System, Tables};
use crate::bundle::IssuerUrl;
use crate::directory::{DirectorySettings, Group};
use crate::facts::ActiveDirectory;
use crate::hooks::Hooks;
use crate::identity::TrustDomain;
use crate::token::{
    Expectations, Issuer, IssuerKind, IssuerName, Issuers, KeySet, KeySource, OnReplay, Pins, TokenAlgorithm,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A person's token is got anew within a working day; jobs wait for longer.
const OPERATORS_AGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// What stands before a trust domain's name where an issuer's URL is.
const SPIFFE: &str = "spiffe://";

/// An issuer as rules name it.
#[derive(Clone, Debug)]
pub struct KnownIssuer {
    /// Its short name.
    pub name: IssuerName,
    /// What kind of issuer it is.
    pub kind: IssuerKind,
    /// Its URL.
    pub url: String,
    /// What other systems can be asked about its jobs.
    pub facts: Vec<&'static str>,
    /// The groups that a rule may ask for, by name; none where any text may be one.
    pub groups: Option<BTreeMap<String, Group>>,
}

impl KnownIssuer {
    pub(super) fn all(issuers: &Issuers, systems: &[System], directory: Option<&DirectorySettings>) -> Vec<Self> {
        let known = |issuer: &Arc<Issuer>| {
            let (name, url) = (issuer.name().clone(), issuer.expectations.issuer_url.clone());
            let its = systems.iter().filter(|system| system.issuers().contains(&name));
            let accounts = directory.filter(|directory| directory.issuers.contains(&name));
            let of_accounts = accounts.map(|_there| ActiveDirectory::FACTS).into_iter().flatten();
            let facts = its.flat_map(|system| system.facts()).copied().chain(of_accounts).collect();
            let groups = accounts.map(|accounts| accounts.groups.clone());
            Self { name, kind: issuer.expectations.kind, url, facts, groups }
        };
        issuers.iter().map(known).collect()
    }
}

/// Under what names this server itself signs: none of them is a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    pub(super) trust_domain: Option<&'a TrustDomain>,
    pub(super) issuer: Option<&'a IssuerUrl>,
}

impl Own<'_> {
    /// However it is spelled: a host has no case, and some write a slash behind it.
    fn refuse(self, url: String) -> Result<String, &'static str> {
        let is_own = |own: &IssuerUrl| {
            [own.as_str(), &own.configuration()].iter().any(|own| url.trim_end_matches('/').eq_ignore_ascii_case(own))
        };
        let is_own = self.issuer.is_some_and(is_own);
        if is_own { Err("this server's own issuer, whose JWT-SVIDs are no source") } else { Ok(url) }
    }
}

/// Every `[[issuer]]`, and what stands in them beside it.
#[derive(Debug, Default)]
pub(super) struct ReadIssuers {
    pub(super) issuers: Issuers,
    /// What may tell the end of jobs, by issuer.
    pub(super) hooks: BTreeMap<IssuerName, Hooks>,
    /// What can be asked about their jobs.
    pub(super) systems: Vec<System>,
}

/// Reads every `[[issuer]]`, with its hooks and the API that may be asked; names and URLs must differ.
pub(super) fn read_issuers(root: &mut Section<'_, '_>, own: Own<'_>) -> ReadIssuers {
    let sections = root.sections("issuer");
    if sections.is_empty() {
        root.problem(
            "issuer",
            None,
            "nothing",
            "add an [[issuer]] with name, url and audience: without one no token is genuine",
        );
    }
    let (mut names, mut urls) = (BTreeSet::new(), BTreeSet::new());
    let (mut issuers, mut hooks, mut systems) = (Vec::new(), BTreeMap::new(), Vec::new());
    for mut section in sections {
        let (name_line, url_line) = (section.line_of("name"), section.line_of("url"));
        let gitlabs = Some("hook").filter(|key| section.holds(key)).or_else(|| sources::first_in(&section));
        let its_hooks = read_hooks(&mut section);
        let tables = Tables::of(&mut section);
        let kind = read_kind(&mut section);
        let issuer = read_issuer(&mut section, kind, own);
        check_gitlabs(&section, gitlabs, issuer.as_ref());
        systems.extend(tables.read(issuer.as_ref()));
        if let Some(issuer) = issuer {
            if !names.insert(issuer.name().clone()) {
                section.problem(
                    "name",
                    name_line,
                    format!("\"{}\" again", issuer.name()),
                    "give each issuer a name of its own",
                );
            }
            if !urls.insert(issuer.expectations.issuer_url.clone()) {
                section.problem(
                    "url",
                    url_line,
                    format!("\"{}\" again", issuer.expectations.issuer_url),
                    "name each issuer once",
                );
            }
            hooks.insert(issuer.name().clone(), its_hooks);
            issuers.push(issuer);
        }
        section.finish();
    }
    ReadIssuers { issuers: issuers.into_iter().collect(), hooks, systems }
}

/// Hooks and questions about jobs are GitLab's.
fn check_gitlabs(section: &Section<'_, '_>, key: Option<&str>, issuer: Option<&Issuer>) {
    let kind = issuer.map(|issuer| issuer.expectations.kind).unwrap_or_default();
    if let Some(key) = key.filter(|_| kind != IssuerKind::GitLab) {
        let found = format!("given beside kind = \"{}\"", kind.as_str());
        section.problem(key, section.line_of(key), found, "leave it out: only a GitLab has one");
    }
}

fn read_kind(section: &mut Section<'_, '_>) -> IssuerKind {
    let would_do = IssuerKind::ALL.map(|kind| format!("\"{}\"", kind.as_str())).join(", ");
    let named = |text: &str| IssuerKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or("no kind of issuer");
    section.parsed("kind", &format!("one of {would_do}"), named).unwrap_or_default()
}

/// Its exact `iss`; of another trust domain, what stands for it.
fn read_url(section: &mut Section<'_, '_>, kind: IssuerKind, own: Own<'_>) -> Option<String> {
    let would_do = "the exact iss of its tokens, such as \"https://gitlab.corp.example\"";
    if kind != IssuerKind::Spiffe {
        let url = section.parsed("url", would_do, |text| own.refuse(check_url(text)?));
        return url.or_else(|| section.missing("url", &format!("write {would_do}")));
    }
    let would_do = "another trust domain's name, such as \"partner.example\"";
    let foreign = |text: &str| match TrustDomain::parse(text) {
        Ok(read) if Some(&read) == own.trust_domain => Err("this server's own, whose SVIDs are no source".to_owned()),
        read => read.map_err(|odd| odd.to_string()),
    };
    let is_given = section.holds("trust_domain");
    let trust_domain = section.parsed("trust_domain", would_do, foreign);
    let trust_domain =
        if is_given { trust_domain } else { section.missing("trust_domain", &format!("write {would_do}")) };
    trust_domain.map(|trust_domain| format!("{SPIFFE}{trust_domain}"))
}

/// All of it but its kind, and what other systems say of its jobs.
pub(super) fn read_issuer(section: &mut Section<'_, '_>, kind: IssuerKind, own: Own<'_>) -> Option<Issuer> {
    let name = section.parsed("name", "a short name of letters, digits and dashes, such as \"corp\"", check_name);
    let name = name.or_else(|| section.missing("name", "write the short name that rules use, such as \"corp\""));
    let url = read_url(section, kind, own);
    let audience = section.text("audience", "the aud that jobs put into id_tokens");
    let audience = audience.or_else(|| {
        section
            .missing("audience", "write the aud that jobs put into id_tokens, such as \"https://lanyard.corp.example\"")
    });
    let algorithms = section.list("algorithms", "\"RS256\" or \"ES256\"", |text| match text {
        "ES256" => Ok(TokenAlgorithm::Es256),
        "RS256" => Ok(TokenAlgorithm::Rs256),
        _ => Err("not an algorithm that may sign here"),
    });
    let pins = section.parsed("pins", "\"learned\" or \"declared\"", |text| match text {
        "declared" => Ok(Pins::Declared),
        "learned" => Ok(Pins::Learned),
        _ => Err("unknown"),
    });
    let on_replay = section.parsed("on_replay", "\"refuse\" or \"end\"", |text| match text {
        "end" => Ok(OnReplay::End),
        "refuse" => Ok(OnReplay::Refuse),
        _ => Err("unknown"),
    });
    let namespaces = read_namespaces(section);
    let allow_shared_audience = section.flag("allow_shared_audience").unwrap_or(false);
    let age_max = if kind == IssuerKind::Operators { OPERATORS_AGE_MAX } else { SPAN_MAX };
    let max_token_age = section.duration("max_token_age", age_max).unwrap_or(Expectations::MAX_TOKEN_AGE);
    let allow_missing_jti = kind != IssuerKind::GitLab && section.flag("allow_missing_jti").unwrap_or(false);
    let keys = read_key_source(section, url.as_deref(), own);
    let usual = if kind == IssuerKind::GitLab {
        &[TokenAlgorithm::Rs256][..]
    } else {
        &[TokenAlgorithm::Es256, TokenAlgorithm::Rs256]
    };
    let expectations = Expectations {
        issuer: IssuerName(name?.into()),
        issuer_url: url?,
        kind,
        allow_missing_jti,
        audience: audience?,
        allow_shared_audience,
        algorithms: algorithms.unwrap_or_else(|| usual.to_vec()),
        leeway: Expectations::LEEWAY,
        max_token_age,
    };
    let (pins, namespaces) = (pins.unwrap_or(Pins::Learned), namespaces.unwrap_or_default());
    let on_replay = on_replay.unwrap_or(OnReplay::Refuse);
    Some(Issuer { expectations, keys: keys?, pins, on_replay, namespaces })
}

/// What could never match is no namespace, and an empty list would let in everybody where nobody was meant.
fn read_namespaces(section: &mut Section<'_, '_>) -> Option<Vec<String>> {
    let line = section.line_of("namespaces");
    let namespaces = section.list("namespaces", "a top-level group or user, such as \"acme\"", |text| {
        if text.is_empty() || text.contains(['/', '*']) { Err("no top-level name") } else { Ok(text.to_owned()) }
    })?;
    if namespaces.is_empty() {
        section.problem("namespaces", line, "no name in it", "name yours, or leave it out to take tokens of all");
    }
    Some(namespaces)
}

fn read_key_source(section: &mut Section<'_, '_>, issuer_url: Option<&str>, own: Own<'_>) -> Option<KeySource> {
    if section.holds("jwks_file") {
        return read_jwks(section);
    }
    section.skip("jwks_file");
    if let Some(Ok(trust_domain)) = issuer_url.and_then(|url| url.strip_prefix(SPIFFE)).map(TrustDomain::parse) {
        return Some(KeySource::Bundle(trust_domain));
    }
    let wants_ca = section.holds("ca_file");
    let ca_pem = read_ca_file(section, "ca_file").map(|(pem, _trust)| pem);
    let remedy = "the whole URL of the discovery document as this server reaches it, with https://";
    let discovery = section.parsed("discovery_url", remedy, |text| own.refuse(check_https(text)?));
    let url = discovery.or_else(|| issuer_url.map(KeySource::document_of))?;
    let token_file = section.path("discovery_token_file");
    if wants_ca && ca_pem.is_none() {
        return None;
    }
    if check_https(&url).is_err() {
        let remedy = "add a discovery_url with https://, or a jwks_file";
        return section.missing("discovery_url", remedy);
    }
    Some(KeySource::Discovery { url, ca_pem, token_file })
}

/// Keys from a file stand alone: what concerns discovery would be without effect beside it.
fn read_jwks(section: &mut Section<'_, '_>) -> Option<KeySource> {
    for other in ["discovery_url", "discovery_token_file", "ca_file"] {
        if let Some(line) = section.line_of(other) {
            section.problem(
                other,
                Some(line),
                "given beside jwks_file",
                "keep keys from a file or from discovery, not both",
            );
        }
        section.skip(other);
    }
    let line = section.line_of("jwks_file");
    let (path, json) = section.file("jwks_file")?;
    match KeySet::parse(&json) {
        Ok(keys) => Some(KeySource::Jwks(keys)),
        Err(error) => {
            let found = format!("{} ({error})", path.display());
            section.problem("jwks_file", line, found, "name a JWK Set with RSA keys of 2048 bits or more");
            None
        }
    }
}

pub(super) fn check_name(text: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 63 || !text.chars().all(fits) { Err("not a name") } else { Ok(text.to_owned()) }
}

/// An issuer is a string to us; only what cannot be a URL at all is refused.
fn check_url(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or("not an http(s) URL")?;
    if rest.is_empty() || rest.contains(char::is_whitespace) { Err("not a URL") } else { Ok(text.to_owned()) }
}

pub(super) fn check_https(text: &str) -> Result<String, &'static str> {
    if text.starts_with("https://") { check_url(text) } else { Err("not https") }
}
