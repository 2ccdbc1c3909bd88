//! GitLab's tokens: every sample of `tests/vectors/gitlab-claims.json` is read as what it is, every malformed one refused.
//!
//! Each is signed here as GitLab would, and judged by the code that judges tokens; the two whose fault is that they are
//! used a second time, or too late, go the whole road.

use super::support::harness::{Agent, Harness};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lanyard::crypto::{KeyAlgorithm, KeyPair, PublicNumbers};
use lanyard::session::EndReason;
use lanyard::token::{
    ClaimView, Expectations, IssuerKind, IssuerName, KeySet, TokenAlgorithm, TokenError, UnverifiedToken,
};
use lanyard::token::{Claims, VerifiedClaims};
use serde_json::{Map, Value, json};
use std::time::Duration;
use time::OffsetDateTime;

const FILE: &str = include_str!("../vectors/gitlab-claims.json");
const KID: &str = "qZ0m8m2d7pWq1yJkM1a6XnH0d3fVb9uT5cRk2wEoL4s";

/// A GitLab with its two keys, the one for jobs and the one for logins.
pub(super) struct GitLab {
    file: Value,
    ci: KeyPair,
    login: KeyPair,
}

impl GitLab {
    pub(super) fn new() -> Self {
        let key = || KeyPair::generate(KeyAlgorithm::Rsa).unwrap();
        Self { file: serde_json::from_str(FILE).unwrap(), ci: key(), login: key() }
    }

    pub(super) fn samples(&self) -> &[Value] {
        self.file["samples"].as_array().unwrap()
    }

    pub(super) fn malformed(&self) -> &[Value] {
        self.file["malformed"].as_array().unwrap()
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.file["reference_time"].as_i64().unwrap()).unwrap()
    }

    fn expectations(&self, issuer_url: &str) -> Expectations {
        Expectations {
            issuer: IssuerName("corp".into()),
            issuer_url: issuer_url.to_owned(),
            audience: self.file["audience"].as_str().unwrap().to_owned(),
            allow_shared_audience: false,
            allow_missing_jti: false,
            kind: IssuerKind::GitLab,
            algorithms: vec![TokenAlgorithm::Rs256],
            leeway: Expectations::LEEWAY,
            max_token_age: Expectations::MAX_TOKEN_AGE,
        }
    }

    fn verify(&self, token: &str, expected: &Expectations, now: OffsetDateTime) -> Result<VerifiedClaims, TokenError> {
        let keys = json!({"keys": [jwk(KID, &self.ci), jwk("login", &self.login)]}).to_string();
        UnverifiedToken::parse(token)?.verify(&KeySet::parse(keys.as_bytes()).unwrap(), expected, now)
    }

    /// What is wrong with how a sample is read.
    pub(super) fn misread(&self, sample: &Value) -> Option<String> {
        let (name, claims) = (&sample["name"], &sample["claims"]);
        let mut expected = self.expectations(claims["iss"].as_str().unwrap());
        expected.allow_shared_audience = name == "aud_list";
        let token = sign(&sample["header"].to_string(), &claims.to_string(), &self.ci);
        let verified = match self.verify(&token, &expected, self.now()) {
            Ok(verified) => verified,
            Err(error) => return Some(format!("{name}: {error}")),
        };
        let (read, reading) = (verified.claims(), &sample["reading"]);
        let is = |claim: &str| json!(read.view(claim) == Some(ClaimView::Bool(true)));
        let facts = [
            ("fork_code", is("fork")),
            ("merge_request", is("merge_request")),
            ("ref_protected", is("ref_protected")),
            ("environment_protected", is("environment_protected")),
            ("human", json!(read.view("actor.kind") == Some(ClaimView::Text("person")))),
        ];
        let wrong = facts.into_iter().find(|(fact, found)| reading[fact] != *found);
        let kept: Claims = serde_json::from_str(&serde_json::to_string(read).unwrap()).unwrap();
        match wrong {
            Some((fact, found)) => Some(format!("{name}: {fact} is read as {found}, not {}", reading[fact])),
            None if Some(read.project_id.to_string().as_str()) != claims["project_id"].as_str() => {
                Some(format!("{name}: another project"))
            }
            None if kept != *read => Some(format!("{name}: it changes when it is kept with a session")),
            None => None,
        }
    }

    /// Why a malformed token is refused; none if it is not, or if nobody here knows how to make it.
    pub(super) async fn refusal(&self, vector: &Value) -> Option<String> {
        let from = self.samples().iter().find(|sample| sample["name"] == vector["from"])?;
        let (header, claims, change) = (&from["header"], &from["claims"], &vector["change"]);
        let (usual_header, usual) = (header.to_string(), claims.to_string());
        let good = sign(&usual_header, &usual, &self.ci);
        let name = vector["name"].as_str()?;
        let token = match name {
            "kid_of_the_login_key" => return self.refused_as_login(),
            "replayed" => return replayed(claims).await,
            "job_already_over" => return job_already_over(claims).await,
            "jwk_header_key" => {
                let attacker = KeyPair::generate(KeyAlgorithm::Rsa).unwrap();
                sign(&changed(header, "jwk", jwk(KID, &attacker)).to_string(), &usual, &attacker)
            }
            "three_dots" => {
                let two = good.rsplit_once('.')?.0;
                self.refused(two)?;
                format!("{good}.AAAA")
            }
            "padding" => {
                self.refused(&format!("{good}="))?;
                let (head, rest) = good.split_once('.')?;
                // Padded, as the ordinary base64 is; a space behind the JSON makes it need that.
                let ordinary = STANDARD.encode(format!("{usual_header} "));
                assert!(ordinary != head && ordinary.ends_with('='), "{ordinary}");
                format!("{ordinary}.{rest}")
            }
            "huge" => "a".repeat(1 << 20),
            _ if change.get("note").is_some() => return None,
            _ => self.with_change(header, claims, change),
        };
        self.refused_at(&token, if name == "expired" { self.now() + Expectations::LEEWAY } else { self.now() })
    }

    fn refused(&self, token: &str) -> Option<String> {
        self.refused_at(token, self.now())
    }

    /// `expired` lies a second back, within what two clocks may differ: it is asked that much later.
    fn refused_at(&self, token: &str, now: OffsetDateTime) -> Option<String> {
        let expected = self.expectations("https://gitlab.example.com");
        self.verify(token, &expected, now).err().map(|error| error.code().to_owned())
    }

    fn with_change(&self, header: &Value, claims: &Value, change: &Value) -> String {
        let (mut header, mut claims) = (header.clone(), claims.clone());
        for (part, change, drop) in [(&mut header, "header", "header_drop"), (&mut claims, "claims", "drop")]
            .map(|(part, name, drop)| (part, &change[name], &change[drop]))
        {
            let members = part.as_object_mut().unwrap();
            members.extend(change.as_object().cloned().unwrap_or_default());
            for name in drop.as_array().into_iter().flatten() {
                members.remove(name.as_str().unwrap());
            }
        }
        let mut payload = claims.to_string();
        if let Some(raw) = change["raw"].as_str() {
            payload = payload.replace("\"project_id\":\"4711\"", raw);
        }
        sign(&header.to_string(), change["raw_payload"].as_str().unwrap_or(&payload), &self.ci)
    }

    /// A user's login token: the same issuer, its other key, a good signature, and no job in it.
    fn refused_as_login(&self) -> Option<String> {
        let now = self.now().unix_timestamp();
        let login = json!({"iss": "https://gitlab.example.com", "sub": "51", "aud": self.file["audience"],
            "iat": now, "exp": now + 120, "jti": "x", "email": "ada@corp.example"});
        let header = json!({"alg": "RS256", "kid": "login", "typ": "JWT"});
        self.refused(&sign(&header.to_string(), &login.to_string(), &self.login))
    }
}

/// A second agent brings the token of the first.
async fn replayed(claims: &Value) -> Option<String> {
    let harness = Harness::new().await;
    let token = harness.issuer.mint(&members(claims));
    harness.exchange(&token, &Agent::new()).await.unwrap();
    harness.exchange(&token, &Agent::new()).await.err().map(|refusal| refusal.code().to_owned())
}

/// The job is known to have ended, and its token is good for hours yet; another token of it too.
async fn job_already_over(claims: &Value) -> Option<String> {
    let harness = Harness::new().await;
    let (mut claims, agent) = (members(claims), Agent::new());
    let token = harness.issuer.mint(&claims);
    let session = harness.exchange(&token, &agent).await.unwrap().session().unwrap().to_owned();
    harness.issuance().end(EndReason::Logout, &session.parse().unwrap(), agent.public().id()).await.unwrap();
    harness.advance(Duration::from_secs(60).as_secs());
    harness.exchange(&token, &agent).await.err()?;
    claims.insert("jti".to_owned(), "11111111-0000-4000-8000-000000000000".into());
    let other = harness.exchange(&harness.issuer.mint(&claims), &agent).await;
    other.err().map(|refusal| refusal.code().to_owned())
}

fn members(claims: &Value) -> Map<String, Value> {
    claims.as_object().unwrap().clone()
}

fn changed(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

fn sign(header: &str, payload: &str, key: &KeyPair) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign_jws(message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn jwk(kid: &str, key: &KeyPair) -> Value {
    let PublicNumbers::Rsa { n, e } = key.public().numbers() else { panic!("an RSA key has RSA numbers") };
    let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
    json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e})
}
