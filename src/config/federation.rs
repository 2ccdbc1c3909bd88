//! `[[federation]]`: other trust domains whose bundles are taken, and from where.

use super::section::Section;
use crate::federation::{ConfigMapKey, Relationship, Source};
use crate::identity::TrustDomain;

/// One table a trust domain, each with one source.
pub(super) fn read_federation(root: &mut Section<'_, '_>, own: Option<&TrustDomain>) -> Vec<Relationship> {
    let mut all: Vec<Relationship> = Vec::new();
    for mut section in root.sections("federation") {
        let trust_domain = read_trust_domain(&mut section, own, &all);
        let source = read_source(&mut section);
        section.finish();
        if let (Some(trust_domain), Some(source)) = (trust_domain, source) {
            all.push(Relationship { trust_domain, source });
        }
    }
    all
}

fn read_trust_domain(
    section: &mut Section<'_, '_>,
    own: Option<&TrustDomain>,
    others: &[Relationship],
) -> Option<TrustDomain> {
    let line = section.line_of("trust_domain");
    let would_do = "another trust domain's name, such as \"mesh.example.org\"";
    let read = section
        .parsed("trust_domain", would_do, TrustDomain::parse)
        .or_else(|| section.missing("trust_domain", "name the trust domain whose bundle it is"))?;
    let (found, remedy) = if Some(&read) == own {
        ("this server's own trust domain, whose bundle is taken from nobody", "name another, or remove the table")
    } else if others.iter().any(|other| other.trust_domain == read) {
        ("a trust domain that another [[federation]] has already", "keep one of the two: a bundle has one source")
    } else {
        return Some(read);
    };
    section.problem("trust_domain", line, format!("\"{read}\", {found}"), remedy);
    None
}

fn read_source(section: &mut Section<'_, '_>) -> Option<Source> {
    let line = section.line_of("config_map");
    match (section.holds("file"), section.holds("config_map")) {
        (true, false) => Some(Source::File { path: section.path("file")? }),
        (false, true) => read_config_map(section),
        (true, true) => {
            let found = "given beside file, and a bundle has one source";
            section.problem("config_map", line, found, "keep one of the two");
            section.skip("file");
            section.skip("config_map");
            None
        }
        (false, false) => {
            section.missing("file", "write the file that holds the bundle, or config_map = { namespace, name, key }")
        }
    }
}

fn read_config_map(section: &mut Section<'_, '_>) -> Option<Source> {
    let kubeconfig = section.path("kubeconfig");
    let mut map = section.section("config_map");
    let mut word = |key: &'static str, would_do: &str| {
        let read = map.parsed(key, would_do, |text| match text {
            "" => Err("empty"),
            text if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) => {
                Ok(text.to_owned())
            }
            _ => Err("no name of Kubernetes"),
        });
        read.or_else(|| map.missing(key, &format!("write {would_do}")))
    };
    let namespace = word("namespace", "the namespace, such as \"istio-system\"");
    let name = word("name", "the ConfigMap's name, such as \"istio-ca-root-cert\"");
    let key = word("key", "the key that holds the bundle, such as \"root-cert.pem\"");
    map.finish();
    Some(Source::ConfigMap(ConfigMapKey { namespace: namespace?, name: name?, key: key?, kubeconfig }))
}
