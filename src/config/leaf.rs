//! `[svid]`, but for its `ttl`: how leaves look beyond what every X509-SVID has.

use super::issuer::KnownIssuer;
use super::problem::Problem;
use super::reader::Reader;
use super::section::Section;
use crate::crypto::KeyAlgorithm;
use crate::svid::{DnsNames, DnsSuffix, LeafProfile, SanOrder, SubjectForm};

/// Reads `subject`, `dns_suffix`, `san_order`, `key_kinds` and `names_of`.
pub(super) fn read_leaf(reader: &Reader<'_>, svid: &mut Section<'_, '_>, warnings: &mut Vec<Problem>) -> LeafProfile {
    let subject = svid.parsed("subject", "\"organization\", \"project\" or \"empty\"", |text| match text {
        "empty" => Ok(SubjectForm::Empty),
        "organization" => Ok(SubjectForm::Organization),
        "project" => Ok(SubjectForm::Project),
        _ => Err("no subject"),
    });
    LeafProfile {
        dns: read_dns(svid),
        key_kinds: read_key_kinds(reader, svid, warnings),
        names_of: svid.text("names_of", "the short name of the issuer whose projects certificates name"),
        subject: subject.unwrap_or_default(),
    }
}

/// A number is one project at each issuer: whoever reads it in a certificate must know at which.
pub(super) fn check_names(reader: &Reader<'_>, line: Option<usize>, leaf: &LeafProfile, issuers: &[KnownIssuer]) {
    let names: Vec<&str> = issuers.iter().map(|issuer| &*issuer.name.0).collect();
    let of = names.join(", ");
    let told = |found: String, remedy: String| reader.report(line, "svid.names_of".to_owned(), found, remedy);
    match (&leaf.names_of, leaf.names_projects()) {
        (None, true) if names.len() > 1 => told(
            "nothing, while subject or dns_suffix make names of a project's number, which is another project at each issuer"
                .to_owned(),
            format!("write names_of = \"…\", one of {of}: certificates of the others' bearers get no such names"),
        ),
        (Some(meant), true) if !names.contains(&&**meant) => {
            told(format!("\"{meant}\", no configured issuer"), format!("write one of these: {of}"));
        }
        (Some(_), false) => told(
            "an issuer, while certificates name nobody's projects".to_owned(),
            "leave it out, or write subject = \"project\" or a dns_suffix".to_owned(),
        ),
        _ => {}
    }
}

fn read_dns(svid: &mut Section<'_, '_>) -> Option<DnsNames> {
    let order_line = svid.line_of("san_order");
    let order = svid.parsed("san_order", "\"uri_first\" or \"dns_first\"", |text| match text {
        "dns_first" => Ok(SanOrder::DnsFirst),
        "uri_first" => Ok(SanOrder::UriFirst),
        _ => Err("no order"),
    });
    let given = svid.holds("dns_suffix");
    let would_do = "a domain of your own, such as \"ci.example.org\": leaves get pl<pipeline>.p<project>.<suffix>";
    let suffix = svid.parsed("dns_suffix", would_do, DnsSuffix::parse);
    if order == Some(SanOrder::DnsFirst) && !given {
        svid.problem("san_order", order_line, "\"dns_first\" without dns_suffix", "add a dns_suffix, or leave it out");
    }
    Some(DnsNames { suffix: suffix?, order: order.unwrap_or_default() })
}

fn read_key_kinds(reader: &Reader<'_>, svid: &mut Section<'_, '_>, warnings: &mut Vec<Problem>) -> Vec<KeyAlgorithm> {
    let line = svid.line_of("key_kinds");
    let would_do = "\"ec-p256\", \"ec-p384\", \"ed25519\" or \"rsa\"";
    let kinds = svid.list("key_kinds", would_do, |text| match text {
        "ec-p256" => Ok(KeyAlgorithm::EcP256),
        "ec-p384" => Ok(KeyAlgorithm::EcP384),
        "ed25519" => Ok(KeyAlgorithm::Ed25519),
        "rsa" => Ok(KeyAlgorithm::Rsa),
        _ => Err("no kind of key"),
    });
    let Some(kinds) = kinds.filter(|kinds| !kinds.is_empty()) else { return LeafProfile::default().key_kinds };
    let odd: Vec<String> =
        kinds.iter().filter(|kind| **kind != KeyAlgorithm::EcP256).map(ToString::to_string).collect();
    if !odd.is_empty() {
        let remedy = if kinds.contains(&KeyAlgorithm::EcP256) {
            "keep to \"ec-p256\" where meshes are to accept the certificates: Istio, Envoy and Linkerd all take it"
        } else {
            "add \"ec-p256\", unless no agent of Lanyard's is to be served: they make no other keys"
        };
        warnings.push(reader.problem_at(line, "svid.key_kinds", odd.join(", "), remedy));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svid::Subject;
    use crate::token::{IssuerKind, IssuerName};
    use std::path::Path;

    /// The profile with its warnings, or the problems as "line key".
    fn read(text: &str) -> Result<(LeafProfile, usize), Vec<String>> {
        let reader = Reader::new(Path::new("server.toml"), text);
        let (mut svid, mut warnings) = (reader.document(), Vec::new());
        let profile = read_leaf(&reader, &mut svid, &mut warnings);
        svid.finish();
        let problems = |all: Vec<Problem>| all.iter().map(|p| format!("{} {}", p.line.unwrap_or(0), p.key)).collect();
        reader.settled(Some((profile, warnings.len()))).map_err(problems)
    }

    #[test]
    fn a_server_that_says_nothing_gets_the_plain_profile() {
        assert_eq!(read(""), Ok((LeafProfile::default(), 0)));
        assert_eq!(read("key_kinds = []"), Ok((LeafProfile::default(), 0)));
        assert_eq!(read("key_kinds = \"ec-p256\"\nsubject = \"organization\""), Ok((LeafProfile::default(), 0)));
    }

    #[test]
    fn every_option_is_read() {
        let (profile, warnings) = read(
            "subject = \"project\"\ndns_suffix = \"ci.example.org\"\nsan_order = \"dns_first\"\nkey_kinds = [\"ec-p384\", \"rsa\"]",
        )
        .unwrap();
        assert_eq!(warnings, 1);
        assert_eq!(profile.subject, SubjectForm::Project);
        assert_eq!(profile.key_kinds, [KeyAlgorithm::EcP384, KeyAlgorithm::Rsa]);
        let dns = profile.dns_san("corp", 42, 7).unwrap();
        assert_eq!((dns.name.as_str(), dns.order), ("pl7.p42.ci.example.org", SanOrder::DnsFirst));
    }

    #[test]
    fn a_number_is_a_project_of_one_issuer_and_where_there_are_several_it_is_said_of_which() {
        let known = |name: &&str| KnownIssuer {
            name: IssuerName((*name).into()),
            kind: IssuerKind::GitLab,
            url: format!("https://{name}.example"),
            facts: Vec::new(),
            groups: None,
        };
        let checked = |text: &str, names: &[&str]| {
            let reader = Reader::new(Path::new("server.toml"), text);
            let (mut svid, mut warnings) = (reader.document(), Vec::new());
            let profile = read_leaf(&reader, &mut svid, &mut warnings);
            svid.finish();
            check_names(&reader, None, &profile, &names.iter().map(known).collect::<Vec<_>>());
            reader.settled(Some(profile)).map_err(|all| all[0].found.clone())
        };
        let (project, dns) = ("subject = \"project\"", "dns_suffix = \"ci.example.org\"");
        for (text, names, told) in [
            (project, &["corp"][..], None),
            (project, &["corp", "com"], Some("another project at each issuer")),
            (dns, &["corp", "com"], Some("another project at each issuer")),
            ("", &["corp", "com"], None),
            ("names_of = \"corp\"", &["corp", "com"], Some("name nobody's projects")),
        ] {
            let found = checked(text, names).err();
            assert_eq!(found.is_some(), told.is_some(), "{text} {found:?}");
            assert!(found.unwrap_or_default().contains(told.unwrap_or_default()), "{text}");
        }
        let named = |of: &str| checked(&format!("{project}\n{dns}\nnames_of = \"{of}\""), &["corp", "com"]);
        assert!(named("lab").unwrap_err().contains("no configured issuer"));
        let profile = named("corp").unwrap();
        assert_eq!(profile.subject("corp", 42), Subject::Project(42));
        assert_eq!(profile.dns_san("corp", 42, 7).unwrap().name, "pl7.p42.ci.example.org");
        assert_eq!((profile.subject("com", 42), profile.dns_san("com", 42, 7)), (Subject::Organization, None));
    }

    /// Shows: MESH-A9.
    #[test]
    fn what_would_mislead_a_mesh_does_not_load() {
        for (text, problem) in [
            ("dns_suffix = \"svc.cluster.local\"", "1 dns_suffix"),
            ("dns_suffix = \"linkerd.identity.linkerd.corp.example\"", "1 dns_suffix"),
            ("dns_suffix = \"*.example.org\"", "1 dns_suffix"),
            ("\nsan_order = \"dns_first\"", "2 san_order"),
            ("san_order = \"dns\"", "1 san_order"),
            ("subject = \"cn\"", "1 subject"),
            ("key_kinds = [\"ec-p521\"]", "1 key_kinds"),
        ] {
            assert_eq!(read(text), Err(vec![problem.to_owned()]), "{text}");
        }
    }
}
