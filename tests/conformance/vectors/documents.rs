//! Bundles in their three forms.

use super::{Verdict, text};
use lanyard::bundle::{Bundle, BundleMap};
use lanyard::identity::TrustDomain;
use serde_json::Value;

/// Accepted means: with exactly as many usable keys as the vector expects.
pub(super) fn bundle(vector: &Value) -> Verdict {
    let bundle = match Bundle::parse(TrustDomain::parse("example.org").unwrap(), text(vector, "input").as_bytes()) {
        Ok(bundle) => bundle,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    if let Some(expect) = vector["expect"].as_object() {
        let count = |kind: &str| usize::try_from(expect[kind].as_u64().unwrap()).unwrap();
        let found = (bundle.x509_authorities.len(), bundle.jwt_authorities.len());
        assert_eq!(found, (count("x509"), count("jwt")), "{}", vector["id"]);
    }
    Verdict::Accepted
}

pub(super) fn bundle_map(input: &str) -> Verdict {
    Verdict::of(BundleMap::parse(input.as_bytes()))
}

/// Lanyard sends this form and never reads it, so a client who does is the judge: the one written in Rust, which is as
/// strict as the strictest.
pub(super) fn jwt_bundle(input: &str) -> Verdict {
    let trust_domain = spiffe::TrustDomain::new("example.org").unwrap();
    Verdict::of(spiffe::JwtBundle::from_jwt_authorities(trust_domain, input.as_bytes()))
}
