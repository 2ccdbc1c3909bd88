//! `[[federation]]`: other trust domains whose bundles are taken, and from where.

use super::ca_file::read_ca_file;
use super::section::Section;
use crate::bundle::Bundle;
use crate::federation::{ConfigMapKey, Endpoint, Profile, Relationship, Source};
use crate::identity::{SpiffeId, TrustDomain};
use crate::telemetry::chain;

const PROFILES: &str = "\"https_web\" (its certificate is for its host's name) or \"https_spiffe\" (it shows an SVID)";

/// One table a trust domain, each with one source.
pub(super) fn read_federation(root: &mut Section<'_, '_>, own: Option<&TrustDomain>) -> Vec<Relationship> {
    let mut all: Vec<Relationship> = Vec::new();
    for mut section in root.sections("federation") {
        let trust_domain = read_trust_domain(&mut section, own, &all);
        let source = read_source(&mut section);
        if let (Some(trust_domain), Some(source)) = (trust_domain, source)
            && let Ok(first) = read_first(&mut section, (&trust_domain, &source), own)
        {
            all.push(Relationship { trust_domain, source, first });
        }
        section.skip("bundle_file");
        section.finish();
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

/// What stands for a source, one of which each table has.
const SOURCES: [&str; 3] = ["url", "file", "config_map"];

fn read_source(section: &mut Section<'_, '_>) -> Option<Source> {
    let given: Vec<_> = SOURCES.into_iter().filter(|key| section.holds(key)).collect();
    match given.as_slice() {
        ["url"] => read_endpoint(section).map(Source::Endpoint),
        ["file"] => Some(Source::File { path: section.path("file")? }),
        ["config_map"] => read_config_map(section),
        [first, .., last] => {
            let (line, found) = (section.line_of(last), format!("given beside {first}, and a bundle has one source"));
            section.problem(last, line, found, "keep one of the two");
            skip_all(section);
            None
        }
        _ => {
            skip_all(section);
            let remedy = "write the bundle endpoint's url and profile, or the file that holds the bundle, or config_map = \
                          { namespace, name, key }";
            section.missing("url", remedy)
        }
    }
}

/// What belongs to no source says nothing.
fn skip_all(section: &mut Section<'_, '_>) {
    for key in ["url", "profile", "endpoint_spiffe_id", "ca_file", "file", "config_map"] {
        section.skip(key);
    }
}

/// Nothing of it is guessed from anything else (FED-10, FED-21).
fn read_endpoint(section: &mut Section<'_, '_>) -> Option<Endpoint> {
    let url =
        section.parsed("url", "the bundle endpoint's URL, such as \"https://mesh.example.org/bundle\"", str::parse);
    let is_spiffe = section.parsed("profile", PROFILES, |text| match text {
        "https_spiffe" => Ok(true),
        "https_web" => Ok(false),
        _ => Err("no profile"),
    });
    let is_spiffe = is_spiffe.or_else(|| section.missing("profile", &format!("write {PROFILES}")));
    let profile = if is_spiffe? {
        read_endpoint_id(section).map(|endpoint_id| Profile::HttpsSpiffe { endpoint_id })
    } else {
        let given = section.holds("ca_file");
        let ca_pem = read_ca_file(section, "ca_file").map(|(pem, _)| String::from_utf8_lossy(&pem).into_owned());
        (ca_pem.is_some() || !given).then_some(Profile::HttpsWeb { ca_pem })
    };
    Some(Endpoint { url: url?, profile: profile? })
}

fn read_endpoint_id(section: &mut Section<'_, '_>) -> Option<SpiffeId> {
    const WOULD_DO: &str = "the ID that the endpoint shows, such as \"spiffe://mesh.example.org/spire/server\"";
    section
        .parsed("endpoint_spiffe_id", WOULD_DO, SpiffeId::parse)
        .or_else(|| section.missing("endpoint_spiffe_id", &format!("write {WOULD_DO}")))
}

/// An endpoint is known by the bundle of the trust domain of its own ID: another's is configured apart, its own is given with it.
fn read_first(
    section: &mut Section<'_, '_>,
    (trust_domain, source): (&TrustDomain, &Source),
    own: Option<&TrustDomain>,
) -> Result<Option<Bundle>, NotRead> {
    let vouches = source.endpoint().and_then(Endpoint::endpoint_id).map(SpiffeId::trust_domain);
    if vouches.is_some() && vouches.as_ref() == own {
        let found = "an ID of this server's own trust domain, which vouches for no other";
        section.problem("endpoint_spiffe_id", None, found, "write the endpoint's own ID");
        return Err(NotRead);
    }
    let line = section.line_of("bundle_file");
    let Some((_, text)) = section.file("bundle_file") else {
        if vouches.as_ref() != Some(trust_domain) {
            return Ok(None);
        }
        let remedy = "write a file with its bundle as it is now: an endpoint with an SVID is known by nothing else";
        return section.missing("bundle_file", remedy).ok_or(NotRead);
    };
    if source.endpoint().is_none() {
        section.problem("bundle_file", line, "given beside another source than a url", "leave it out");
        return Err(NotRead);
    }
    Bundle::read(trust_domain.clone(), &text).and_then(Bundle::of_itself_alone).map(Some).map_err(|odd| {
        section.problem(
            "bundle_file",
            line,
            chain(&odd),
            "name a file with its SPIFFE bundle (JSON) or its CA certificates (PEM)",
        );
        NotRead
    })
}

/// A problem was told.
struct NotRead;

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
