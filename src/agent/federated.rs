//! The bundles of other trust domains that a session may have, as the server tells them: whole, with the number of their state.

use crate::bundle::Bundle;
use crate::identity::TrustDomain;
use crate::telemetry::chain;
use crate::wire::lanyard::{FederatedBundle, FederatedBundles};
use std::sync::Arc;

/// See the file's words.
#[derive(Clone, Debug, Default)]
pub(super) struct Federated {
    /// Of the server: numbers of another say nothing.
    run: u64,
    number: u64,
    /// Sorted by trust domain, each once, never our own.
    bundles: Arc<[Bundle]>,
}

impl Federated {
    /// Reads what the server says. One that cannot be taken is left out, and the others are not kept from anybody for it.
    pub(super) fn read(said: FederatedBundles, own: &TrustDomain) -> Self {
        let FederatedBundles { run, number, bundle } = said;
        let mut bundles: Vec<_> = bundle.iter().filter_map(|bundle| read(bundle, own)).collect();
        bundles.sort_by(|one, other| one.trust_domain.cmp(&other.trust_domain));
        bundles.dedup_by(|one, other| one.trust_domain == other.trust_domain);
        Self { run, number, bundles: bundles.into() }
    }

    pub(super) fn bundles(&self) -> &[Bundle] {
        &self.bundles
    }

    /// Whether it was overtaken on its way. What another run of the server says is news, however it counts.
    pub(super) const fn is_older(&self, than: &Self) -> bool {
        self.run == than.run && self.number < than.number
    }

    /// What an answer says to one who has heard newer news since it was asked: whose bundles there are is the answer's word,
    /// what is in them the news'. What the news did not have is gone, or comes with the next renewal.
    #[must_use]
    pub(super) fn beside(self, held: &Self) -> Self {
        if !self.is_older(held) {
            return self;
        }
        let is_granted = |one: &&Bundle| self.bundles.iter().any(|bundle| bundle.trust_domain == one.trust_domain);
        Self { run: held.run, number: held.number, bundles: held.bundles.iter().filter(is_granted).cloned().collect() }
    }
}

fn read(said: &FederatedBundle, own: &TrustDomain) -> Option<Bundle> {
    let FederatedBundle { trust_domain, document } = said;
    let left_out = |why: &str| tracing::error!(trust_domain, why, "the server's foreign bundle is left out");
    let parsed = TrustDomain::parse(trust_domain).inspect_err(|odd| left_out(&chain(odd))).ok()?;
    if parsed == *own {
        left_out("it is our own trust domain's name, whose bundle comes from nobody else");
        return None;
    }
    Bundle::parse(parsed, document).inspect_err(|odd| left_out(&chain(odd))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(number: u64, names: &[(&str, u64)]) -> FederatedBundles {
        let bundle = |(name, sequence): &(&str, u64)| FederatedBundle {
            trust_domain: (*name).to_owned(),
            document: format!("{{\"keys\":[],\"spiffe_sequence\":{sequence}}}").into(),
        };
        FederatedBundles { run: 1, number, bundle: names.iter().map(bundle).collect() }
    }

    fn read(number: u64, names: &[(&str, u64)]) -> Federated {
        Federated::read(said(number, names), &TrustDomain::parse("ci.test").unwrap())
    }

    fn shown(federated: &Federated) -> Vec<(&str, u64)> {
        federated.bundles().iter().map(|bundle| (bundle.trust_domain.as_str(), bundle.sequence)).collect()
    }

    /// Shows: FED-29, MESH-E6.
    #[test]
    fn our_own_trust_domain_is_taken_from_nobody_and_an_odd_bundle_keeps_no_other_back() {
        let mut odd = said(1, &[("mesh.test", 2), ("ci.test", 9), ("Mesh.test", 9), ("a.test", 1), ("mesh.test", 3)]);
        odd.bundle[3].document = b"<html>".as_slice().into();
        let federated = Federated::read(odd, &TrustDomain::parse("ci.test").unwrap());
        assert_eq!(shown(&federated), [("mesh.test", 2)]);
    }

    #[test]
    fn an_answer_that_was_overtaken_by_news_grants_no_more_than_both_say() {
        let held = read(7, &[("a.test", 2), ("c.test", 2)]);
        assert_eq!(shown(&read(7, &[("a.test", 1), ("b.test", 1)]).beside(&held)), [("a.test", 1), ("b.test", 1)]);
        let overtaken = read(6, &[("a.test", 1), ("b.test", 1)]).beside(&held);
        assert_eq!((shown(&overtaken), overtaken.number), (vec![("a.test", 2)], 7));
        assert_eq!(shown(&Federated::default().beside(&held)), []);
    }

    /// The clock of the former one may have been ahead by years.
    #[test]
    fn what_a_server_says_after_its_start_is_taken_however_far_the_former_run_had_counted() {
        let held = read(9, &[("a.test", 1)]);
        let mut after = said(1, &[("a.test", 2)]);
        after.run = 2;
        let after = Federated::read(after, &TrustDomain::parse("ci.test").unwrap());
        assert!(!after.is_older(&held) && read(8, &[]).is_older(&held));
        assert_eq!(shown(&after.beside(&held)), [("a.test", 2)]);
    }
}
