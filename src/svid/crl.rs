//! A certificate revocation list as one authority signs it (RFC 5280 §5): complete for all that it has signed, and plain,
//! since consumers refuse what they do not know.

use super::x509::check_issuer;
use super::{LayoutError, Serial, inspect_authority};
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber, SigningKey,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;

/// All that a list says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CrlFields {
    /// Grows with every list of an authority.
    pub number: u64,
    /// Whole seconds.
    pub this_update: OffsetDateTime,
    /// Whole seconds; consumers refuse everybody when it has passed.
    pub next_update: OffsetDateTime,
    /// What must not be believed any more.
    pub revoked: Vec<RevokedCertificate>,
}

/// A certificate that must not be believed any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RevokedCertificate {
    /// Which.
    pub serial: Serial,
    /// Since when.
    pub at: OffsetDateTime,
    /// Why; none where its work was done.
    pub reason: Option<RevokedBecause>,
}

/// Why a certificate was taken back. An end that is nobody's fault has none: it is the usual one, and a reason would make
/// its place on the list half as long again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevokedBecause {
    /// Of an authority: its key may be in other hands.
    CaCompromise,
    /// Something that was proven for it may be in other hands.
    KeyCompromise,
    /// It may not be that any more.
    PrivilegeWithdrawn,
}

impl From<RevokedBecause> for RevocationReason {
    fn from(reason: RevokedBecause) -> Self {
        match reason {
            RevokedBecause::CaCompromise => Self::CaCompromise,
            RevokedBecause::KeyCompromise => Self::KeyCompromise,
            RevokedBecause::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

impl CrlFields {
    /// Lays it out and signs it. `issuer` is the authority's certificate, its key is `key`.
    ///
    /// # Errors
    /// `Issuer`, `IssuerKey`; `Build` also where the certificate does not let its key sign lists, or the list ends before
    /// it begins.
    pub fn sign(
        &self,
        issuer: &CertificateDer<'_>,
        key: &impl SigningKey,
    ) -> Result<CertificateRevocationListDer<'static>, LayoutError> {
        check_issuer(issuer, key)?;
        let facts = inspect_authority(issuer).map_err(|_malformed| LayoutError::Issuer)?;
        let key_identifier = facts.key_identifier.ok_or(LayoutError::Issuer)?;
        let issuer = Issuer::from_ca_cert_der(issuer, key).map_err(LayoutError::Build)?;
        let list = CertificateRevocationListParams {
            this_update: self.this_update,
            next_update: self.next_update,
            crl_number: self.number.into(),
            issuing_distribution_point: None,
            revoked_certs: self.revoked.iter().map(RevokedCertificate::laid_out).collect(),
            key_identifier_method: KeyIdMethod::PreSpecified(key_identifier),
        };
        Ok(list.signed_by(&issuer).map_err(LayoutError::Build)?.into())
    }
}

impl RevokedCertificate {
    fn laid_out(&self) -> RevokedCertParams {
        RevokedCertParams {
            serial_number: SerialNumber::from_slice(self.serial.as_bytes()),
            revocation_time: self.at,
            reason_code: self.reason.map(Into::into),
            invalidity_date: None,
        }
    }
}
