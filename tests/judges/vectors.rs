//! The standard's vectors for certificates: each is made as it is described and gets Lanyard's verdict, and the other
//! judges' beside it.

use super::judge::{self, Hearing};
use super::made::{Authority, Der, Files};
use super::recipe::{Made, Recipe};
use crate::support::harness::start;
use lanyard::bundle::Bundle;
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::svid::{X509SvidError, validate_x509_svid};
use rcgen::{
    BasicConstraints, DistinguishedName, DnType, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(3600);

/// Lanyard's own verdict, with the roots as the bundle of a trust domain.
pub(crate) fn ours(hearing: &Hearing, trust_domain: &str) -> Result<SpiffeId, X509SvidError> {
    let read = |file| CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect::<Vec<Der>>();
    let own = bundle(trust_domain, read(&hearing.roots));
    // Another trust domain's bundle is at hand too, and must not help.
    let other = bundle("other.example", vec![Made::root(&Made::params("other.example"), "other.example").der]);
    let at = OffsetDateTime::from_unix_timestamp(hearing.at).unwrap();
    validate_x509_svid(&read(&hearing.chain), &[&other, &own], at)
}

pub(crate) fn bundle(trust_domain: &str, x509_authorities: Vec<Der>) -> Bundle {
    let trust_domain = TrustDomain::parse(trust_domain).unwrap();
    Bundle { trust_domain, sequence: 1, refresh_hint: HOUR, x509_authorities, jwt_authorities: Vec::new() }
}

/// The intermediate's key and name below another root, which excludes a DNS domain.
pub(crate) fn crossed_excluding(below: &Authority, above: &Authority, domain: &str, now: OffsetDateTime) -> Der {
    let key = KeyPair::try_from(above.key.pkcs8_der()).unwrap();
    let issuer = Issuer::from_ca_cert_der(&above.certificate, &key).unwrap();
    let mut params = Made::params("crossed");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Lanyard");
    params.distinguished_name.push(DnType::CommonName, below.fields.common_name.clone());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let excluded = vec![GeneralSubtree::DnsName(domain.to_owned())];
    params.name_constraints = Some(NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: excluded });
    (params.not_before, params.not_after) = (now - HOUR, now + HOUR * 24);
    let ski = below.fields.key.id().digest().as_bytes().iter().take(20).copied().collect();
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(ski);
    let key = KeyPair::try_from(below.key.pkcs8_der()).unwrap();
    params.signed_by(&key, &issuer).unwrap().der().clone()
}

/// Where a choice is left, ours: extended key usage may be absent, basic constraints may not.
const POLICY: [(&str, bool); 2] = [("CRT-5", true), ("CRT-15", false)];

/// Faults of path and time: nobody who validates may take these. Not among them: an authority's key usage (CRT-25),
/// which webpki does not read, and a root's own limits (CRT-26), which RFC 5280 §6.1.1 leaves to the reader.
const NOBODY_TAKES: [&str; 6] = ["CRT-22", "CRT-23", "CRT-24", "CRT-27", "CRT-28", "CRT-29"];

/// Shows: X509-5, X509-7, X509-15, X509-16, X509-17, X509-18.
#[test]
fn every_certificate_vector_gets_its_verdict() {
    lanyard::crypto::install_providers();
    let files = Files::new();
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/spiffe.json"));
    let document: Value = serde_json::from_str(text).unwrap();
    let vectors = document["x509_svid"].as_array().unwrap();
    let hearing = |vector: &Value| {
        let (chain, root) = Recipe::of(vector).chain();
        files.hearing(vector["id"].as_str().unwrap(), &chain, &[root], start())
    };
    let hearings: Vec<Hearing> = vectors.iter().map(hearing).collect();
    let mut lines = vec![String::new(); vectors.len()];
    let mut wrong = Vec::new();
    for (at, (vector, hearing)) in vectors.iter().zip(&hearings).enumerate() {
        let id = hearing.name.as_str();
        let wanted = match vector["verdict"].as_str().unwrap() {
            "accept" => true,
            "reject" => false,
            "policy" => POLICY.iter().find(|(known, _)| *known == id).expect("a choice that nobody made").1,
            other => panic!("{id}: no verdict: {other}"),
        };
        let verdict = ours(hearing, "example.org");
        lines[at] = format!("{id:7} {:40} {verdict:?}", vector["why"].as_str().unwrap());
        wrong.extend((verdict.is_ok() != wanted).then(|| format!("{id}: {verdict:?}")));
    }
    for judge in judge::all() {
        for ((verdict, vector), line) in judge.verify(&hearings).iter().zip(vectors).zip(&mut lines) {
            let (id, takes) = (vector["id"].as_str().unwrap(), verdict.server.is_empty() && verdict.client.is_empty());
            line.push_str([" refused by ", " taken by "][usize::from(takes)]);
            line.push_str(judge.name());
            let right = if vector["verdict"] == "accept" { takes } else { !takes || !NOBODY_TAKES.contains(&id) };
            wrong.extend((!right).then(|| format!("{}: {id}: {verdict:?}", judge.name())));
        }
    }
    println!("{} certificate vectors, {} judges beside ours\n{}", lines.len(), judge::all().len(), lines.join("\n"));
    assert_eq!((wrong, vectors.len()), (Vec::<String>::new(), 33));
}
