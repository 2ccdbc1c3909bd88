//! `[operators]`: who may operate this server from elsewhere, and at which port.

use super::issuer::{Own, check_https, read_issuer};
use super::section::Section;
use super::words::an;
use crate::api::OperatorIssuer;
use crate::token::{Issuer, IssuerKind, Issuers};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who it is, where nothing else is said: what a provider never gives to somebody else (`OpenID` Connect Core §5.7).
const SUBJECT: &str = "sub";
/// What people change by themselves.
const CHANGEABLE: [&str; 4] = ["given_name", "name", "nickname", "preferred_username"];
/// What is said of issuers of jobs alone.
const OF_JOBS: [&str; 5] = ["allow_missing_jti", "kind", "namespaces", "on_replay", "pins"];

/// The admin port, and who may come.
#[derive(Clone, Debug, Default)]
pub struct OperatorSettings {
    /// Where it listens; nowhere, unless it is said.
    pub listen: Vec<SocketAddr>,
    /// Who vouches for whom.
    pub issuers: Vec<OperatorIssuer>,
}

/// Reads it. None of the issuers may be one whose tokens others can have made as they like.
pub(super) fn read_operators(root: &mut Section<'_, '_>, own: Own<'_>, of_jobs: &Issuers) -> OperatorSettings {
    let is_given = root.holds("operators");
    let mut section = root.section("operators");
    let listen = section.list("listen", "an address with a port, such as \"0.0.0.0:8446\"", str::parse);
    let listen = listen.unwrap_or_default();
    let sections = section.sections("issuer");
    if is_given && listen.is_empty() {
        section.missing::<()>("listen", "write where operators come in, such as [\"0.0.0.0:8446\"]");
    }
    if is_given && sections.is_empty() {
        section.missing::<()>("issuer", "add an [[operators.issuer]]: without one nobody may come");
    }
    let issuers: Vec<_> = sections.into_iter().filter_map(|section| read_one(section, own, of_jobs)).collect();
    for (at, one) in issuers.iter().enumerate() {
        let is_same = |other: &OperatorIssuer| {
            let [one, other] = [one, other].map(|of| &of.issuer.expectations);
            one.issuer == other.issuer || one.issuer_url == other.issuer_url
        };
        if issuers.iter().take(at).any(is_same) {
            let found = format!("\"{}\" again", one.issuer.name());
            section.problem("issuer", None, found, "give each a name and a url of its own");
        }
    }
    section.finish();
    OperatorSettings { listen, issuers }
}

fn read_one(mut section: Section<'_, '_>, own: Own<'_>, of_jobs: &Issuers) -> Option<OperatorIssuer> {
    for key in OF_JOBS {
        if let Some(line) = section.line_of(key) {
            section.problem(key, Some(line), "given for people", "leave it out: it is for issuers of jobs");
            section.skip(key);
        }
    }
    let claim =
        section.parsed("claim", "the claim that says who it is, such as \"sub\" or \"email\"", |text| match text {
            "" => Err("no claim"),
            text if CHANGEABLE.contains(&text) => Err("people change that by themselves"),
            text => Ok(text.to_owned()),
        });
    let require = texts(section.section("require"), "the value that a token must have");
    let people_line = section.line_of("people");
    let people = texts(section.section("people"), "the operator's name in the journal");
    if people.is_empty() {
        section.problem("people", people_line, "nobody", "write down each person: the claim's value = \"name\"");
    }
    let url_line = section.line_of("url");
    let issuer = read_issuer(&mut section, IssuerKind::Operators, own);
    if let Some(found) = issuer.as_ref().and_then(|issuer| unfit(&issuer.expectations.issuer_url, of_jobs)) {
        section.problem("url", url_line, found, "name a provider that lets in people alone");
    }
    section.finish();
    let claim = claim.unwrap_or_else(|| SUBJECT.to_owned());
    Some(OperatorIssuer { issuer: Arc::new(issuer?), claim, require, people })
}

/// Whoever writes a pipeline chooses what stands in its tokens, the audience among it.
fn unfit(url: &str, of_jobs: &Issuers) -> Option<&'static str> {
    let plain = |url: &str| url.trim_end_matches('/').to_lowercase();
    let is_same = |other: &Arc<Issuer>| plain(&other.expectations.issuer_url) == plain(url);
    let is_of_jobs = of_jobs.iter().any(is_same).then_some("an issuer of jobs, whose authors choose what tokens say");
    is_of_jobs.or_else(|| check_https(url).err())
}

fn texts(mut section: Section<'_, '_>, what: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (line, name, value) in section.entries() {
        match value.get_ref().as_str().filter(|text| !text.is_empty()) {
            Some(text) => drop(texts.insert(name, text.to_owned())),
            None => section.problem(&name, Some(line), an(value.get_ref()), format!("write {what}")),
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::super::sources::tests::load;

    const ONE: &str = "[issuer.api]\ntoken_file = \"api-token\"\n[operators]\nlisten = [\"127.0.0.1:0\"]\n\
                       [[operators.issuer]]\nname = \"okta\"\nurl = \"https://corp.okta.com/oauth2/default\"\naudience = \"api://lanyard\"\n";

    #[test]
    fn whoever_is_written_down_may_come_and_nobody_else_s_word_counts() {
        let whole = format!("{ONE}require.scp = \"lanyard.admin\"\npeople.\"00u1\" = \"ada\"\n");
        let read = load(&whole, 0o600).unwrap().operators;
        let of = &read.issuers[0];
        assert_eq!((read.listen.len(), of.claim.as_str(), of.people["00u1"].as_str()), (1, "sub", "ada"));
        assert_eq!(of.require["scp"], "lanyard.admin");
        assert!(load("[issuer.api]\ntoken_file = \"api-token\"", 0o600).unwrap().operators.listen.is_empty());
        let people = "people.a = \"ada\"\n";
        let with = |text: &str, other: &str| format!("{ONE}{people}").replace(text, other);
        for (lines, key, told) in [
            (ONE.to_owned(), "operators.issuer[0].people", "nobody"),
            (format!("{ONE}{people}claim = \"name\""), "operators.issuer[0].claim", "change that by themselves"),
            (format!("{ONE}{people}pins = \"learned\""), "operators.issuer[0].pins", "issuers of jobs"),
            (
                with("https://corp.okta.com/oauth2/default", "https://GitLab.example"),
                "operators.issuer[0].url",
                "of jobs",
            ),
            (
                with("https://corp.okta.com/oauth2/default", "http://corp.example"),
                "operators.issuer[0].discovery_url",
                "nothing",
            ),
            (
                with("https://corp.okta.com/oauth2/default", "spiffe://ci.example.org"),
                "operators.issuer[0].url",
                "not an http",
            ),
            (with("listen = [\"127.0.0.1:0\"]", ""), "operators.listen", "nothing"),
            (
                "[issuer.api]\ntoken_file = \"api-token\"\n[operators]\nlisten = [\"127.0.0.1:0\"]".to_owned(),
                "operators.issuer",
                "nothing",
            ),
            (format!("{ONE}people.a = 7\n"), "operators.issuer[0].people.a", "an integer"),
        ] {
            let problems = load(&lines, 0o600).unwrap_err();
            let found = problems.iter().find(|problem| problem.key == key && problem.to_string().contains(told));
            assert!(found.is_some(), "{lines}: {problems:#?}");
        }
    }
}
