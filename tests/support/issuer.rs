//! A GitLab that only mints: one RSA key, full claim sets, any claim changed on wish.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::crypto::{KeyAlgorithm, KeyPair, PublicNumbers};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use time::OffsetDateTime;

pub(crate) const URL: &str = "https://gitlab.example.com";
pub(crate) const AUDIENCE: &str = "https://lanyard.example.com";

/// Rules for every job of it.
pub(crate) const POLICY: &str = r#"
[[rule]]
name = "every project, its pipelines"
id = "/{project_path}/-/pipelines/{pipeline_id}"
ttl = "15m"
kinds = ["x509", "jwt"]
audiences = ["https://service.test"]
[rule.when]
issuer = "corp"
"#;

pub(crate) struct FakeIssuer {
    key: KeyPair,
    jobs: AtomicU64,
}

impl FakeIssuer {
    pub(crate) fn new() -> Self {
        Self { key: KeyPair::generate(KeyAlgorithm::Rsa).unwrap(), jobs: AtomicU64::new(1) }
    }

    /// The key set as GitLab publishes it.
    pub(crate) fn jwks(&self) -> Vec<u8> {
        let PublicNumbers::Rsa { n, e } = self.key.public().numbers() else { panic!("an RSA key has RSA numbers") };
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        json!({"keys": [{"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256", "n": n, "e": e}]}).to_string().into()
    }

    /// The claims of a new job of acme/payments/api, an hour long.
    pub(crate) fn claims(&self, now: OffsetDateTime) -> Map<String, Value> {
        let job = self.jobs.fetch_add(1, Ordering::Relaxed);
        let iat = now.unix_timestamp();
        let claims = json!({
            "iss": URL, "aud": AUDIENCE, "sub": "project_path:acme/payments/api:ref_type:branch:ref:main",
            "iat": iat, "nbf": iat - 5, "exp": iat + 3600, "jti": format!("00000000-0000-4000-8000-{job:012}"),
            "namespace_id": "72", "namespace_path": "acme/payments", "project_id": "4711",
            "project_path": "acme/payments/api", "user_id": "51", "user_login": "ada",
            "user_email": "ada@corp.example", "user_access_level": "developer",
            "job_project_id": "4711", "job_project_path": "acme/payments/api", "job_namespace_id": "72",
            "job_namespace_path": "acme/payments", "pipeline_id": "574", "pipeline_source": "push",
            "job_id": (9000 + job).to_string(), "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main",
            "ref_protected": "true", "runner_id": 88, "runner_environment": "self-hosted",
            "sha": "c3fc97ce000ebfe67b7ab7b7409507add907bf8d", "project_visibility": "private",
            "ci_config_ref_uri": "gitlab.example.com/acme/payments/api//.gitlab-ci.yml@refs/heads/main",
            "ci_config_sha": "c3fc97ce000ebfe67b7ab7b7409507add907bf8d", "job_source": "push",
        });
        let Value::Object(claims) = claims else { panic!("an object") };
        claims
    }

    /// A token over these claims.
    pub(crate) fn mint(&self, claims: &Map<String, Value>) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"k1","typ":"JWT"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string()));
        let signature = self.key.sign_jws(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token of a new job.
    pub(crate) fn token(&self, now: OffsetDateTime) -> String {
        self.mint(&self.claims(now))
    }

    /// A token of a new job with one claim changed.
    pub(crate) fn token_with(&self, now: OffsetDateTime, name: &str, value: impl Into<Value>) -> String {
        let mut claims = self.claims(now);
        claims.insert(name.to_owned(), value.into());
        self.mint(&claims)
    }
}
