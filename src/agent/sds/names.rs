//! What a secret's name means: an SVID, or what peers are verified by.

use crate::agent::keeper::{Identity, Svid};
use crate::bundle::Bundle;
use std::collections::BTreeMap;

/// How peers' certificates are verified where the client does not say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validator {
    /// Against the roots of our own trust domain alone, whatever the peer's ID says.
    Plain,
    /// Each trust domain's IDs against its own roots.
    Spiffe,
}

/// The names under which secrets are served, besides an SVID's profile, its SPIFFE ID and its trust domain's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretNames {
    /// The default SVID.
    pub svid: Vec<String>,
    /// All bundles.
    pub bundles: Vec<String>,
    /// Further names, each for one of the others.
    pub aliases: BTreeMap<String, String>,
    /// What a bundle's secret tells the client to do.
    pub validator: Validator,
    /// Whether the plain list of all bundles holds other trust domains' roots too: each can speak for every other then.
    pub merge: bool,
    /// Whether our roots come with the server's revocation lists, and not before these are complete.
    pub crl: bool,
}

impl Default for SecretNames {
    /// What Envoy's and Istio's configurations ask for.
    fn default() -> Self {
        Self {
            svid: vec!["default".to_owned()],
            bundles: vec!["ROOTCA".to_owned(), "ALL".to_owned()],
            aliases: BTreeMap::new(),
            validator: Validator::Spiffe,
            merge: false,
            crl: false,
        }
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meant<'a> {
    /// Of one trust domain.
    Bundle(&'a Bundle),
    /// All there are.
    Bundles,
    Svid(&'a Svid),
}

impl SecretNames {
    pub(super) fn meaning<'a>(&self, name: &str, identity: &'a Identity) -> Option<Meant<'a>> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        let is_one_of = |names: &[String]| names.iter().any(|known| known == name);
        if is_one_of(&self.svid) {
            return identity.svids.first().map(Meant::Svid);
        }
        if is_one_of(&self.bundles) {
            return Some(Meant::Bundles);
        }
        // Envoy refuses a validator without a root.
        let mut bundles = identity.bundles().filter(|bundle| !bundle.x509_authorities.is_empty());
        if let Some(bundle) = bundles.find(|bundle| bundle.trust_domain.id().as_str() == name) {
            return Some(Meant::Bundle(bundle));
        }
        let is_called = |svid: &&Svid| !name.is_empty() && (svid.profile == name || svid.spiffe_id.as_str() == name);
        identity.svids.iter().find(is_called).map(Meant::Svid)
    }

    /// Every name that means something now, once.
    pub(super) fn all(&self, identity: &Identity) -> Vec<String> {
        let own = identity.svids.iter().flat_map(|svid| [svid.profile.clone(), svid.spiffe_id.as_str().to_owned()]);
        let domains = identity.bundles().map(|bundle| bundle.trust_domain.id().as_str().to_owned());
        let known = self.svid.iter().chain(&self.bundles).chain(self.aliases.keys()).cloned();
        let mut all: Vec<_> = known.chain(own).chain(domains).filter(|name| !name.is_empty()).collect();
        all.sort();
        all.dedup();
        all.retain(|name| self.meaning(name, identity).is_some());
        all
    }
}
