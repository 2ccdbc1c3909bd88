//! The stand-in GitLab's keys: one signs CI tokens, one user logins, as GitLab has them; and its TLS authority.

use super::{DevError, DevFolder};
use crate::bundle::Jwk;
use crate::crypto::{CryptoError, KeyAlgorithm, KeyPair, Random};
use crate::tls::DoorCa;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::path::Path;
use std::thread;
use time::OffsetDateTime;
use zeroize::Zeroizing;

const CI_KEY: &str = "gitlab-ci.key";
const LOGIN_KEY: &str = "gitlab-login.key";
const CA_KEY: &str = "gitlab-ca.key";
/// The certificate that a client of the stand-in must trust.
pub(super) const CA_PEM: &str = "gitlab-ca.pem";

/// The two RSA keys of the stand-in. Both stand in its key set, under one issuer.
pub(super) struct GitlabKeys {
    ci: KeyPair,
    login: KeyPair,
}

impl std::fmt::Debug for GitlabKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GitlabKeys")
    }
}

impl GitlabKeys {
    /// Reads the folder's keys; a claimed folder without them gets new ones, made side by side.
    ///
    /// # Errors
    /// `NoGitlab` when there are none and the folder is not ours to fill; `BrokenKey`, `Key`, `File`.
    pub(super) fn of(folder: &DevFolder) -> Result<Self, DevError> {
        let (ci, login) = thread::scope(|scope| {
            let ci = scope.spawn(|| rsa_key(folder, CI_KEY));
            let login = rsa_key(folder, LOGIN_KEY);
            (ci.join().unwrap_or(Err(DevError::Key(CryptoError::Generation))), login)
        });
        Ok(Self { ci: ci?, login: login? })
    }

    /// Signs a CI token: compact serialisation, header as GitLab writes it.
    ///
    /// # Errors
    /// `Key`.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, DevError> {
        let header = json!({ "alg": "RS256", "kid": thumbprint(&self.ci), "typ": "JWT" });
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encoded(&header), encoded(claims));
        let signature = self.ci.sign_jws(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The key set that the stand-in publishes.
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [jwk(&self.ci), jwk(&self.login)] })
    }
}

/// The authority of the stand-in's TLS certificate, made once for a folder.
pub(super) fn tls_authority(folder: &DevFolder, random: &Random, now: OffsetDateTime) -> Result<DoorCa, DevError> {
    if let (Some(certificate), Some(key)) = (folder.read(CA_PEM)?, folder.read(CA_KEY)?) {
        let (certificate, key) =
            (String::from_utf8_lossy(&certificate), Zeroizing::new(String::from_utf8_lossy(&key).into_owned()));
        return Ok(DoorCa::load(&certificate, &key, random)?);
    }
    let ca = DoorCa::make(random, now)?;
    folder.write(CA_KEY, ca.key_to_pem().as_bytes())?;
    folder.write(CA_PEM, ca.to_pem().as_bytes())?;
    Ok(ca)
}

fn rsa_key(folder: &DevFolder, name: &str) -> Result<KeyPair, DevError> {
    if let Some(pkcs8) = folder.read(name)? {
        let place = folder.place(name);
        return KeyPair::from_pkcs8(Zeroizing::new(pkcs8)).map_err(|source| DevError::BrokenKey { place, source });
    }
    if !folder.is_claimed() {
        let folder = folder.place(name).parent().unwrap_or(Path::new("/")).to_owned();
        return Err(DevError::NoGitlab { folder });
    }
    let key = KeyPair::generate(KeyAlgorithm::Rsa)?;
    folder.write(name, key.pkcs8_der())?;
    Ok(key)
}

/// RFC 7518 §6.3.1, with the members that GitLab sends.
fn jwk(key: &KeyPair) -> Value {
    let mut members = Jwk::of(&key.public().numbers()).into_members();
    for (name, value) in [("kid", thumbprint(key)), ("use", "sig".to_owned()), ("alg", "RS256".to_owned())] {
        members.insert(name.to_owned(), Value::from(value));
    }
    Value::Object(members)
}

/// RFC 7638, as GitLab names its keys.
fn thumbprint(key: &KeyPair) -> String {
    Jwk::of(&key.public().numbers()).thumbprint()
}
