//! A signer that signs something else than what is on record, field by field.
//!
//! Two authorities with the same keys and the same chance are asked for almost the same; then one's bytes are handed in
//! as the other's.

use super::{IssuedSvid, ReadBackError};
use crate::audit::{Changes, Job, Ledger};
use crate::authority::{Asked, Authorities, Draft, KeyPlan, KeyringFile, Rotator, Signed, SignedBytes, open_keyring};
use crate::clock::SystemClock;
use crate::crypto::{Digest, KeyAlgorithm, KeyPair, Random, SealingKey};
use crate::identity::TrustDomain;
use crate::people::Keeping;
use crate::policy::tests::rule_for;
use crate::policy::{Answers, Kind, Policy, Wish};
use crate::store::{IndexKind, LocalSettings, LocalStore, NoteSigner, Store};
use crate::svid::{DnsNames, DnsSuffix, LeafProfile, ProvenKey, SanOrder, SubjectForm};
use crate::token::tests::claims_of;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;

const PLAN: KeyPlan = KeyPlan { root: Duration::from_secs(86_400_000), ..KeyPlan::DEFAULT };

/// What one SVID is drafted from.
#[derive(Clone)]
struct Wanted {
    wish: Wish,
    pipeline_id: u64,
    key: Arc<KeyPair>,
    leaf: LeafProfile,
    tells_of_the_build: bool,
    now: OffsetDateTime,
    session_ends_at: OffsetDateTime,
}

/// Keys in a folder, and a journal.
struct Ca {
    folder: TempDir,
    store: Arc<dyn Store>,
    now: OffsetDateTime,
}

impl Ca {
    fn new() -> Self {
        let (folder, now) =
            (TempDir::new().unwrap(), claims_of("deploy_production_protected", &[]).unwrap().claims().issued_at);
        let settings = LocalSettings { index: IndexKind::Memory, ..LocalSettings::new(folder.path().to_owned()) };
        let signer = NoteSigner::for_test();
        let store = LocalStore::open(settings, signer, Arc::new(SystemClock)).unwrap();
        Self { folder, store, now }
    }

    /// The same keys each time, and the same serial numbers.
    async fn authorities(&self) -> Arc<Authorities> {
        let path = self.folder.path().join("keyring.json");
        let (file, random) = (KeyringFile::new(path, SealingKey::from_bytes(&[7; 32]).unwrap()), Random::seeded(7));
        let domain = TrustDomain::parse("ci.test").unwrap();
        let keyring = open_keyring(&file, &domain, &PLAN, (self.now, &random), false).await.unwrap();
        let hands = (&*self.store, Ledger::new(Arc::clone(&self.store)));
        Rotator::begin(file, keyring, PLAN, hands, (self.now, Random::seeded(7))).await.unwrap().authorities()
    }

    async fn signed(&self, authorities: &Authorities, wanted: &Wanted) -> Signed {
        let draft = draft(authorities, wanted);
        let ledger = Ledger::new(Arc::clone(&self.store));
        let intent = ledger.admit(draft, Changes::default()).await.unwrap();
        authorities.sign(intent).unwrap()
    }

    fn wanted(&self, wish: Wish) -> Wanted {
        Wanted {
            wish,
            pipeline_id: 574,
            key: Arc::new(KeyPair::generate(KeyAlgorithm::EcP256).unwrap()),
            leaf: LeafProfile::default(),
            tells_of_the_build: false,
            now: self.now,
            session_ends_at: self.now + Duration::from_secs(600),
        }
    }

    /// What is said when the draft of one is handed in with the bytes of the other.
    async fn told(&self, meant: &Wanted, signed: &Wanted) -> String {
        let meant = self.signed(&*self.authorities().await, meant).await;
        let other = self.signed(&*self.authorities().await, signed).await;
        match IssuedSvid::inspect(Signed { draft: meant.draft, bytes: other.bytes }) {
            Ok(_) => "nothing".to_owned(),
            Err(ReadBackError::Differs { field }) => field.to_owned(),
            Err(ReadBackError::Inspect(error)) => panic!("{error}"),
        }
    }
}

fn draft(authorities: &Authorities, wanted: &Wanted) -> Draft {
    let pipeline = ("pipeline_id".to_owned(), json!(wanted.pipeline_id.to_string()));
    let claims = claims_of("deploy_production_protected", &[pipeline]).unwrap();
    let mut rule = rule_for("corp", "/{project_path}/-/pipelines/{pipeline_id}");
    let gives = Arc::make_mut(&mut rule.gives);
    (gives.kinds, gives.audiences) = (vec![Kind::X509, Kind::Jwt], vec!["a".to_owned(), "b".to_owned()]);
    gives.build_claims = wanted.tells_of_the_build.then(|| "https://gitlab.example.com".to_owned());
    let policy = Policy::new(Vec::new(), vec![rule], Digest::of(b"")).unwrap();
    let rule = policy.choose(claims.claims()).unwrap();
    let heard = rule.hear(Answers::NONE).unwrap();
    let grant = heard.grant(&claims, &wanted.wish, authorities.trust_domain()).unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&*wanted.key).unwrap();
    let asked = Asked {
        request_id: "r".to_owned(),
        session: None,
        session_ends_at: wanted.session_ends_at,
        job: Arc::new(Job::of(&claims, &Keeping::Open)),
        policy: *policy.digest(),
        leaf: Arc::new(wanted.leaf.clone()),
        consumers: Arc::default(),
    };
    authorities.draft(grant, Some(&ProvenKey::of_der(csr.der()).unwrap()), asked, wanted.now).unwrap()
}

#[tokio::test]
async fn a_certificate_of_something_else_than_is_on_record_is_not_handed_out() {
    let ca = Ca::new();
    let meant = ca.wanted(Wish::X509 { profile: None });
    let suffix = DnsSuffix::parse("jobs.example.org").unwrap();
    let dns = Some(DnsNames { suffix, order: SanOrder::default() });
    let cases = [
        ("nothing", meant.clone()),
        ("spiffe_id", Wanted { pipeline_id: 575, ..meant.clone() }),
        ("key", ca.wanted(meant.wish.clone())),
        (
            "subject",
            Wanted { leaf: LeafProfile { subject: SubjectForm::Empty, ..LeafProfile::default() }, ..meant.clone() },
        ),
        ("dns", Wanted { leaf: LeafProfile { dns, ..LeafProfile::default() }, ..meant.clone() }),
        ("build_claims", Wanted { tells_of_the_build: true, ..meant.clone() }),
        ("not_before", Wanted { now: meant.now + Duration::from_secs(1), ..meant.clone() }),
        ("not_after", Wanted { session_ends_at: meant.session_ends_at + Duration::from_secs(1), ..meant.clone() }),
        ("type", ca.wanted(jwt("a"))),
    ];
    for (field, signed) in cases {
        assert_eq!(ca.told(&meant, &signed).await, field);
    }
    let authorities = ca.authorities().await;
    let [first, second] = [ca.signed(&authorities, &meant).await, ca.signed(&authorities, &meant).await];
    let swapped = IssuedSvid::inspect(Signed { draft: first.draft, bytes: second.bytes });
    assert!(matches!(swapped, Err(ReadBackError::Differs { field: "serial" })), "{swapped:?}");
    let nothing = IssuedSvid::inspect(Signed { draft: second.draft, bytes: SignedBytes::X509(Vec::new()) });
    assert!(matches!(nothing, Err(ReadBackError::Differs { field: "chain" })), "{nothing:?}");
}

#[tokio::test]
async fn a_token_of_something_else_than_is_on_record_is_not_handed_out() {
    let ca = Ca::new();
    let meant = ca.wanted(jwt("a"));
    let cases = [
        ("nothing", meant.clone()),
        ("sub", Wanted { pipeline_id: 575, ..meant.clone() }),
        ("aud", Wanted { wish: jwt("b"), ..meant.clone() }),
        ("iat", Wanted { now: meant.now + Duration::from_secs(1), ..meant.clone() }),
        ("type", ca.wanted(Wish::X509 { profile: None })),
    ];
    for (field, signed) in cases {
        assert_eq!(ca.told(&meant, &signed).await, field);
    }
    let authorities = ca.authorities().await;
    let [first, second] = [ca.signed(&authorities, &meant).await, ca.signed(&authorities, &meant).await];
    let swapped = IssuedSvid::inspect(Signed { draft: first.draft, bytes: second.bytes });
    assert!(matches!(swapped, Err(ReadBackError::Differs { field: "jti" })), "{swapped:?}");
    let (other, mut rotated) = (Ca::new(), ca.authorities().await);
    let signed = ca.signed(&rotated, &meant).await;
    rotated = other.authorities().await;
    let bytes = ca.signed(&rotated, &meant).await.bytes;
    let by_another_key = IssuedSvid::inspect(Signed { draft: signed.draft, bytes });
    assert!(matches!(by_another_key, Err(ReadBackError::Differs { field: "kid" })), "{by_another_key:?}");
}

fn jwt(audience: &str) -> Wish {
    Wish::Jwt { profile: None, audiences: vec![audience.to_owned()], has_key: true }
}
