//! `[operators]`: who may operate this server from elsewhere, and at which port.

use super::doors::{DoorsSettings, are_one};
use super::issuer::{Own, check_https, check_name, read_issuer};
use super::section::Section;
use super::words::an;
use crate::api::{OperatorCertificates, OperatorIssuer, OperatorsFrom};
use crate::tls::OperatorCa;
use crate::token::{Issuer, IssuerKind, IssuerName, Issuers};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who it is, where nothing else is said: what a provider never gives to somebody else (`OpenID` Connect Core §5.7).
const SUBJECT: &str = "sub";
/// What people, or whoever keeps their accounts, change: nobody is known by it (`OpenID` Connect Core §5.1, §5.7; `upn` and
/// `unique_name` are Entra's).
const CHANGEABLE: [&str; 9] = [
    "family_name",
    "given_name",
    "middle_name",
    "name",
    "nickname",
    "phone_number",
    "preferred_username",
    "unique_name",
    "upn",
];
/// What belongs to somebody today, and may be given to somebody else.
const EMAIL: &str = "email";
/// What is said of issuers of jobs alone.
const OF_JOBS: [&str; 5] = ["allow_missing_jti", "kind", "namespaces", "on_replay", "pins"];

/// The admin port, and who may come.
#[derive(Clone, Debug, Default)]
pub struct OperatorSettings {
    /// Where it listens; nowhere, unless it is said.
    pub listen: Vec<SocketAddr>,
    /// Who vouches for whom.
    pub from: OperatorsFrom,
}

/// Reads it. None of the issuers may be one whose tokens others can have made as they like.
pub(super) fn read_operators(
    root: &mut Section<'_, '_>,
    own: Own<'_>,
    (of_jobs, doors): (&Issuers, &DoorsSettings),
) -> OperatorSettings {
    let is_given = root.holds("operators");
    let mut section = root.section("operators");
    let listen_line = section.line_of("listen");
    let listen = section.list("listen", "an address with a port, such as \"0.0.0.0:8446\"", str::parse);
    let listen = listen.unwrap_or_default();
    for (at, address) in listen.iter().enumerate() {
        let again = listen.iter().take(at).any(|other| are_one(*other, *address)).then_some("operators.listen");
        if let Some(first) = doors.taken(*address).or(again) {
            let found = format!("\"{address}\", where {first} listens already");
            section.problem("listen", listen_line, found, "write another port");
        }
    }
    let sections = section.sections("issuer");
    if is_given && listen.is_empty() {
        section.missing::<()>("listen", "write where operators come in, such as [\"0.0.0.0:8446\"]");
    }
    let has_ca = section.holds("certificates");
    let certificates = read_certificates(&mut section);
    if is_given && sections.is_empty() && !has_ca {
        let remedy = "add an [[operators.issuer]] or [operators.certificates]: without them nobody may come";
        section.missing::<()>("issuer", remedy);
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
    let named = certificates.as_ref().map(|certificates| &certificates.name);
    if let Some(name) = named.filter(|name| issuers.iter().any(|of| of.issuer.name() == *name)) {
        let found = format!("\"{name}\" again");
        section.problem("certificates.name", None, found, "give it a name that no [[operators.issuer]] has");
    }
    section.finish();
    OperatorSettings { listen, from: OperatorsFrom { issuers, certificates } }
}

/// `[operators.certificates]`: the CA of operators' own certificates, and whom it may vouch for.
fn read_certificates(operators: &mut Section<'_, '_>) -> Option<OperatorCertificates> {
    let is_given = operators.holds("certificates");
    let mut section = operators.section("certificates");
    if !is_given {
        return None;
    }
    let would_do = "a short name of letters, digits and dashes, such as \"corp-ca\"";
    let name = section.parsed("name", would_do, check_name);
    let name = name.or_else(|| section.missing("name", "write the short name that stands in the journal"));
    let line = section.line_of("ca_file");
    let file = section.file("ca_file");
    let file = file.or_else(|| section.missing("ca_file", "name the PEM file of the CA that is for operators alone"));
    let ca = file.and_then(|(path, pem)| match OperatorCa::from_pem(&pem, &path.to_string_lossy()) {
        Ok(ca) => Some(ca),
        Err(fault) => {
            section.problem("ca_file", line, fault.to_string(), "name a PEM file with the CA's certificate");
            None
        }
    });
    let people_line = section.line_of("people");
    let people = texts(section.section("people"), "the operator's name in the journal");
    if people.is_empty() {
        let remedy = "write down each person: \"email:…\" or \"uri:…\" of their certificate = \"name\"";
        section.problem("people", people_line, "nobody", remedy);
    }
    for odd in people.keys().filter(|name| !is_name_in_certificate(name)) {
        let remedy =
            "write it as \"email:ada@corp.example\" or \"uri:https://corp.example/ada\"; a SPIFFE ID is a workload's";
        section.problem("people", people_line, format!("{odd:?}"), remedy);
    }
    section.finish();
    Some(OperatorCertificates { name: IssuerName(name?.into()), ca: ca?, people })
}

fn is_name_in_certificate(name: &str) -> bool {
    let is_uri = |uri: &str| uri.contains(':') && !uri.to_ascii_lowercase().starts_with("spiffe:");
    name.strip_prefix("email:").is_some_and(|address| address.contains('@'))
        || name.strip_prefix("uri:").is_some_and(is_uri)
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
    if claim.as_deref() == Some(EMAIL) {
        let remedy =
            "use sub, which the provider never gives to anybody else; an address is given on when somebody leaves";
        section.warning("claim", section.line_of("claim"), "operators are known by their address", remedy);
    }
    let require_line = section.line_of("require");
    let require = texts(section.section("require"), "the value that a token must have");
    for name in require.keys().filter(|name| CHANGEABLE.contains(&name.as_str()) || *name == EMAIL) {
        let remedy = "require what an administrator gives, such as a group or a scope";
        section.warning("require", require_line, format!("{name} is what people change by themselves"), remedy);
    }
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
        let of = &read.from.issuers[0];
        assert_eq!((read.listen.len(), of.claim.as_str(), of.people["00u1"].as_str()), (1, "sub", "ada"));
        assert_eq!(of.require["scp"], "lanyard.admin");
        assert!(load("[issuer.api]\ntoken_file = \"api-token\"", 0o600).unwrap().operators.listen.is_empty());
        let people = "people.a = \"ada\"\n";
        let with = |text: &str, other: &str| format!("{ONE}{people}").replace(text, other);
        for (lines, key, told) in [
            (ONE.to_owned(), "operators.issuer[0].people", "nobody"),
            (format!("{ONE}{people}claim = \"name\""), "operators.issuer[0].claim", "change that by themselves"),
            (format!("{ONE}{people}claim = \"upn\""), "operators.issuer[0].claim", "change that by themselves"),
            (format!("{ONE}{people}max_token_age = \"13h\""), "operators.issuer[0].max_token_age", "12h"),
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

    #[test]
    fn operators_come_in_where_nobody_else_does() {
        let people = "people.a = \"ada\"\n[listen]\nissuer = \"127.0.0.1:8443\"\nhealth = \"127.0.0.1:8081\"\n";
        let at = |listen: &str| {
            let whole = format!("{ONE}{people}").replace("[\"127.0.0.1:0\"]", listen);
            let told = load(&whole, 0o600).map(drop).err().unwrap_or_default();
            told.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert_eq!(at("[\"127.0.0.1:8446\", \"127.0.0.1:8447\"]"), [""; 0]);
        for taken in ["8443", "8081", "8446\", \"127.0.0.1:8446"] {
            assert_eq!(at(&format!("[\"127.0.0.1:{taken}\"]")), ["operators.listen"], "{taken}");
        }
        assert_eq!(at("[\"0.0.0.0:8443\"]"), ["operators.listen"]);
    }

    #[test]
    fn what_may_become_somebody_else_s_is_warned_of() {
        let people = "people.\"ada@corp.example\" = \"ada\"\n";
        let warned = |lines: &str| {
            let told = load(&format!("{ONE}{lines}{people}"), 0o600).unwrap().warnings;
            told.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>()
        };
        let of = |told: &[String], what: &str| told.iter().filter(|one| one.contains(what)).count();
        assert_eq!(of(&warned("claim = \"email\"\n"), "known by their address"), 1);
        assert_eq!(of(&warned("require.email = \"a@b\"\nrequire.name = \"Ada\"\n"), "change by themselves"), 2);
        let fine = warned("claim = \"sub\"\nrequire.groups = \"platform\"\n");
        assert!(fine.iter().all(|one| !one.contains("operators")), "{fine:?}");
    }

    #[test]
    fn certificates_are_of_a_ca_and_of_people_who_are_written_down() {
        let start = "[issuer.api]\ntoken_file = \"api-token\"\n[operators]\nlisten = [\"127.0.0.1:0\"]\n[operators.certificates]\n";
        for (lines, key, told) in [
            ("", "certificates.name", "nothing"),
            ("", "certificates.ca_file", "nothing"),
            ("", "certificates.people", "nobody"),
            ("ca_file = \"api-token\"", "certificates.ca_file", "no PEM certificate"),
            ("ca_file = \"gone\"", "certificates.ca_file", "gone"),
            ("people.ada = \"ada\"", "certificates.people", "\"ada\""),
            ("people.\"uri:SPIFFE://ci.example.org/a\" = \"ada\"", "certificates.people", "SPIFFE://"),
        ] {
            let problems = load(&format!("{start}{lines}\n"), 0o600).unwrap_err();
            let is_it = |problem: &super::super::Problem| {
                problem.key == format!("operators.{key}") && problem.to_string().contains(told)
            };
            assert!(problems.iter().any(is_it), "{lines}: {problems:#?}");
        }
    }
}
