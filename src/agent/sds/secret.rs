//! Secrets as Envoy reads them: PEM inline, keys in PKCS#8.

use super::Validator;
use crate::agent::keeper::Svid;
use crate::agent::layout::certificates;
use crate::bundle::Bundle;
use crate::crypto::PemLabel;
use crate::identity::TrustDomain;
use crate::wire::sds::secret::Type;
use crate::wire::sds::spiffe_cert_validator_config::TrustDomain as DomainRoots;
use crate::wire::sds::{
    CertificateValidationContext, DataSource, Secret, SpiffeCertValidatorConfig, TlsCertificate, TypedExtensionConfig,
};
use bytes::Bytes;
use prost::Message as _;
use prost_types::Any;

/// What a response's resources are.
pub(super) const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

const SPIFFE_CONFIG: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

/// The validator's name in Envoy's registry of extensions.
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

/// Chain and key of one SVID: they always come together.
pub(super) fn svid(name: String, svid: &Svid) -> Any {
    let chain: Vec<&[u8]> = svid.chain.iter().map(AsRef::as_ref).collect();
    let key = PemLabel::PrivateKey.armour(svid.key.pkcs8_der());
    let certificate = TlsCertificate {
        certificate_chain: Some(inline(certificates(&chain))),
        private_key: Some(inline(key.as_str().to_owned())),
    };
    packed(name, Type::TlsCertificate(certificate))
}

/// Our trust domain's revocation lists, PEM, if they go with its roots.
pub(super) type Lists<'a> = Option<(&'a TrustDomain, &'a str)>;

/// What peers are verified by: sorted by trust domain, and none without a root, over which Envoy refuses the secret. Its
/// SPIFFE validator takes revocation lists from beside a trust domain's roots.
pub(super) fn roots(name: String, bundles: &[&Bundle], validator: Validator, lists: Lists<'_>) -> Any {
    let mut bundles: Vec<_> = bundles.iter().filter(|bundle| !bundle.x509_authorities.is_empty()).collect();
    bundles.sort_by(|one, other| one.trust_domain.cmp(&other.trust_domain));
    let context = match validator {
        Validator::Plain => {
            let all = bundles.iter().map(|bundle| bundle.to_pem()).collect();
            let crl = lists.map(|(_of, lists)| inline(lists.to_owned()));
            CertificateValidationContext { trusted_ca: Some(inline(all)), crl, custom_validator_config: None }
        }
        Validator::Spiffe => {
            let domain = |bundle: &&&Bundle| {
                let lists = lists.filter(|(of, _lists)| **of == bundle.trust_domain).map_or("", |(_of, lists)| lists);
                let trust_bundle = Some(inline(bundle.to_pem() + lists));
                DomainRoots { name: bundle.trust_domain.as_str().to_owned(), trust_bundle }
            };
            let config = SpiffeCertValidatorConfig { trust_domains: bundles.iter().map(domain).collect() };
            let typed_config = Any { type_url: SPIFFE_CONFIG.to_owned(), value: config.encode_to_vec() };
            let config = TypedExtensionConfig { name: SPIFFE_VALIDATOR.to_owned(), typed_config: Some(typed_config) };
            CertificateValidationContext { trusted_ca: None, crl: None, custom_validator_config: Some(config) }
        }
    };
    packed(name, Type::ValidationContext(context))
}

fn inline(text: String) -> DataSource {
    DataSource { inline_bytes: Bytes::from(text) }
}

fn packed(name: String, secret: Type) -> Any {
    let secret = Secret { name, r#type: Some(secret) };
    Any { type_url: SECRET.to_owned(), value: secret.encode_to_vec() }
}
