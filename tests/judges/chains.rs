//! Chains as they come, torn, crossed and constrained: who takes them.

use super::judge::{self, Hearing};
use super::made::{Authority, Der, Files, roots};
use super::vectors;
use crate::support::harness::{Agent, Harness, POLICY, chain, start};
use lanyard::identity::TrustDomain;
use lanyard::svid::{DnsSan, LeafFields, SanOrder, validate_x509_svid};
use std::time::Duration;

/// All of them, and Lanyard's own validator.
const EVERYBODY: [&str; 5] = ["openssl", "go", "webpki", "java", "lanyard"];

async fn issued(harness: &Harness) -> Vec<Der> {
    let token = harness.issuer.token(harness.now());
    chain(&harness.exchange(&token, &Agent::new()).await.unwrap()).into_iter().map(Der::from).collect()
}

/// Each hearing is taken by exactly these.
fn taken_by<const N: usize>(cases: [(Hearing, &[&str]); N]) {
    let (hearings, wanted): (Vec<Hearing>, Vec<&[&str]>) = cases.into_iter().unzip();
    let mut takers: Vec<Vec<&str>> = vec![Vec::new(); N];
    let mut reasons: Vec<Vec<String>> = vec![Vec::new(); N];
    for judge in judge::all() {
        for (at, verdict) in judge.verify(&hearings).into_iter().enumerate() {
            if verdict.holds() { takers[at].push(judge.name()) } else { reasons[at].push(verdict.server) }
        }
    }
    for (at, hearing) in hearings.iter().enumerate() {
        match vectors::ours(hearing, "ci.example.org") {
            Ok(_) => takers[at].push("lanyard"),
            Err(error) => reasons[at].push(error.to_string()),
        }
        assert_eq!(takers[at], wanted[at], "{:?} is refused because: {:#?}", hearing.name, reasons[at]);
    }
}

/// Shows: X509-16, X509-25, MESH-A4.
#[tokio::test]
async fn a_chain_is_leaf_and_intermediate_and_needs_both() {
    let (harness, stranger, files) = (Harness::new().await, Harness::new().await, Files::new());
    let (chain, roots) = (issued(&harness).await, roots(&harness));
    assert_eq!((chain.len(), roots.len()), (2, 1));
    assert!(!chain.contains(&roots[0]), "the root is never in the chain");
    let now = harness.now();
    taken_by([
        (files.hearing("whole", &chain, &roots, now), &EVERYBODY),
        (files.hearing("without the intermediate", &chain[..1], &roots, now), &[]),
        (files.hearing("another server's root", &chain, &super::made::roots(&stranger), now), &[]),
        (files.hearing("a day later", &chain, &roots, now + Duration::from_secs(86_400)), &[]),
        (files.hearing("a minute early", &chain, &roots, now - Duration::from_secs(120)), &[]),
        // Go leaves it to its caller whether an authority may be a peer.
        (files.hearing("the intermediate as a peer", &chain[1..], &roots, now), &["go"]),
    ]);
}

/// Shows: X509-16, X509-23.
#[test]
fn a_name_without_its_key_opens_nothing() {
    let (files, now) = (Files::new(), start());
    let (root, double) = (Authority::root("root", now), Authority::root("root", now));
    let intermediate = root.below("intermediate", now, |_same| {});
    let impostor = root.below("intermediate", now, |_same| {});
    let leaf = intermediate.leaf(now, |_same| {});
    let mut forged = leaf.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let chain = |leaf: &Der, below: &Authority| [leaf.clone(), below.certificate.clone()];
    let roots = |root: &Authority| [root.certificate.clone()];
    taken_by([
        (files.hearing("genuine", &chain(&leaf, &intermediate), &roots(&root), now), &EVERYBODY),
        (files.hearing("forged", &chain(&Der::from(forged), &intermediate), &roots(&root), now), &[]),
        (files.hearing("another key of the issuer's name", &chain(&leaf, &impostor), &roots(&root), now), &[]),
        (files.hearing("another key of the root's name", &chain(&leaf, &intermediate), &roots(&double), now), &[]),
    ]);
}

/// Shows: X509-16.
#[test]
fn no_changed_byte_of_a_chain_is_taken_by_us_or_makes_us_panic() {
    let now = start();
    let root = Authority::root("root", now);
    let intermediate = root.below("intermediate", now, |_same| {});
    let leaf = intermediate.leaf(now, named);
    let bundle = vectors::bundle("ci.example.org", vec![root.certificate.clone()]);
    let chain = [leaf, intermediate.certificate.clone()];
    assert!(validate_x509_svid(&chain, &[&bundle], now).is_ok());
    for place in 0..chain.len() {
        for at in 0..chain[place].len() {
            let mut bytes = chain[place].to_vec();
            bytes[at] ^= 0x11;
            let mut odd = chain.clone();
            odd[place] = Der::from(bytes);
            assert!(validate_x509_svid(&odd, &[&bundle], now).is_err(), "byte {at} of certificate {place}");
        }
    }
}

/// Shows: X509-23, FED-3, MESH-A5.
#[tokio::test]
async fn a_new_intermediate_changes_no_bundle_and_both_its_leaves_and_the_old_ones_hold() {
    let (mut harness, files) = (Harness::new().await, Files::new());
    harness.advance(12 * 3600);
    harness.plan_is_followed().await;
    harness.advance(40 * 60);
    let (old, before) = (issued(&harness).await, harness.issuance().authorities.published().borrow().json.clone());
    harness.advance(5 * 60);
    harness.plan_is_followed().await;
    let (new, after) = (issued(&harness).await, harness.issuance().authorities.published().borrow().json.clone());
    assert_eq!(before, after);
    assert_ne!(old[1], new[1]);
    let (now, roots) = (harness.now(), roots(&harness));
    taken_by([
        (files.hearing("old", &old, &roots, now), &EVERYBODY),
        (files.hearing("new", &new, &roots, now), &EVERYBODY),
        (files.hearing("an old leaf below the new one", &[old[0].clone(), new[1].clone()], &roots, now), &[]),
    ]);
}

/// Shows: X509-15, MESH-A7.
#[tokio::test]
async fn name_constraints_are_kept_by_those_who_read_them_and_refused_by_those_who_cannot() {
    let files = Files::new();
    let harness = Harness::whose_issuer_says("[keys]\nname_constraints = true", POLICY, "memory").await;
    let (chain, roots, now) = (issued(&harness).await, roots(&harness), harness.now());
    let root = Authority::root("root", now);
    let elsewhere = root.below("constrained", now, |fields| {
        fields.trust_domain = TrustDomain::parse("other.example").unwrap();
        fields.name_constraints = true;
    });
    let outside = [elsewhere.leaf(now, |_same| {}), elsewhere.certificate.clone()];
    taken_by([
        // Linkerd and all of rustls cannot read constraints on URIs: why the option is off, and no setting for Linkerd.
        (files.hearing("within", &chain, &roots, now), &["openssl", "go", "java", "lanyard"]),
        (files.hearing("outside", &outside, &[root.certificate], now), &[]),
    ]);
}

/// A leaf with a DNS name.
fn named(fields: &mut LeafFields) {
    fields.dns = Some(DnsSan { name: "pl7.p42.ci.example.net".to_owned(), order: SanOrder::UriFirst });
}

#[tokio::test]
async fn what_an_authority_above_excludes_is_refused_also_where_another_way_leads_around_it() {
    let (files, now) = (Files::new(), start());
    let (root, other) = (Authority::root("root", now), Authority::root("other root", now));
    let intermediate = root.below("crossed", now, |_same| {});
    let leaf = intermediate.leaf(now, named);
    let excluding = |domain: &str| vectors::crossed_excluding(&intermediate, &other, domain, now);
    let hearing = |name: &str, above: &[&Der], roots: &[&Authority]| {
        let chain: Vec<Der> = [&leaf].into_iter().chain(above.iter().copied()).cloned().collect();
        let roots: Vec<Der> = roots.iter().map(|root| root.certificate.clone()).collect();
        files.hearing(name, &chain, &roots, now)
    };
    let (plain, crossed) = (&intermediate.certificate, &intermediate.crossed(&other));
    let (same, upper, harmless) = (&excluding("example.net"), &excluding("EXAMPLE.net"), &excluding("example.com"));
    let both = [&root, &other];
    taken_by([
        (hearing("by one root", &[plain], &[&root]), &EVERYBODY),
        (hearing("by the other", &[crossed], &[&other]), &EVERYBODY),
        (hearing("by either", &[crossed], &both), &EVERYBODY),
        (hearing("by the wrong one", &[crossed], &[&root]), &[]),
        (hearing("excluded", &[same], &[&other]), &[]),
        (hearing("excluded in capitals", &[upper], &[&other]), &[]),
        (hearing("something else excluded", &[harmless], &[&other]), &EVERYBODY),
        // The way around ends at a root that does not count here.
        (hearing("a way around to nobody", &[plain, same], &[&other]), &[]),
        (hearing("a way around", &[plain, same], &[&root]), &["openssl", "go", "webpki"]),
    ]);
}
