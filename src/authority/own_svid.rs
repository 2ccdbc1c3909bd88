//! X509-SVIDs of the server itself, for a door that shows one: on record before they are signed, and read back, like any other.

use super::draft::{end_of_life, equal_leaf, leaf_to_sign, whole_seconds};
use super::in_use::X509Signer;
use super::signer::BACKDATE;
use super::{Authorities, DraftError, LimitedBy};
use crate::audit::{Auditable, Entry, Recorded};
use crate::crypto::{KeyId, PublicKey};
use crate::identity::SpiffeId;
use crate::svid::{BuildClaims, InspectError, LayoutError, LeafFields, Serial, Subject, inspect_certificate};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// All that one will say.
#[derive(Debug)]
pub struct OwnDraft {
    fields: LeafFields,
    signer: Arc<X509Signer>,
    limited_by: LimitedBy,
}

/// One that was recorded, signed and read back.
#[derive(Clone, Debug)]
pub struct OwnSvid {
    /// Leaf first, the root left out.
    pub chain: Vec<CertificateDer<'static>>,
    /// The intermediate that signed it.
    pub signer: KeyId,
    /// When it ends.
    pub not_after: OffsetDateTime,
}

/// Why a recorded draft became no SVID.
#[derive(Debug, thiserror::Error)]
pub enum OwnSvidError {
    /// A field differs from the draft.
    #[error("{field} differs from the draft")]
    Differs {
        /// Which.
        field: &'static str,
    },
    /// The signed bytes are no SVID.
    #[error("the signed bytes are no SVID")]
    Inspect(#[from] InspectError),
    /// The certificate cannot be built.
    #[error("the certificate cannot be built")]
    Layout(#[from] LayoutError),
}

impl Authorities {
    /// The intermediate that signs now.
    pub fn signer(&self) -> KeyId {
        self.x509.load().key_id
    }

    /// All that will be signed for a name of the server's own.
    ///
    /// # Errors
    /// `NoTimeLeft` when the intermediate has ended.
    pub fn draft_own(
        &self,
        spiffe_id: &SpiffeId,
        key: &PublicKey,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<OwnDraft, DraftError> {
        let signer = self.x509.load_full();
        let (not_after, limited_by) = end_of_life(now, lifetime, signer.not_after, signer.not_after)?;
        let fields = LeafFields {
            spiffe_id: spiffe_id.clone(),
            key: key.clone(),
            serial: Serial::random(&self.random),
            subject: Subject::Organization,
            dns: None,
            build_claims: BuildClaims::default(),
            not_before: whole_seconds(now - BACKDATE).max(signer.not_before),
            not_after,
        };
        Ok(OwnDraft { fields, signer, limited_by })
    }

    /// Signs what is on record, and reads it back.
    ///
    /// # Errors
    /// See [`OwnSvidError`].
    pub fn sign_own(&self, intent: Recorded<OwnDraft>) -> Result<OwnSvid, OwnSvidError> {
        let OwnDraft { fields, signer, .. } = intent.into_inner();
        let leaf = signer.leaves.sign(&fields)?;
        equal_leaf(&inspect_certificate(&leaf)?, &fields).map_err(|field| OwnSvidError::Differs { field })?;
        let chain = [leaf].into_iter().chain(signer.chain.iter().cloned()).collect();
        Ok(OwnSvid { chain, signer: signer.key_id, not_after: fields.not_after })
    }
}

impl Auditable for OwnDraft {
    fn entry(&self) -> Entry<'_> {
        let svid = leaf_to_sign(&self.fields, self.signer.key_id, self.limited_by);
        Entry::ServerSvid { spiffe_id: self.fields.spiffe_id.as_str(), svid }
    }
}
