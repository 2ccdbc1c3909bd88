//! Our keys by kind and state. A plain value: steps are applied to it, it is saved and loaded whole.

use crate::bundle::{Bundle, JwtAuthority};
use crate::crypto::{KeyAlgorithm, KeyId, KeyPair};
use crate::identity::TrustDomain;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// What a key is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityKind {
    /// Published in the trust bundle; signs intermediates.
    X509Root,
    /// Signs X.509-SVIDs; never published.
    X509Intermediate,
    /// Published in the trust bundle; signs JWT-SVIDs.
    Jwt,
    /// Signs the journal's checkpoints.
    Journal,
}

impl AuthorityKind {
    /// Its name in records and at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X509Root => "x509-root",
            Self::X509Intermediate => "x509-intermediate",
            Self::Jwt => "jwt",
            Self::Journal => "journal",
        }
    }

    /// What such keys are: P-256 is what every mesh takes; signed checkpoints (C2SP) are Ed25519.
    pub(super) const fn key_algorithm(self) -> KeyAlgorithm {
        match self {
            Self::X509Root | Self::X509Intermediate | Self::Jwt => KeyAlgorithm::EcP256,
            Self::Journal => KeyAlgorithm::Ed25519,
        }
    }

    /// Whether relying parties hold such keys, in the trust bundle.
    const fn is_published(self) -> bool {
        match self {
            Self::X509Root | Self::Jwt => true,
            Self::X509Intermediate | Self::Journal => false,
        }
    }
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityState {
    /// Published, not signing yet.
    Prepared,
    /// Signing.
    Active,
    /// Still published, no longer signing.
    Old,
    /// No longer trusted by us: what it signed is renewed at once.
    Tainted,
}

/// A key of ours and its place.
#[derive(Clone, Debug)]
pub struct Authority {
    /// What it is for.
    pub kind: AuthorityKind,
    /// Counts the keys of a kind, from 1.
    pub generation: u64,
    /// Where it stands.
    pub state: AuthorityState,
    /// The key itself.
    pub key: Arc<KeyPair>,
    /// Its certificate; none for JWT and journal keys.
    pub certificate: Option<CertificateDer<'static>>,
    /// From when it may sign.
    pub not_before: OffsetDateTime,
    /// Until when what it signs may live.
    pub not_after: OffsetDateTime,
}

impl Authority {
    /// The key's name.
    pub fn key_id(&self) -> KeyId {
        self.key.public().id()
    }
}

/// All keys of one trust domain.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// Whose keys these are.
    pub trust_domain: TrustDomain,
    /// Grows with every step.
    pub sequence: u64,
    /// The sequence at which what we publish last changed; an intermediate's change leaves it alone.
    pub published_sequence: u64,
    /// Oldest first.
    pub authorities: Vec<Authority>,
}

impl Keyring {
    /// No keys yet.
    pub const fn empty(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, sequence: 0, published_sequence: 0, authorities: Vec::new() }
    }

    /// The signing key of a kind.
    pub fn active(&self, kind: AuthorityKind) -> Option<&Authority> {
        self.of_kind(kind).find(|authority| authority.state == AuthorityState::Active)
    }

    /// The keys of a kind, oldest first.
    pub fn of_kind(&self, kind: AuthorityKind) -> impl Iterator<Item = &Authority> {
        self.authorities.iter().filter(move |authority| authority.kind == kind)
    }

    /// The number of a kind's next key.
    pub fn next_generation(&self, kind: AuthorityKind) -> u64 {
        self.of_kind(kind).map(|authority| authority.generation).max().unwrap_or(0) + 1
    }

    /// The keyring after a key took over from the active one of its kind.
    #[must_use]
    pub(super) fn succeeded_by(&self, next: Authority) -> Self {
        let kind = next.kind;
        let mut keyring = self.stepped(kind);
        for former in keyring.authorities.iter_mut().filter(|authority| authority.kind == kind) {
            if former.state == AuthorityState::Active {
                former.state = AuthorityState::Old;
            }
        }
        keyring.authorities.push(next);
        keyring
    }

    /// The keyring after a key was dropped.
    #[must_use]
    pub(super) fn without(&self, kind: AuthorityKind, key_id: KeyId) -> Self {
        let mut keyring = self.stepped(kind);
        keyring.authorities.retain(|authority| authority.key_id() != key_id);
        keyring
    }

    fn stepped(&self, kind: AuthorityKind) -> Self {
        let sequence = self.sequence + 1;
        let published_sequence = if kind.is_published() { sequence } else { self.published_sequence };
        Self { sequence, published_sequence, ..self.clone() }
    }

    /// What others need to trust us.
    pub fn bundle(&self, refresh_hint: Duration) -> Bundle {
        Bundle {
            trust_domain: self.trust_domain.clone(),
            sequence: self.published_sequence,
            refresh_hint,
            x509_authorities: self
                .of_kind(AuthorityKind::X509Root)
                .filter_map(|root| root.certificate.clone())
                .collect(),
            jwt_authorities: self
                .of_kind(AuthorityKind::Jwt)
                .map(|authority| JwtAuthority::new(authority.key.public().clone()))
                .collect(),
        }
    }
}
