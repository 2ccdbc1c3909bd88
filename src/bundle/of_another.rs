//! Roots that say themselves that they are another trust domain's: whoever hands them over has the wrong bundle, or the wrong
//! name for it.

use super::authority::{named_trust_domain, subject};
use super::entry::{OddEntry, Oddity};
use super::{Bundle, ForeignBundleError};
use crate::identity::TrustDomain;
use crate::telemetry::quotable;

impl Bundle {
    /// The bundle, if none of its roots names another trust domain.
    ///
    /// # Errors
    /// `OfAnother`.
    pub fn of_itself_alone(self) -> Result<Self, ForeignBundleError> {
        match self.odd_roots().into_iter().next() {
            Some(odd) => Err(ForeignBundleError::OfAnother { wanted: self.trust_domain, odd }),
            None => Ok(self),
        }
    }

    /// The bundle without the roots that name another trust domain, and those.
    pub fn without_others(mut self) -> (Self, Vec<OddEntry>) {
        let odd = self.odd_roots();
        let own = self.trust_domain.clone();
        self.x509_authorities.retain(|root| named_trust_domain(root).is_none_or(|named| named == own));
        (self, odd)
    }

    fn odd_roots(&self) -> Vec<OddEntry> {
        let other = |named: &TrustDomain| *named != self.trust_domain;
        let all = self.x509_authorities.iter().zip(1..);
        all.filter_map(|(root, at)| {
            let named = named_trust_domain(root).filter(other)?;
            Some(OddEntry { at, why: Oddity::OfAnother { subject: quotable(&subject(root)), named } })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};
    use rustls_pki_types::CertificateDer;

    fn root(uri: Option<&str>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = uri.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap())).collect();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_root_that_names_another_trust_domain_is_not_taken_for_this_one() {
        let bundle = |uris: &[Option<&str>]| Bundle {
            trust_domain: TrustDomain::parse("mesh.test").unwrap(),
            sequence: 1,
            refresh_hint: Bundle::REFRESH_UNSET,
            x509_authorities: uris.iter().map(|uri| root(*uri)).collect(),
            jwt_authorities: Vec::new(),
        };
        for own in [None, Some("spiffe://mesh.test"), Some("https://ca.mesh.test/")] {
            bundle(&[own]).of_itself_alone().unwrap();
        }
        let mixed = bundle(&[None, Some("spiffe://other.test"), Some("spiffe://mesh.test")]);
        let refused = mixed.clone().of_itself_alone().unwrap_err();
        assert!(refused.to_string().starts_with("key 2: its certificate"), "{refused}");
        assert!(refused.to_string().contains("spiffe://other.test, and not of mesh.test"), "{refused}");
        let (left, odd) = mixed.without_others();
        assert_eq!((left.x509_authorities.len(), odd.len(), odd[0].at), (2, 1, 2));
    }
}
