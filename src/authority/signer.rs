//! The keys in use: they draft, and they sign what is on record and nothing else.

use super::crl_issuers::{CrlIssuer, crl_issuers};
use super::distant_crls::DistantCrls;
use super::draft::{Asked, Content, end_of_life, whole_seconds};
use super::in_use::{JwtSigners, X509Signer, signers};
use super::rotation::JWT_TTL_MAX;
use super::{Authority, AuthorityKind, AuthorityState, Draft, DraftError, Inventory, Keyring, LimitedBy, Published};
use crate::audit::Recorded;
use crate::bundle::{Bundle, JwtAuthority};
use crate::consumer::Offer;
use crate::crypto::{CryptoError, KeyId, Random};
use crate::custody::CustodyError;
use crate::federation::Ours;
use crate::identity::TrustDomain;
use crate::policy::{Grant, Kind};
use crate::svid::{JwtFields, LayoutError, LeafFields, ProvenKey, Serial};
use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// A leaf begins a little in the past, for clocks that run behind (X509-21).
pub(super) const BACKDATE: Duration = Duration::from_secs(10);

/// Why a recorded draft was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The place where a key lives did not sign.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The JWT could not be signed.
    #[error("the JWT-SVID cannot be signed")]
    Jwt(#[from] CryptoError),
    /// The certificate could not be built.
    #[error("the certificate cannot be built")]
    X509(#[from] LayoutError),
}

/// Bytes under our key, with the draft they must be equal to.
#[derive(Debug)]
pub struct Signed {
    /// What should stand in the bytes.
    pub draft: Draft,
    /// What was signed.
    pub bytes: SignedBytes,
}

/// A credential as it leaves.
#[derive(Debug)]
pub enum SignedBytes {
    /// Leaf first, then the intermediate and what stands above it; the root is left out.
    X509(Vec<CertificateDer<'static>>),
    /// Compact serialisation.
    Jwt(String),
}

/// Keys whose SVIDs are to be renewed at once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TaintedKeys {
    /// Those that signed X.509-SVIDs.
    pub intermediates: Vec<KeyId>,
    /// Those that signed JWT-SVIDs, as their headers name them.
    pub kids: Vec<String>,
}

/// The keys in use, swapped by the rotator.
#[derive(Debug)]
pub struct Authorities {
    trust_domain: TrustDomain,
    refresh_hint: Duration,
    pub(super) random: Random,
    pub(super) x509: ArcSwap<X509Signer>,
    jwt: ArcSwap<JwtSigners>,
    published: watch::Sender<Arc<Published>>,
    tainted: watch::Sender<Arc<TaintedKeys>>,
    inventory: watch::Sender<Inventory>,
    pub(super) crl_issuers: watch::Sender<Option<Arc<[CrlIssuer]>>>,
    pub(super) distant_crls: DistantCrls,
    pub(super) listed: Mutex<Option<BTreeMap<KeyId, OffsetDateTime>>>,
}

impl Ours for Authorities {
    fn trust_domain(&self) -> &TrustDomain {
        self.trust_domain()
    }

    fn bundle(&self) -> Bundle {
        self.published.borrow().bundle.clone()
    }
}

impl Authorities {
    /// The keys of a keyring that has an active one of each kind; none otherwise.
    pub(super) fn of(keyring: &Keyring, refresh_hint: Duration, random: Random) -> Option<Self> {
        let (x509, jwt) = signers(keyring)?;
        Some(Self {
            trust_domain: keyring.trust_domain.clone(),
            refresh_hint,
            random,
            x509: ArcSwap::from_pointee(x509),
            jwt: ArcSwap::from_pointee(jwt),
            published: watch::Sender::new(Arc::new(Published::of(keyring, refresh_hint))),
            tainted: watch::Sender::new(Arc::new(TaintedKeys::of(keyring))),
            inventory: watch::Sender::new(Inventory::of(keyring)),
            crl_issuers: watch::Sender::new(crl_issuers(keyring).map(Into::into)),
            distant_crls: DistantCrls::default(),
            listed: Mutex::default(),
        })
    }

    /// Takes a changed keyring into use; watchers of the bundle are told only if it changed.
    pub(super) fn swap(&self, keyring: &Keyring, (x509, jwt): (X509Signer, JwtSigners)) {
        self.x509.store(Arc::new(x509));
        self.jwt.store(Arc::new(jwt));
        let tainted = Arc::new(TaintedKeys::of(keyring));
        self.tainted.send_if_modified(|known| {
            let changed = *known != tainted;
            *known = tainted;
            changed
        });
        self.inventory.send_replace(Inventory::of(keyring));
        self.crl_issuers.send_replace(crl_issuers(keyring).map(Into::into));
        let published = Arc::new(Published::of(keyring, self.refresh_hint));
        self.published.send_if_modified(|current| {
            let changed = current.bundle != published.bundle;
            if changed {
                *current = published;
            }
            changed
        });
    }

    /// The keys whose SVIDs are to be renewed at once, now and as they change.
    pub fn tainted(&self) -> watch::Receiver<Arc<TaintedKeys>> {
        self.tainted.subscribe()
    }

    /// Which keys there are, now and as they change.
    pub fn inventory(&self) -> watch::Receiver<Inventory> {
        self.inventory.subscribe()
    }

    /// Whose keys these are.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The bundle, now and as it changes.
    pub fn published(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// When the intermediate in use ends.
    pub fn signer_ends_at(&self) -> OffsetDateTime {
        self.x509.load().not_after
    }

    /// What the key is called that signs now for this kind; of several, the one that signs for whoever wants no other.
    pub fn signer_of(&self, kind: Kind) -> Arc<str> {
        match kind {
            Kind::X509 => Arc::clone(&self.x509.load().name),
            Kind::Jwt => Arc::clone(self.jwt.load().usual()),
        }
    }

    /// All that will be signed for a grant.
    ///
    /// # Errors
    /// `NoKey` for an X.509-SVID without a proven key, `NoTimeLeft` when a limit has passed.
    pub fn draft(
        &self,
        grant: Grant,
        key: Option<&ProvenKey>,
        asked: Asked,
        now: OffsetDateTime,
    ) -> Result<Draft, DraftError> {
        let (content, limited_by) = match grant.kind() {
            Kind::X509 => self.draft_x509(&grant, key.ok_or(DraftError::NoKey)?, &asked, now)?,
            Kind::Jwt => self.draft_jwt(&grant, &asked, now)?,
        };
        Ok(Draft { asked, grant, limited_by, content })
    }

    fn draft_x509(
        &self,
        grant: &Grant,
        key: &ProvenKey,
        asked: &Asked,
        now: OffsetDateTime,
    ) -> Result<(Content, LimitedBy), DraftError> {
        let signer = self.x509.load_full();
        let (not_after, limited_by) = end_of_life(now, grant.ttl(), asked.session_ends_at, signer.not_after)?;
        let fields = LeafFields {
            spiffe_id: grant.spiffe_id().clone(),
            key: key.key().clone(),
            serial: Serial::random(&self.random),
            subject: asked.leaf.subject(&asked.job.issuer.0, asked.job.project_id),
            dns: asked.leaf.dns_san(&asked.job.issuer.0, asked.job.project_id, asked.job.pipeline_id),
            build_claims: grant.build_claims().clone(),
            not_before: whole_seconds(now - BACKDATE).max(signer.not_before),
            not_after,
        };
        Ok((Content::X509 { fields, signer }, limited_by))
    }

    fn draft_jwt(&self, grant: &Grant, asked: &Asked, now: OffsetDateTime) -> Result<(Content, LimitedBy), DraftError> {
        let consumers = &asked.consumers;
        let algorithm = consumers.algorithm(grant.audiences())?;
        let signers = self.jwt.load();
        let signer = signers.by(algorithm).ok_or(DraftError::NoSigner { algorithm })?;
        let ttl = grant.ttl().min(JWT_TTL_MAX);
        let (not_after, limited_by) = end_of_life(now, ttl, asked.session_ends_at, signer.not_after)?;
        let fields = JwtFields {
            issuer: consumers.issuer.as_ref().map(ToString::to_string),
            spiffe_id: grant.spiffe_id().clone(),
            audience: grant.audiences().to_vec(),
            jti: Serial::random(&self.random).to_string(),
            issued_at: whole_seconds(now),
            not_after,
            claims: grant.claims().clone(),
        };
        consumers.take(&Offer {
            issuer: consumers.issuer.as_ref(),
            algorithm,
            spiffe_id: grant.spiffe_id(),
            audiences: grant.audiences(),
            claims: grant.claims(),
            bytes: fields.bytes(algorithm, &signer.kid),
        })?;
        Ok((Content::Jwt { fields, signer: Arc::clone(signer) }, limited_by))
    }

    /// Uses the key on what is on record, and on nothing else:
    /// ```compile_fail,E0308
    /// fn sign(keys: &lanyard::authority::Authorities, draft: lanyard::authority::Draft) {
    ///     keys.sign(draft);
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`SignError`].
    #[tracing::instrument(level = "trace", name = "sign", skip_all)]
    pub fn sign(&self, intent: Recorded<Draft>) -> Result<Signed, SignError> {
        let draft = intent.into_inner();
        let bytes = match &draft.content {
            Content::X509 { fields, signer } => {
                let leaf = signer.leaves.sign(fields)?;
                SignedBytes::X509([leaf].into_iter().chain(signer.chain.iter().cloned()).collect())
            }
            Content::Jwt { fields, signer } => SignedBytes::Jwt(fields.sign(&signer.kid, &signer.key)?),
        };
        Ok(Signed { draft, bytes })
    }
}

impl TaintedKeys {
    fn of(keyring: &Keyring) -> Self {
        let tainted = |kind| keyring.of_kind(kind).filter(|one| one.state == AuthorityState::Tainted);
        let kid = |jwt: &Authority| Some(JwtAuthority::new(jwt.own_key()?.public().clone()).kid);
        Self {
            intermediates: tainted(AuthorityKind::X509Intermediate).map(Authority::key_id).collect(),
            kids: tainted(AuthorityKind::Jwt).chain(tainted(AuthorityKind::JwtRs256)).filter_map(kid).collect(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.intermediates.is_empty() && self.kids.is_empty()
    }
}
