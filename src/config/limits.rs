//! What a rule limits: kinds, audiences, the session, and what it says of itself to others.

use super::quantity::SPAN_MAX;
use super::section::Section;
use crate::identity::TrustDomain;
use crate::policy::Kind;
use std::time::Duration;

/// With the largest bundles they fill half of what clients read in one message, 4 MiB.
const FEDERATES_WITH_MAX: usize = 32;

/// As many as a person reads in an entry of the journal, which repeats them.
const TAGS_MAX: usize = 20;
const TAG_BYTES_MAX: usize = 64;

pub(super) fn read_max_session(section: &mut Section<'_, '_>) -> Option<Duration> {
    let line = section.line_of("max_session");
    let span = section.duration("max_session", SPAN_MAX)?;
    if span < Duration::from_secs(1) {
        let found = "less than a second, so that no session could begin and the rule would only refuse";
        section.problem("max_session", line, found, "write a span such as \"1h\", or leave it out");
    }
    Some(span)
}

/// Which documents, and whom JWT-SVIDs may be for.
pub(super) fn read_kinds(section: &mut Section<'_, '_>) -> (Vec<Kind>, Vec<String>) {
    let (line, names_none) = (section.line_of("kinds"), section.holds_empty_list("kinds"));
    let kinds = section.list("kinds", "\"x509\" or \"jwt\"", |text| match text {
        "jwt" => Ok(Kind::Jwt),
        "x509" => Ok(Kind::X509),
        _ => Err("no kind of SVID"),
    });
    if names_none {
        let found = "an empty list, so that the rule would match and then grant nothing";
        section.problem(
            "kinds",
            line,
            found,
            "write [\"x509\"], [\"jwt\"] or both, or make it a [[refuse]] that says why",
        );
    }
    let kinds = kinds.unwrap_or_else(|| vec![Kind::X509]);
    let audiences = section.list("audiences", "an audience, such as \"https://vault.corp.example\"", not_empty);
    let audiences = audiences.unwrap_or_default();
    if kinds.contains(&Kind::Jwt) && audiences.is_empty() {
        section.problem(
            "audiences",
            None,
            "nothing",
            "name whom JWT-SVIDs of this rule may be for; without it none can be had",
        );
    }
    (kinds, audiences)
}

/// Whose workloads the granted ones shall be able to talk to.
pub(super) fn read_federates_with(section: &mut Section<'_, '_>) -> Vec<TrustDomain> {
    let line = section.line_of("federates_with");
    let would_do = "a trust domain's name, such as \"partner.example\"";
    let domains = section.list("federates_with", would_do, TrustDomain::parse).unwrap_or_default();
    if domains.len() > FEDERATES_WITH_MAX {
        let found = format!("{} trust domains", domains.len());
        let remedy = format!("keep at most {FEDERATES_WITH_MAX}: each SVID comes with the bundles of all of them");
        section.problem("federates_with", line, found, remedy);
    }
    domains
}

/// Words for whoever reads the journal.
pub(super) fn read_tags(section: &mut Section<'_, '_>) -> Vec<String> {
    let line = section.line_of("tags");
    let would_do = format!("a word of at most {TAG_BYTES_MAX} visible ASCII characters, such as \"pci\"");
    let tags = section.list("tags", &would_do, tag).unwrap_or_default();
    if tags.len() > TAGS_MAX {
        let remedy = format!("keep at most {TAGS_MAX}: each entry of the journal repeats them");
        section.problem("tags", line, format!("{} tags", tags.len()), remedy);
    }
    tags
}

fn tag(text: &str) -> Result<String, &'static str> {
    match text.len() {
        0 => Err("empty"),
        1..=TAG_BYTES_MAX if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        1..=TAG_BYTES_MAX => Err("not only visible ASCII characters"),
        _ => Err("too long"),
    }
}

fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("empty") } else { Ok(text.to_owned()) }
}
