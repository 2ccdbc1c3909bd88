//! What a key of ours is called in a place that keeps others' keys too.

use crate::crypto::Random;
use crate::identity::TrustDomain;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `lanyard.TRUST-DOMAIN.KIND.GENERATION.CHANCE`: whose key it is, and never the name of two.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// For a new key.
    pub fn new(trust_domain: &TrustDomain, kind: &str, generation: u64, random: &Random) -> Self {
        let chance = u32::from_be_bytes(random.bytes());
        Self(format!("lanyard.{trust_domain}.{kind}.{generation}.{chance:08x}"))
    }

    /// Of the key that wraps a trust domain's sealing keys: the same always, so that none is left behind. It is none of
    /// [`Label::of`], and so nobody's orphan.
    pub fn wrapping(trust_domain: &TrustDomain) -> Self {
        Self(format!("lanyard.{trust_domain}.sealing"))
    }

    /// The label of a trust domain's key; none if the name is of something else.
    pub fn of(name: &str, trust_domain: &TrustDomain) -> Option<Self> {
        let rest = name.strip_prefix("lanyard.")?.strip_prefix(trust_domain.as_str())?.strip_prefix('.')?;
        (rest.split('.').count() == 3).then(|| Self(name.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_known_by_its_trust_domain_and_no_other() {
        let domain = |name: &str| TrustDomain::parse(name).unwrap();
        let label = Label::new(&domain("ci.example"), "x509-root", 2, &Random::system());
        assert_eq!(Label::of(label.as_str(), &domain("ci.example")).as_ref(), Some(&label));
        for other in ["ci.example.org", "ci", "example", "ci.exampl"] {
            assert_eq!(Label::of(label.as_str(), &domain(other)), None, "{other}");
        }
        let longer = Label::new(&domain("ci.example.org"), "x509-root", 2, &Random::system());
        assert_eq!(Label::of(longer.as_str(), &domain("ci.example")), None);
        assert_eq!(Label::of("somebody.s", &domain("ci.example")), None);
        let wrapping = Label::wrapping(&domain("ci.example"));
        assert_eq!(Label::of(wrapping.as_str(), &domain("ci.example")), None, "it is never listed as nobody's");
    }
}
