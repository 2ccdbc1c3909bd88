//! Certificates: each made as the baseline leaf with one change, and validated against the bundle of its trust domain.
//!
//! The same certificates stand before other people's judges in `tests/judges`, which checks their verdicts too.

use super::{Judge, Verdict};
use crate::recipe::{Made, Recipe};
use crate::support::harness::start;
use lanyard::bundle::Bundle;
use lanyard::identity::TrustDomain;
use lanyard::svid::validate_x509_svid;
use rustls_pki_types::CertificateDer;
use std::time::Duration;

pub(super) fn judge() -> Judge {
    lanyard::crypto::install_providers();
    // Another trust domain's bundle is at hand too, and must not help.
    let other = bundle("other.example", Made::root(&Made::params("other root"), "other.example").der);
    Box::new(move |vector| {
        let (chain, root) = Recipe::of(vector).chain();
        let own = bundle("example.org", root);
        Some(Verdict::of(validate_x509_svid(&chain, &[&other, &own], start())))
    })
}

fn bundle(trust_domain: &str, root: CertificateDer<'static>) -> Bundle {
    Bundle {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        sequence: 1,
        refresh_hint: Duration::from_secs(300),
        x509_authorities: vec![root],
        jwt_authorities: Vec::new(),
    }
}
