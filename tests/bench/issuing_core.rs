//! The road without doors, policy and journal, on one thread: token verified, key proven, leaf laid out and signed.

use crate::callers::{csr, now, p256};
use crate::issuer::{AUDIENCE, FakeIssuer, URL};
use crate::processor_time_of;
use lanyard::crypto::{KeyPair, Random};
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::svid::{AuthorityFields, BuildClaims, LeafFields, LeafSigner, ProvenKey, Serial, Subject};
use lanyard::token::{Expectations, IssuerKind, IssuerName, KeySet, TokenAlgorithm, UnverifiedToken};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// About a seventh of a second.
const TURNS: u32 = 2000;
/// So many that no branch learns one by heart.
const EXCHANGES: usize = 250;

pub(crate) struct IssuingCore {
    exchanges: Vec<(String, Vec<u8>)>,
    keys: KeySet,
    expectations: Expectations,
    spiffe_id: SpiffeId,
    signer: LeafSigner,
    random: Random,
    now: OffsetDateTime,
}

impl IssuingCore {
    pub(crate) fn new() -> Self {
        let (issuer, now) = (FakeIssuer::new(), now().replace_nanosecond(0).unwrap());
        Self {
            exchanges: (0..EXCHANGES).map(|_| (issuer.token(now), csr(&p256()))).collect(),
            keys: KeySet::parse(&issuer.jwks()).unwrap(),
            expectations: Expectations {
                issuer: IssuerName("corp".into()),
                issuer_url: URL.to_owned(),
                audience: AUDIENCE.to_owned(),
                allow_shared_audience: false,
                allow_missing_jti: false,
                kind: IssuerKind::GitLab,
                algorithms: vec![TokenAlgorithm::Rs256],
                leeway: Expectations::LEEWAY,
                max_token_age: Expectations::MAX_TOKEN_AGE,
            },
            spiffe_id: SpiffeId::parse("spiffe://ci.example.org/acme/payments/api/-/pipelines/574").unwrap(),
            signer: signer(p256(), now),
            random: Random::system(),
            now,
        }
    }

    /// The cost of one issuance, now.
    pub(crate) fn measure(&self) -> Duration {
        processor_time_of(TURNS, || {
            for (token, csr) in self.exchanges.iter().cycle().take(usize::try_from(TURNS).unwrap()) {
                black_box(self.issue(token, csr));
            }
        })
    }

    fn issue(&self, token: &str, csr: &[u8]) -> Vec<u8> {
        let token = UnverifiedToken::parse(black_box(token)).unwrap();
        let claims = token.verify(&self.keys, &self.expectations, self.now).unwrap();
        claims.fresh_enough(self.expectations.max_token_age, self.now).unwrap();
        let proven = ProvenKey::of_der(black_box(csr)).unwrap();
        let leaf = LeafFields {
            spiffe_id: self.spiffe_id.clone(),
            key: proven.key().clone(),
            serial: Serial::random(&self.random),
            subject: Subject::Organization,
            dns: None,
            build_claims: BuildClaims::default(),
            not_before: self.now,
            not_after: self.now + Duration::from_secs(900),
        };
        self.signer.sign(&leaf).unwrap().to_vec()
    }
}

/// An authority that signed itself is enough: leaves cost the same under it.
fn signer(key: KeyPair, now: OffsetDateTime) -> LeafSigner {
    let authority = AuthorityFields {
        trust_domain: TrustDomain::parse("ci.example.org").unwrap(),
        common_name: "Lanyard intermediate".to_owned(),
        key: key.public().clone(),
        serial: Serial::random(&Random::system()),
        path_length: 0,
        name_constraints: false,
        not_before: now,
        not_after: now + Duration::from_secs(86_400),
    };
    LeafSigner::new(&authority.sign_itself(&key).unwrap(), Arc::new(key)).unwrap()
}
