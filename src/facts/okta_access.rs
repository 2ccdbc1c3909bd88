//! What lets us in at Okta where no API token does: an access token for some minutes, which Okta's own authorization server gives to
//! whoever signs with a key that is registered there (OAuth 2.0 client credentials with `private_key_jwt`, RFC 7523 §2.2).

use super::{Place, Silence};
use crate::crypto::{CryptoError, KeyAlgorithm, KeyPair, Random, SecretFileError, read_secret_file};
use crate::discovery::{Answered, Fetch, Sent, path_segment};
use crate::telemetry::{chain, quotable};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// Where access tokens are given, below the organization's address: tokens of its other authorization servers open no API.
const TOKEN_PATH: &str = "/oauth2/v1/token";
/// What is sent is such an assertion (RFC 7523 §2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Okta takes up to an hour; it is shown at once, and clocks differ by some seconds.
const ASSERTION_LIVES: Duration = Duration::from_secs(300);
/// Before its end a token is not shown any more: it is on its way for a while, and clocks differ.
const SPARE: Duration = Duration::from_secs(60);
/// Whatever Okta says: its own are good for an hour.
const TOKEN_LIVES_MAX: Duration = Duration::from_secs(3600);

/// Who we are at Okta: an API services app.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OktaClient {
    /// The app's id.
    pub client_id: String,
    /// By which name Okta knows the key.
    pub key_id: String,
    /// What the token is to allow.
    pub scopes: Vec<String>,
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum NoOktaKey {
    /// It is none that Okta takes.
    #[error("the key file {path} holds no RSA or P-256 key as PKCS#8 in PEM")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What the library says.
        #[source]
        source: Option<CryptoError>,
    },
    /// It cannot be read, or by others too.
    #[error("the key file {0}")]
    Unread(#[from] SecretFileError),
}

/// A token, as it is shown.
pub(super) struct Access {
    pub(super) bearer: Zeroizing<String>,
    pub(super) good_until: OffsetDateTime,
}

/// Why there is no token.
pub(super) enum NoAccess {
    /// Okta says no.
    Refused(Box<Answered>),
    /// It was not asked, or did not answer.
    Silent(Silence),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access(until {})", self.good_until)
    }
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: u64,
    token_type: String,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl OktaClient {
    /// The scopes that reading accounts and their groups takes.
    pub const SCOPES: [&'static str; 2] = ["okta.users.read", "okta.groups.read"];

    /// The key in a file, and how its signatures are called.
    ///
    /// # Errors
    /// See [`NoOktaKey`].
    pub fn read_key(path: &Path) -> Result<(KeyPair, &'static str), NoOktaKey> {
        let unusable = |source| NoOktaKey::Unusable { path: path.to_owned(), source };
        let key = KeyPair::from_pem(&read_secret_file(path)?).map_err(|fault| unusable(Some(fault)))?;
        match key.public().algorithm() {
            KeyAlgorithm::Rsa => Ok((key, "RS256")),
            KeyAlgorithm::EcP256 => Ok((key, "ES256")),
            KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 | KeyAlgorithm::Ed25519 => Err(unusable(None)),
        }
    }

    /// A new token.
    pub(super) async fn access(
        &self,
        fetch: &dyn Fetch,
        place: &Place,
        now: OffsetDateTime,
    ) -> Result<Access, NoAccess> {
        let url = format!("{}{TOKEN_PATH}", place.url);
        let down = |why: String| NoAccess::Silent(Silence::down(why));
        let assertion = self.assertion(&url, &place.token_file, now).map_err(down)?;
        let form = Zeroizing::new(format!(
            "grant_type=client_credentials&scope={}&client_assertion_type={}&client_assertion={}",
            path_segment(&self.scopes.join(" ")),
            path_segment(ASSERTION_TYPE),
            *assertion
        ));
        let sent = Sent { media_type: "application/x-www-form-urlencoded", bytes: form.as_bytes() };
        let answered = fetch.send(&url, place.ca_pem.as_deref(), sent).await;
        let answered = answered.map_err(|fault| down(chain(&fault)))?;
        if answered.status.as_u16() != 200 {
            return Err(NoAccess::Refused(Box::new(answered)));
        }
        let given: Given = serde_json::from_slice(&answered.body)
            .map_err(|odd| down(format!("{url} answered with no token ({})", quotable(&odd.to_string()))))?;
        let token = Zeroizing::new(given.access_token);
        let is_word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !given.token_type.eq_ignore_ascii_case("bearer") || !is_word {
            let kind = quotable(&given.token_type);
            return Err(down(format!("{url} answered with a token of the kind {kind}, which is not shown as Bearer")));
        }
        let lives = Duration::from_secs(given.expires_in).min(TOKEN_LIVES_MAX).saturating_sub(SPARE);
        let bearer = Zeroizing::new(format!("Bearer {}", *token));
        Ok(Access { bearer, good_until: now + lives })
    }

    /// Why no token was given, by Okta's own code (RFC 6749 §5.2), and what would help.
    pub(super) fn refusal(answered: &Answered, place: &Place) -> String {
        let said = serde_json::from_slice(&answered.body).map(|Refused { error }| quotable(&error)).unwrap_or_default();
        let remedy = match said.as_str() {
            "invalid_client" => "client_id and key_id must be the app's, and key_file the key that is registered there",
            "invalid_scope" => "grant the app the scopes okta.users.read and okta.groups.read",
            "invalid_dpop_proof" => "switch off for the app that tokens need a DPoP proof",
            "unauthorized_client" => "the app must be an API services app, with the grant client_credentials",
            _ => "see what Okta's system log says of the app",
        };
        format!("{}{TOKEN_PATH} answered {} {said}: {remedy}", place.url, answered.status)
    }

    /// Who we are, signed: for this address alone (RFC 7523 §3).
    fn assertion(&self, url: &str, key_file: &Path, now: OffsetDateTime) -> Result<Zeroizing<String>, String> {
        let (key, algorithm) = Self::read_key(key_file).map_err(|fault| chain(&fault))?;
        let (issued_at, id) = (now.unix_timestamp(), Random::system().bytes::<16>());
        let header = json!({ "alg": algorithm, "kid": self.key_id, "typ": "JWT" });
        let claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": url, "iat": issued_at,
            "exp": (now + ASSERTION_LIVES).unix_timestamp(), "jti": BASE64_URL_SAFE_NO_PAD.encode(id),
        });
        let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = key.sign_jws(signed.as_bytes()).map_err(|fault| chain(&fault))?;
        Ok(Zeroizing::new(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))))
    }
}
