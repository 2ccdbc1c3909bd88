//! One key in two trust domains' bundles: whoever holds it speaks for both.

use super::Bundle;
use super::authority::{certified_key, subject};
use crate::crypto::PublicKey;
use crate::telemetry::quotable;

impl Bundle {
    /// The first of these authorities whose key is also one of the other's, as a person knows it.
    pub fn authority_shared_with(&self, other: &Self) -> Option<String> {
        let others: Vec<PublicKey> = other.keys().map(|(_, key)| key).collect();
        self.keys().find(|(_, key)| others.contains(key)).map(|(name, _)| name)
    }

    fn keys(&self) -> impl Iterator<Item = (String, PublicKey)> {
        let x509 = self.x509_authorities.iter().zip(1..).filter_map(|(certificate, at): (_, usize)| {
            let name = format!("certificate {at} ({})", quotable(&subject(certificate)));
            Some((name, certified_key(certificate).ok()?))
        });
        let jwt = self.jwt_authorities.iter().map(|one| (format!("JWT key {:?}", quotable(&one.kid)), one.key.clone()));
        x509.chain(jwt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::JwtAuthority;
    use crate::crypto::{KeyAlgorithm, KeyPair};
    use crate::identity::TrustDomain;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};
    use rustls_pki_types::CertificateDer;
    use std::time::Duration;

    fn bundle(x509_authorities: Vec<CertificateDer<'static>>, keys: &[&KeyPair]) -> Bundle {
        let trust_domain = TrustDomain::parse("any.test").unwrap();
        let jwt_authorities = keys.iter().map(|key| JwtAuthority::new(key.public().clone())).collect();
        Bundle { trust_domain, sequence: 1, refresh_hint: Duration::from_secs(300), x509_authorities, jwt_authorities }
    }

    fn root(name: &str, key: &KeyPair) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(key).unwrap().der().clone()
    }

    /// Shows: TDB-25.
    #[test]
    fn a_key_is_found_again_in_another_certificate_and_for_another_use() {
        let [one, two, three] = [(); 3].map(|()| KeyPair::generate(KeyAlgorithm::EcP256).unwrap());
        let ours = bundle(vec![root("ours", &one)], &[&two]);
        let shared = |theirs: &Bundle| theirs.authority_shared_with(&ours);
        assert_eq!(shared(&bundle(vec![root("ours", &three)], &[])), None);
        let again = bundle(vec![root("theirs", &three), root("again", &one)], &[]);
        assert_eq!(shared(&again).unwrap(), "certificate 2 (CN=again)");
        let kid = JwtAuthority::new(two.public().clone()).kid;
        assert_eq!(shared(&bundle(Vec::new(), &[&three, &two])).unwrap(), format!("JWT key {kid:?}"));
        assert_eq!(shared(&bundle(vec![root("theirs", &two)], &[])).unwrap(), "certificate 1 (CN=theirs)");
    }
}
