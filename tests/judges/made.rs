//! Chains as files: made by the real road, or by hand where the road would not.

use super::judge::Hearing;
use crate::support::harness::Harness;
use lanyard::crypto::{KeyAlgorithm, KeyPair, PemLabel, Random};
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::svid::{AuthorityFields, LeafFields, Serial, Subject};
use rustls_pki_types::CertificateDer;
use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;

pub(crate) type Der = CertificateDer<'static>;

/// Where the files of one test are.
pub(crate) struct Files {
    folder: TempDir,
    count: Cell<usize>,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), count: Cell::new(0) }
    }

    /// PEM, in this order.
    pub(crate) fn write(&self, certificates: &[Der]) -> PathBuf {
        self.count.set(self.count.get() + 1);
        let path = self.folder.path().join(format!("{}.pem", self.count.get()));
        let pem: String = certificates.iter().map(|der| PemLabel::Certificate.armour(der).to_string()).collect();
        fs::write(&path, pem).unwrap();
        path
    }

    pub(crate) fn hearing(&self, name: &str, chain: &[Der], roots: &[Der], at: OffsetDateTime) -> Hearing {
        let (chain, roots) = (self.write(chain), self.write(roots));
        Hearing { name: name.to_owned(), chain, roots, at: at.unix_timestamp() }
    }
}

/// What the server publishes.
pub(crate) fn roots(harness: &Harness) -> Vec<Der> {
    harness.issuance().authorities.published().borrow().bundle.x509_authorities.clone()
}

/// A certificate authority made by hand, a year long.
pub(crate) struct Authority {
    pub(crate) key: KeyPair,
    pub(crate) fields: AuthorityFields,
    pub(crate) certificate: Der,
}

pub(crate) fn new_key() -> KeyPair {
    KeyPair::generate(KeyAlgorithm::EcP256).unwrap()
}

fn fields(key: &KeyPair, name: &str, path_length: u8, now: OffsetDateTime) -> AuthorityFields {
    AuthorityFields {
        trust_domain: TrustDomain::parse("ci.example.org").unwrap(),
        common_name: name.to_owned(),
        key: key.public().clone(),
        serial: Serial::random(&Random::system()),
        path_length,
        name_constraints: false,
        not_before: now - Duration::from_secs(3600),
        not_after: now + Duration::from_secs(365 * 86_400),
    }
}

impl Authority {
    pub(crate) fn root(name: &str, now: OffsetDateTime) -> Self {
        let key = new_key();
        let fields = fields(&key, name, 1, now);
        let certificate = fields.sign_itself(&key).unwrap();
        Self { key, fields, certificate }
    }

    /// An intermediate below, with its fields changed.
    pub(crate) fn below(&self, name: &str, now: OffsetDateTime, change: impl FnOnce(&mut AuthorityFields)) -> Self {
        let key = new_key();
        let mut fields = fields(&key, name, 0, now);
        change(&mut fields);
        let certificate = fields.sign(&self.certificate, &self.key).unwrap();
        Self { key, fields, certificate }
    }

    /// The same key and name below another root.
    pub(crate) fn crossed(&self, root: &Self) -> Der {
        let serial = Serial::random(&Random::system());
        AuthorityFields { serial, ..self.fields.clone() }.sign(&root.certificate, &root.key).unwrap()
    }

    /// A leaf of ours.
    pub(crate) fn leaf(&self, now: OffsetDateTime, change: impl FnOnce(&mut LeafFields)) -> Der {
        let mut fields = LeafFields {
            spiffe_id: SpiffeId::parse("spiffe://ci.example.org/acme/api/-/pipelines/7").unwrap(),
            dns: None,
            key: new_key().public().clone(),
            serial: Serial::random(&Random::system()),
            subject: Subject::Organization,
            build_claims: lanyard::svid::BuildClaims::default(),
            not_before: now - Duration::from_secs(10),
            not_after: now + Duration::from_secs(900),
        };
        change(&mut fields);
        fields.sign(&self.certificate, &self.key).unwrap()
    }
}
