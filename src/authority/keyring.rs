//! Our keys by kind and state. A plain value: steps are applied to it, it is saved and loaded whole.

use super::{LooseKey, Taken};
use crate::bundle::{Bundle, JwtAuthority};
use crate::crypto::{KeyAlgorithm, KeyId, KeyPair};
use crate::custody::{AuthorityKey, PlacedKey};
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
    /// Published in the trust bundle; signs JWT-SVIDs, by ES256.
    Jwt,
    /// The same by RS256, for readers who take nothing else; there where one is declared.
    JwtRs256,
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
            Self::JwtRs256 => "jwt-rs256",
            Self::Journal => "journal",
        }
    }

    /// What such keys are: P-256 is what every mesh takes, RSA what every cloud does; signed checkpoints (C2SP) are Ed25519.
    pub(super) const fn key_algorithm(self) -> KeyAlgorithm {
        match self {
            Self::X509Root | Self::X509Intermediate | Self::Jwt => KeyAlgorithm::EcP256,
            Self::JwtRs256 => KeyAlgorithm::Rsa,
            Self::Journal => KeyAlgorithm::Ed25519,
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::X509Root, Self::X509Intermediate, Self::Jwt, Self::JwtRs256, Self::Journal]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    /// Whether such keys sign JWT-SVIDs.
    pub const fn signs_jwts(self) -> bool {
        match self {
            Self::Jwt | Self::JwtRs256 => true,
            Self::X509Root | Self::X509Intermediate | Self::Journal => false,
        }
    }

    /// Whether relying parties hold such keys, in the trust bundle.
    pub(super) const fn is_published(self) -> bool {
        match self {
            Self::X509Root | Self::Jwt | Self::JwtRs256 => true,
            Self::X509Intermediate | Self::Journal => false,
        }
    }
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityState {
    /// Published, an intermediate by its revocation list, and not signing yet.
    Prepared,
    /// Signing.
    Active,
    /// Still published, no longer signing.
    Old,
    /// No longer trusted by us: what it signed is renewed at once.
    Tainted,
    /// No longer published; its sealed key is kept until an operator revokes it.
    Removed,
}

impl AuthorityState {
    /// Its name in records and at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Old => "old",
            Self::Tainted => "tainted",
            Self::Removed => "removed",
        }
    }
}

/// From when on relying parties could hold a key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Publication {
    /// The first bundle that had it.
    pub sequence: u64,
    /// When that was.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// Whose a key is.
#[derive(Clone, Debug)]
pub enum KeyOf {
    /// Ours, wherever it lives.
    Us(AuthorityKey),
    /// An authority above ours, whose root this is: it is named by its certificate.
    Upstream(KeyId),
}

/// A key and its place.
#[derive(Clone, Debug)]
pub struct Authority {
    /// What it is for.
    pub kind: AuthorityKind,
    /// Counts the keys of a kind, from 1.
    pub generation: u64,
    /// Where it stands.
    pub state: AuthorityState,
    /// Since when it stands there.
    pub since: OffsetDateTime,
    /// Since when it stands in the bundle; none for kinds that do not.
    pub published: Option<Publication>,
    /// The root that signed it; none for others than intermediates.
    pub issuer: Option<KeyId>,
    /// The key itself.
    pub key: KeyOf,
    /// Its certificate; none for JWT and journal keys.
    pub certificate: Option<CertificateDer<'static>>,
    /// What stands between an intermediate and the root of an authority above ours, each before its issuer.
    pub above: Vec<CertificateDer<'static>>,
    /// From when it may sign.
    pub not_before: OffsetDateTime,
    /// Until when what it signs may live.
    pub not_after: OffsetDateTime,
}

impl Authority {
    /// The key's name.
    pub fn key_id(&self) -> KeyId {
        match &self.key {
            KeyOf::Us(key) => key.public().id(),
            KeyOf::Upstream(name) => *name,
        }
    }

    /// Whether the key is ours: then it is worth keeping.
    pub const fn is_ours(&self) -> bool {
        self.own_key().is_some()
    }

    /// The key itself, where we hold it.
    pub const fn held_key(&self) -> Option<&Arc<KeyPair>> {
        match &self.key {
            KeyOf::Us(key) => key.held(),
            KeyOf::Upstream(_) => None,
        }
    }

    /// Where it lives, where that is a place.
    pub const fn placed_key(&self) -> Option<&PlacedKey> {
        match &self.key {
            KeyOf::Us(key) => key.placed(),
            KeyOf::Upstream(_) => None,
        }
    }

    /// The key, where it is ours.
    pub const fn own_key(&self) -> Option<&AuthorityKey> {
        match &self.key {
            KeyOf::Us(key) => Some(key),
            KeyOf::Upstream(_) => None,
        }
    }
}

/// How a keyring stands to its journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Against {
    /// Somebody put an old one back.
    Older,
    /// It is the one.
    Recorded,
    /// Records are missing.
    Unknown,
    /// A crash came between: what it says is to be recorded.
    Unrecorded,
}

/// A keyring begins with at most one key of each kind, made and saved before there is a journal.
const FIRST_KEYS_MAX: u64 = 5;

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
    /// The last step, as the journal has to know it: a crash may come between the two. None for first keys.
    pub latest: Option<Taken>,
    /// Keys in places that no authority names.
    pub loose: Vec<LooseKey>,
}

impl Keyring {
    /// No keys yet.
    pub const fn empty(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            sequence: 0,
            published_sequence: 0,
            authorities: Vec::new(),
            latest: None,
            loose: Vec::new(),
        }
    }

    /// The signing key of a kind.
    pub fn active(&self, kind: AuthorityKind) -> Option<&Authority> {
        self.of_kind(kind).find(|authority| authority.state == AuthorityState::Active)
    }

    /// The keys of a kind, oldest first.
    pub fn of_kind(&self, kind: AuthorityKind) -> impl Iterator<Item = &Authority> {
        self.authorities.iter().filter(move |authority| authority.kind == kind)
    }

    /// How it stands to what the journal has recorded of it. A crash leaves the file one step ahead, or the first keys
    /// unrecorded.
    pub(super) fn against(&self, recorded: u64) -> Against {
        match self.sequence {
            found if found == recorded => Against::Recorded,
            found if found < recorded => Against::Older,
            found if found == recorded.saturating_add(1) => Against::Unrecorded,
            found if self.latest.is_none() && found <= FIRST_KEYS_MAX => Against::Unrecorded,
            _ => Against::Unknown,
        }
    }

    /// A key of a kind before its first step, which puts it where it belongs; without certificate, and under no root.
    pub(super) fn newcomer(
        &self,
        kind: AuthorityKind,
        key: KeyOf,
        (not_before, not_after): (OffsetDateTime, OffsetDateTime),
        since: OffsetDateTime,
    ) -> Authority {
        Authority {
            kind,
            generation: self.next_generation(kind),
            state: AuthorityState::Prepared,
            since,
            published: None,
            issuer: None,
            key,
            certificate: None,
            above: Vec::new(),
            not_before,
            not_after,
        }
    }

    /// The number of a kind's next key.
    pub fn next_generation(&self, kind: AuthorityKind) -> u64 {
        self.of_kind(kind).map(|authority| authority.generation).max().unwrap_or(0) + 1
    }

    /// The key of that name.
    pub fn find(&self, key_id: KeyId) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.key_id() == key_id)
    }

    /// The keys of a kind that relying parties are told of, oldest first.
    pub fn published(&self, kind: AuthorityKind) -> impl Iterator<Item = &Authority> {
        self.of_kind(kind).filter(move |authority| kind.is_published() && authority.state != AuthorityState::Removed)
    }

    /// The intermediates that a root signed, oldest first.
    pub fn below(&self, root: KeyId) -> impl Iterator<Item = &Authority> {
        self.authorities.iter().filter(move |authority| authority.issuer == Some(root))
    }

    /// What others need to trust us.
    pub fn bundle(&self, refresh_hint: Duration) -> Bundle {
        Bundle {
            trust_domain: self.trust_domain.clone(),
            sequence: self.published_sequence,
            refresh_hint,
            x509_authorities: self
                .published(AuthorityKind::X509Root)
                .filter_map(|root| root.certificate.clone())
                .collect(),
            jwt_authorities: self
                .published(AuthorityKind::Jwt)
                .chain(self.published(AuthorityKind::JwtRs256))
                .filter_map(|authority| Some(JwtAuthority::new(authority.own_key()?.public().clone())))
                .collect(),
        }
    }
}
