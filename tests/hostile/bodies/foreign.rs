//! Another trust domain's bundle as an operator pastes it: PEM, a SPIFFE bundle or a map of several.

use super::Seed;
use super::bundle::{authority, seeds as documents};
use super::law::{Cost, can_be_shown};
use lanyard::bundle::Bundle;
use lanyard::identity::TrustDomain;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A map's tree of values is built twice: once to see that it is one, once as one.
const COST: Cost = Cost { at_once: 256, in_all: 1024, free: 64 * 1024 };

/// Each form, and PEM with what editors and people put around it.
pub fn seeds() -> Vec<Seed> {
    let (one, two) = (authority().1.pem(), authority().1.pem());
    let own = documents().swap_remove(0).bytes;
    let bundle: Value = serde_json::from_slice(&own).unwrap();
    let map = json!({"trust_domains": {"other.test": {"keys": []}, "example.org": bundle}});
    let spoken = format!("# the mesh's roots\n{one}\nand the next one:\n{two}{one}");
    let seeds = vec![
        Seed::new("pem", one.clone()),
        Seed::new("pem-with-words", spoken),
        Seed::new("pem-of-windows", (one.clone() + &two).replace('\n', "\r\n")),
        Seed::new("pem-of-an-old-mac", (one + &two).replace('\n', "\r")),
        Seed::new("map", map.to_string()),
        Seed::new("document", own),
    ];
    seeds
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let bundle = match COST.of(bytes.len(), || Bundle::read(trust_domain.clone(), bytes)) {
        Ok(bundle) => bundle,
        Err(error) => {
            can_be_shown(&error);
            return false;
        }
    };
    assert!(bytes.len() <= 1024 * 1024 && bundle.trust_domain == trust_domain);
    if !bytes.trim_ascii_start().starts_with(b"{") {
        is_all_of_the_pem(bytes, &bundle);
    }
    let again = Bundle::read(trust_domain.clone(), &bundle.to_json()).expect("what we write we read");
    assert_eq!(again, bundle);
    let from_pem = Bundle::read(trust_domain, bundle.to_pem().as_bytes());
    match from_pem {
        Ok(from_pem) => {
            let each = |bundle: &Bundle| -> BTreeSet<Vec<u8>> {
                bundle.x509_authorities.iter().map(|der| der.to_vec()).collect()
            };
            assert_eq!(each(&from_pem), each(&bundle));
        }
        Err(_none) => assert!(bundle.x509_authorities.is_empty()),
    }
    true
}

/// Nothing in it was skipped: whatever another reader finds is a certificate, and one of these.
fn is_all_of_the_pem(text: &[u8], bundle: &Bundle) {
    let sections: Vec<(SectionKind, Vec<u8>)> =
        <(SectionKind, Vec<u8>)>::pem_slice_iter(text).collect::<Result<_, _>>().expect("it is PEM to the end");
    let mut found: Vec<&[u8]> = Vec::new();
    for (kind, der) in &sections {
        assert_eq!(*kind, SectionKind::Certificate, "a block of another kind was passed over");
        if !found.contains(&&**der) {
            found.push(der);
        }
    }
    assert_eq!(bundle.x509_authorities.iter().map(AsRef::<[u8]>::as_ref).collect::<Vec<_>>(), found);
    assert!(!found.is_empty() && bundle.jwt_authorities.is_empty() && bundle.sequence == 0);
}
