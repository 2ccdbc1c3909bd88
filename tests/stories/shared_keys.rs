//! One key for two trust domains: what is held already is held against ours too, after each start and each change of ours.

use crate::support::beside::{LIMIT, Site, channel};
use crate::support::harness::{Harness, POLICY};
use crate::support::hierarchy::{Hierarchy, P256, SOUND};
use lanyard::audit::{Changes, Entry, Person, Shown};
use lanyard::bundle::Bundle;
use lanyard::federation::Source;
use lanyard::identity::TrustDomain;
use lanyard::store::Write;
use lanyard::wire::lanyard::admin_client::AdminClient;
use lanyard::wire::lanyard::set_bundle_request::Form;
use lanyard::wire::lanyard::{BundleShown, ListBundlesRequest, SetBundleRequest};
use serde_json::json;
use serde_json::value::to_raw_value;
use std::time::Duration;

fn mesh() -> TrustDomain {
    TrustDomain::parse("mesh.test").unwrap()
}

/// A bundle of another trust domain that comes with our own root, as a server kept it that did not look.
async fn hold_ours_as_theirs(harness: &Harness) {
    let ours = harness.parts.rotator.authorities().published().borrow().clone();
    let document = String::from_utf8(ours.json.to_vec()).unwrap();
    let since = harness.now().unix_timestamp();
    let record = json!({ "v": 1, "from": "operator", "since": since, "document": document });
    let writes = vec![Write::Put("bundle/mesh.test".to_owned(), to_raw_value(&record).unwrap())];
    let (source, new) = (Source::Operator.to_string(), Some(Shown::of(&ours.bundle, &ours.json)));
    let entry =
        Entry::BundleChanged { trust_domain: "mesh.test", source: &source, old: None, new, by: None, say: None };
    let changes = Changes { conditions: Vec::new(), writes };
    harness.issuance().ledger.commit(&entry, changes).await.unwrap();
}

/// Shows: TDB-25.
#[tokio::test]
async fn a_kept_bundle_with_a_key_of_ours_is_set_aside_at_the_start_and_stays_so() {
    let harness = Harness::with(POLICY, "sled").await;
    hold_ours_as_theirs(&harness).await;
    let mut harness = harness;
    for _start in 0..2 {
        harness = harness.restarted(None).await;
        let federation = &harness.parts.federation;
        let relation = federation.relation(&mesh()).unwrap();
        let problem = relation.problem.as_deref().unwrap_or_default();
        assert!(problem.contains("says that it is of spiffe://ci.example.org"), "{relation:#?}");
        assert!(relation.kept.is_none() && federation.now().is_empty());
    }
    let bundle = Bundle::parse(mesh(), b"{\"keys\":[]}").unwrap();
    harness.parts.federation.set(bundle, (&Person::of(0), None), harness.now()).await.unwrap();
    let relation = harness.parts.federation.relation(&mesh()).unwrap();
    assert!(relation.kept.is_some() && relation.problem.is_none(), "{relation:#?}");
    let changes = harness.entries("bundle_changed");
    let said: Vec<_> = changes.iter().map(|entry| entry.get("say").is_some()).collect();
    assert_eq!(said, [false, true, false], "{changes:#?}");
}

/// What is listed of the mesh, once it is so.
async fn listed(site: &Site, so: impl Fn(&BundleShown) -> bool) -> Vec<BundleShown> {
    let seen = async {
        loop {
            let mut admin = AdminClient::new(channel(&site.path("admin.sock")));
            let all = admin.list_bundles(ListBundlesRequest {}).await.unwrap().into_inner().bundle;
            if all.iter().any(|one| one.trust_domain == "mesh.test" && so(one)) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap()
}

/// Shows: TDB-25.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_becomes_ours_too_is_taken_from_the_other_trust_domain_while_the_server_runs() {
    let made = Hierarchy::two_tiers();
    for root in ["corp", "apart"] {
        made.root(root, P256, SOUND);
    }
    let upstream = made.settings();
    let mut site = Site::open_as(POLICY, |settings| settings.upstream = Some(upstream)).await;
    for (name, root) in [("mesh.test", "corp"), ("other.test", "apart")] {
        let form = Some(Form::Pem(made.pem(root).into()));
        let asked = SetBundleRequest { trust_domain: name.to_owned(), form, ..SetBundleRequest::default() };
        AdminClient::new(channel(&site.path("admin.sock"))).set_bundle(asked).await.unwrap();
    }
    listed(&site, |mesh| mesh.held).await;
    made.put("roots.pem", &["root", "corp"]);
    site.clock.advance(Duration::from_secs(6));
    let all = listed(&site, |mesh| !mesh.held && mesh.problem.contains("has a key of this server")).await;
    assert_eq!(
        all.iter().filter(|one| one.held).map(|one| one.trust_domain.as_str()).collect::<Vec<_>>(),
        ["other.test"]
    );
    site.shut().await;
    site.open_again().await;
    listed(&site, |mesh| !mesh.held && !mesh.problem.is_empty()).await;
}
