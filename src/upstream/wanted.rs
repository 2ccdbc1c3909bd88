//! What we ask of the authority above ours, and the one thing that every such authority does.

use super::UpstreamError;
use crate::crypto::{KeyPair, PemLabel};
use crate::svid::{AuthorityFields, LayoutError};
use rustls_pki_types::CertificateDer;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// An intermediate to be certified.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// All that it should say; of serial number and dates only the end is a wish.
    pub fields: AuthorityFields,
    /// Its key.
    pub key: Arc<KeyPair>,
}

impl Wanted {
    /// The request for it (PKCS#10, PEM), signed by its key.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn request(&self) -> Result<Zeroizing<String>, LayoutError> {
        Ok(PemLabel::CertificateRequest.armour(&self.fields.request(&self.key)?))
    }

    /// How long it should live.
    pub fn lifetime(&self) -> Duration {
        (self.fields.not_after - self.fields.not_before).try_into().unwrap_or(Duration::ZERO)
    }
}

/// A chain to come: ours first, each before its issuer; the root may stand at its end. Nothing of it is believed yet.
pub type Certifying<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<CertificateDer<'static>>, UpstreamError>> + Send + 'a>>;

/// An authority above ours.
pub trait Upstream: Debug + Send + Sync {
    /// What it is, for log and operators.
    fn kind(&self) -> &'static str;

    /// How long to wait for its answer.
    fn within(&self) -> Duration;

    /// Asks for an intermediate.
    fn certify<'a>(&'a self, wanted: &'a Wanted, now: OffsetDateTime) -> Certifying<'a>;
}
