//! `[[issuer]]`: whose tokens count, for which audience, and where its keys come from.

use super::ca_file::read_ca_file;
use super::quantity::SPAN_MAX;
use super::section::Section;
use crate::token::{Expectations, Issuer, IssuerName, Issuers, KeySet, KeySource, Pins, TokenAlgorithm};
use std::collections::BTreeSet;

/// Reads every `[[issuer]]`; names and URLs must differ.
pub(super) fn read_issuers(root: &mut Section<'_, '_>) -> Issuers {
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
    let mut issuers = Vec::new();
    for mut section in sections {
        let (name_line, url_line) = (section.line_of("name"), section.line_of("url"));
        if let Some(issuer) = read_issuer(&mut section) {
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
            issuers.push(issuer);
        }
        section.finish();
    }
    issuers.into_iter().collect()
}

fn read_issuer(section: &mut Section<'_, '_>) -> Option<Issuer> {
    let name = section.parsed("name", "a short name of letters, digits and dashes, such as \"corp\"", check_name);
    let name = name.or_else(|| section.missing("name", "write the short name that rules use, such as \"corp\""));
    let url = section.parsed("url", "the exact iss of its tokens, such as \"https://gitlab.corp.example\"", check_url);
    let url = url.or_else(|| {
        section.missing("url", "write the exact iss of its tokens, such as \"https://gitlab.corp.example\"")
    });
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
    let namespaces = read_namespaces(section);
    let allow_shared_audience = section.flag("allow_shared_audience").unwrap_or(false);
    let max_token_age = section.duration("max_token_age", SPAN_MAX).unwrap_or(Expectations::MAX_TOKEN_AGE);
    let keys = read_key_source(section, url.as_deref());
    let expectations = Expectations {
        issuer: IssuerName(name?.into()),
        issuer_url: url?,
        audience: audience?,
        allow_shared_audience,
        algorithms: algorithms.unwrap_or_else(|| vec![TokenAlgorithm::Rs256]),
        leeway: Expectations::LEEWAY,
        max_token_age,
    };
    let (pins, namespaces) = (pins.unwrap_or(Pins::Learned), namespaces.unwrap_or_default());
    Some(Issuer { expectations, keys: keys?, pins, namespaces })
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

fn read_key_source(section: &mut Section<'_, '_>, issuer_url: Option<&str>) -> Option<KeySource> {
    if section.holds("jwks_file") {
        return read_jwks(section);
    }
    section.skip("jwks_file");
    let wants_ca = section.holds("ca_file");
    let ca_pem = read_ca_file(section, "ca_file").map(|(pem, _trust)| pem);
    let remedy = "the whole URL of the discovery document as this server reaches it, with https://";
    let discovery = section.parsed("discovery_url", remedy, check_https);
    let url = discovery.or_else(|| issuer_url.map(KeySource::document_of))?;
    if wants_ca && ca_pem.is_none() {
        return None;
    }
    if check_https(&url).is_err() {
        let remedy = "add a discovery_url with https://, or a jwks_file";
        return section.missing("discovery_url", remedy);
    }
    Some(KeySource::Discovery { url, ca_pem })
}

/// Keys from a file stand alone: what concerns discovery would be without effect beside it.
fn read_jwks(section: &mut Section<'_, '_>) -> Option<KeySource> {
    for other in ["discovery_url", "ca_file"] {
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

fn check_name(text: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 63 || !text.chars().all(fits) { Err("not a name") } else { Ok(text.to_owned()) }
}

/// An issuer is a string to us; only what cannot be a URL at all is refused.
fn check_url(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or("not an http(s) URL")?;
    if rest.is_empty() || rest.contains(char::is_whitespace) { Err("not a URL") } else { Ok(text.to_owned()) }
}

fn check_https(text: &str) -> Result<String, &'static str> {
    if text.starts_with("https://") { check_url(text) } else { Err("not https") }
}
