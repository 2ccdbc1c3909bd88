//! Secrets as Envoy reads them: PEM inline, keys in PKCS#8.

use super::Validator;
use crate::agent::keeper::Svid;
use crate::agent::layout::certificates;
use crate::bundle::Bundle;
use crate::crypto::PemLabel;
use crate::wire::sds::secret::Type;
use crate::wire::sds::spiffe_cert_validator_config::TrustDomain;
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

/// What peers are verified by. Plain, a root of another trust domain would vouch for our IDs too, so it holds none.
pub(super) fn roots(name: String, own: &Bundle, validator: Validator) -> Any {
    let context = match validator {
        Validator::Plain => {
            CertificateValidationContext { trusted_ca: Some(inline(own.to_pem())), custom_validator_config: None }
        }
        Validator::Spiffe => {
            let own =
                TrustDomain { name: own.trust_domain.as_str().to_owned(), trust_bundle: Some(inline(own.to_pem())) };
            let config = SpiffeCertValidatorConfig { trust_domains: vec![own] };
            let typed_config = Any { type_url: SPIFFE_CONFIG.to_owned(), value: config.encode_to_vec() };
            let config = TypedExtensionConfig { name: SPIFFE_VALIDATOR.to_owned(), typed_config: Some(typed_config) };
            CertificateValidationContext { trusted_ca: None, custom_validator_config: Some(config) }
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
