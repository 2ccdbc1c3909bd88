//! Every bundle that we publish, before the readers of others: go-spiffe, and istiod, which drops all our roots over one odd entry.

use super::judge;
use crate::support::harness::{Harness, POLICY};
use lanyard::authority::{AuthorityKind, AuthorityState, Leeway, Order, OrderKind};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

/// Documents as files, and what readers made of them.
struct Read(TempDir);

impl Read {
    fn all(&self, documents: &[Vec<u8>]) -> Vec<Value> {
        let asked = documents.iter().enumerate().map(|(at, document)| {
            let file = self.0.path().join(format!("{at}.json"));
            fs::write(&file, document).unwrap();
            format!("bundle\tci.example.org\t{}", file.display())
        });
        judge::go().ask(&asked.collect::<Vec<_>>())
    }
}

/// The document of each moment, and how many keys of each kind are to be found in it.
struct Publisher {
    harness: Harness,
    documents: Vec<Vec<u8>>,
    expected: Vec<(usize, usize)>,
}

/// Entra takes RS256 alone, so that there are keys of either kind.
const ENTRA: &str = "[jwt]\nissuer = \"https://ci.example.org\"\n[[consumer]]\nkind = \"entra\"";

impl Publisher {
    async fn begin() -> Self {
        let harness = Harness::whose_issuer_says(ENTRA, POLICY, "memory").await;
        let mut begun = Self { harness, documents: Vec::new(), expected: Vec::new() };
        begun.shows(1, 2);
        begun
    }

    fn shows(&mut self, x509: usize, jwt: usize) {
        self.documents.push(self.harness.issuance().authorities.published().borrow().json.to_vec());
        self.expected.push((x509, jwt));
    }

    async fn obeys(&mut self, kind: OrderKind, authority: AuthorityKind) {
        self.obeys_with(Leeway::None, kind, authority).await;
    }

    async fn obeys_with(&mut self, leeway: Leeway, kind: OrderKind, authority: AuthorityKind) {
        let order = Order { kind, authority, leeway, uid: 0, say: None };
        let now = self.harness.now();
        self.harness.parts.rotator.obey(&order, now).await.unwrap();
    }

    /// The key that gave way, tainted and taken out.
    async fn drops_the_old(&mut self, authority: AuthorityKind) {
        let outlook = self.harness.parts.rotator.outlook(authority, self.harness.now());
        let old = outlook.keys.iter().find(|key| key.kind == authority && key.state == AuthorityState::Old);
        let key_id = old.unwrap().key_id;
        self.obeys(OrderKind::Taint(key_id), authority).await;
        // A token of it may be valid for five minutes more.
        self.harness.advance(7 * 60);
        self.obeys(OrderKind::Revoke(key_id), authority).await;
    }
}

/// Shows: TDB-3, TDB-4, TDB-12, TDB-13, TDB-17, MESH-E1.
#[tokio::test]
async fn whatever_we_publish_in_a_rotation_is_read_whole_by_go_spiffe_and_by_istiod() {
    let (root, jwt, rs256) = (AuthorityKind::X509Root, AuthorityKind::Jwt, AuthorityKind::JwtRs256);
    let mut publisher = Publisher::begin().await;
    publisher.obeys(OrderKind::Prepare, root).await;
    publisher.harness.plan_is_followed().await;
    publisher.shows(2, 2);
    publisher.obeys(OrderKind::Prepare, jwt).await;
    publisher.shows(2, 3);
    publisher.obeys(OrderKind::Prepare, rs256).await;
    publisher.shows(2, 4);
    publisher.harness.advance(46 * 60);
    publisher.obeys(OrderKind::Activate(None), root).await;
    for kind in [jwt, rs256] {
        // A cloud is given a day to read keys; a root's intermediates do not live so long.
        publisher.obeys_with(Leeway::Force, OrderKind::Activate(None), kind).await;
    }
    publisher.shows(2, 4);
    publisher.drops_the_old(root).await;
    publisher.shows(1, 4);
    publisher.drops_the_old(jwt).await;
    publisher.shows(1, 3);
    publisher.drops_the_old(rs256).await;
    publisher.shows(1, 2);

    let is_rsa = |document: &Vec<u8>| String::from_utf8_lossy(document).contains("\"kty\":\"RSA\"");
    assert!(publisher.documents.iter().all(is_rsa), "keys of either kind are among what is read");
    let mut last = (0, &Vec::new());
    let read = Read(TempDir::new().unwrap()).all(&publisher.documents);
    for ((said, (x509, jwt)), document) in read.iter().zip(publisher.expected).zip(&publisher.documents) {
        assert_eq!((&said["go_spiffe"], &said["istio"]), (&json!(""), &json!("")), "{said}");
        assert_eq!((&said["x509"], &said["jwt"]), (&json!(x509), &json!(jwt)), "{said}");
        assert_eq!((&said["istio_roots"], &said["hint"]), (&json!(x509), &json!(300)), "{said}");
        let sequence = said["sequence"].as_u64().unwrap();
        assert_eq!(sequence > last.0, document != last.1, "it grows with each change and with nothing else: {said}");
        last = (sequence, document);
    }
    assert_ne!(publisher.documents.first(), publisher.documents.last());
}

/// Why documents look as they do; and these judges can say no.
/// Shows: MESH-E1.
#[tokio::test]
async fn what_istiod_would_drop_all_our_roots_for_is_what_we_never_publish() {
    let publisher = Publisher::begin().await;
    let ours: Value = serde_json::from_slice(&publisher.documents[0]).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut document = ours.clone();
        change(document["keys"].as_array_mut().unwrap());
        document.to_string().into_bytes()
    };
    let twice = |keys: &mut Vec<Value>| {
        let root = keys[0]["x5c"][0].clone();
        keys[0]["x5c"] = json!([root, root]);
    };
    let unknown = |keys: &mut Vec<Value>| keys.push(json!({"kty": "AKP", "use": "jwt-svid", "kid": "x"}));
    let another = |keys: &mut Vec<Value>| keys[0]["x"] = keys[1]["x"].clone();
    let documents = [
        changed(&|_as_it_is| {}),
        changed(&twice),
        changed(&|keys| keys[0]["x5c"] = json!([])),
        changed(&unknown),
        changed(&another),
        changed(&|keys| drop(keys.remove(0))),
    ];
    let said = Read(TempDir::new().unwrap()).all(&documents);
    let istio: Vec<bool> = said.iter().map(|said| said["istio"] == "").collect();
    assert_eq!(istio, [true, false, false, false, false, false], "{said:#?}");
    let go: Vec<bool> = said.iter().map(|said| said["go_spiffe"] == "").collect();
    assert_eq!(
        go,
        [true, false, false, false, false, true],
        "a bundle of JWT keys alone is one to go-spiffe: {said:#?}"
    );
}
