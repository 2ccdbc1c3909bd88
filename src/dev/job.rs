//! One job of the stand-in GitLab: every claim that GitLab puts into a CI token, with GitLab's exact types.
//!
//! Ids are texts of digits, but `runner_id`; truth values are texts. What follows from a claim follows here too.

use super::files::{AUDIENCE, issuer_of};
use super::keys::GitlabKeys;
use super::{DevError, DevFolder, jobs};
use crate::crypto::{Digest, Random};
use serde_json::{Map, Value, json};
use std::fmt;
use std::str::FromStr;
use time::OffsetDateTime;

/// A job's timeout: GitLab's default of an hour.
const TIMEOUT_SECONDS: i64 = 3600;
/// GitLab sets `nbf` that much before `iat`.
const NOT_BEFORE_SECONDS: i64 = 5;
/// The pipeline that every job belongs to unless a claim says otherwise.
const PIPELINE: &str = "574";
const PROJECT: &str = "acme/payments/api";
const COMMIT: &str = "c3fc97ce000ebfe67b7ab7b7409507add907bf8d";

/// One `--claim name=value`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    name: String,
    value: Value,
}

impl Claim {
    /// A claim that is a text.
    pub fn text(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), value: text.into() }
    }
}

/// The text is no claim.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAClaim {
    /// No `=`, or nothing before it.
    #[error("write name=value, such as environment=production")]
    NoName,
    /// The value is not of the claim's type.
    #[error("{name} is {kind} in GitLab's tokens")]
    WrongType {
        /// The claim.
        name: String,
        /// Its type.
        kind: &'static str,
    },
}

impl FromStr for Claim {
    type Err = NotAClaim;

    /// Most claims are texts; `null`, and lists and objects in JSON, are taken as such.
    fn from_str(text: &str) -> Result<Self, NotAClaim> {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(NotAClaim::NoName)?;
        let wrong = |kind| NotAClaim::WrongType { name: name.to_owned(), kind };
        let value = match (name, value) {
            (_, "null") => Value::Null,
            ("exp" | "iat" | "nbf" | "runner_id", digits) => {
                json!(digits.parse::<i64>().map_err(|_no_digits| wrong("an integer"))?)
            }
            (_, structured) if structured.starts_with(['[', '{']) => {
                serde_json::from_str(structured).map_err(|_no_json| wrong("no such JSON"))?
            }
            ("groups_direct" | "user_identities", _) => return Err(wrong("a JSON list")),
            ("job_config", _) => return Err(wrong("a JSON object")),
            (_, text) => json!(text),
        };
        Ok(Self { name: name.to_owned(), value })
    }
}

/// What gives jobs of the folder's stand-in GitLab their tokens: its keys are read once.
pub struct Mint<'a> {
    folder: &'a DevFolder,
    issuer: String,
    keys: GitlabKeys,
}

impl fmt::Debug for Mint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl<'a> Mint<'a> {
    /// That of this folder; jobs of yesterday are forgotten.
    ///
    /// # Errors
    /// `NoGitlab` when no dev run made keys there; `BrokenKey`, `Key`, `File`.
    pub fn of(folder: &'a DevFolder, now: OffsetDateTime) -> Result<Self, DevError> {
        let (issuer, keys) = (issuer_of(folder)?, GitlabKeys::of(folder)?);
        jobs::forget_old(folder, now)?;
        Ok(Self { folder, issuer, keys })
    }

    /// An `id_token` of a new job.
    ///
    /// # Errors
    /// `Key`, `File`.
    pub fn token(&self, claimed: &[Claim], random: &Random, now: OffsetDateTime) -> Result<String, DevError> {
        let claims = claims_of_a_new_job(&self.issuer, AUDIENCE, claimed, random, now);
        jobs::remember(self.folder, &claims)?;
        self.keys.sign(&claims)
    }
}

/// The claims of a new job; what is claimed is taken as it is, and the rest follows from it.
pub(super) fn claims_of_a_new_job(
    issuer: &str,
    audience: &str,
    claimed: &[Claim],
    random: &Random,
    now: OffsetDateTime,
) -> Value {
    let claimed = claimed.iter().map(|claim| (claim.name.clone(), claim.value.clone())).collect();
    let mut job = Job { claims: claimed };
    job.project();
    let user = job.text("user_login", "dev");
    job.text("user_id", &id_of("user", &user));
    job.text("user_email", &format!("{user}@example.org"));
    job.text("user_access_level", "maintainer");
    let source = job.text("pipeline_source", "push");
    job.text("job_source", &source);
    job.text("pipeline_id", PIPELINE);
    job.text("job_id", &number(random.bytes()));
    job.commit(issuer);
    job.environment();
    job.value("runner_id", json!(88));
    job.text("runner_environment", "self-hosted");
    job.text("project_visibility", "private");
    job.text("jti", &uuid(random.bytes()));
    job.text("iss", issuer);
    job.text("aud", audience);
    job.times(now);
    Value::Object(job.claims)
}

struct Job {
    claims: Map<String, Value>,
}

impl Job {
    /// Puts a claim unless it is there, and gives its text.
    fn text(&mut self, name: &str, default: &str) -> String {
        self.value(name, json!(default)).as_str().unwrap_or_default().to_owned()
    }

    fn value(&mut self, name: &str, default: Value) -> Value {
        self.claims.entry(name).or_insert(default).clone()
    }

    fn project(&mut self) {
        let path = self.text("project_path", PROJECT);
        let id = self.text("project_id", &id_of("project", &path));
        let namespace = self.text("namespace_path", parent(&path));
        let namespace_id = self.text("namespace_id", &id_of("namespace", &namespace));
        let (job_path, job_id) = (self.text("job_project_path", &path), id_of("project", &path));
        let own = job_path == path;
        self.text("job_project_id", &if own { id } else { job_id });
        let job_namespace = self.text("job_namespace_path", if own { &namespace } else { parent(&job_path) });
        let other = id_of("namespace", &job_namespace);
        self.text("job_namespace_id", if own { &namespace_id } else { &other });
    }

    fn commit(&mut self, issuer: &str) {
        let path = self.text("project_path", PROJECT);
        let kind = self.text("ref_type", "branch");
        let name = self.text("ref", if kind == "tag" { "v1.0.0" } else { "main" });
        let folder = if kind == "tag" { "tags" } else { "heads" };
        let full = self.text("ref_path", &format!("refs/{folder}/{name}"));
        self.text("ref_protected", if name == "main" || kind == "tag" { "true" } else { "false" });
        let commit = self.text("sha", COMMIT);
        let host = issuer.split_once("://").map_or(issuer, |(_, host)| host);
        self.text("ci_config_ref_uri", &format!("{host}/{path}//.gitlab-ci.yml@{full}"));
        self.text("ci_config_sha", &commit);
        self.text("sub", &format!("project_path:{path}:ref_type:{kind}:ref:{name}"));
    }

    /// Only a job with an environment says anything of one.
    fn environment(&mut self) {
        if let Some(name) = self.claims.get("environment").and_then(Value::as_str) {
            let tier = if name.starts_with("prod") { "production" } else { "other" };
            self.text("environment_protected", if tier == "production" { "true" } else { "false" });
            self.text("deployment_tier", tier);
            self.text("environment_action", "start");
        }
    }

    fn times(&mut self, now: OffsetDateTime) {
        let issued = self.value("iat", json!(now.unix_timestamp())).as_i64().unwrap_or_default();
        self.value("nbf", json!(issued - NOT_BEFORE_SECONDS));
        self.value("exp", json!(issued + TIMEOUT_SECONDS));
    }
}

/// The same name always has the same id; GitLab compares names without case.
fn id_of(kind: &str, name: &str) -> String {
    let digest = Digest::of_parts(&[kind.as_bytes(), name.to_lowercase().as_bytes()]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    number([a, b, c, d])
}

/// A positive number in digits, at most 31 bits, as ids are.
fn number(bytes: [u8; 4]) -> String {
    ((u32::from_be_bytes(bytes) >> 1) | 1).to_string()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(parent, _)| parent)
}

/// RFC 9562 §5.4: version 4.
fn uuid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{number:032x}");
    let mut text = String::with_capacity(36);
    for (index, digit) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(claimed: &[&str]) -> Value {
        let claimed: Vec<Claim> = claimed.iter().map(|claim| claim.parse().unwrap()).collect();
        let now = OffsetDateTime::from_unix_timestamp(1_793_611_800).unwrap();
        claims_of_a_new_job("https://127.0.0.1:1", "https://lanyard.test", &claimed, &Random::seeded(7), now)
    }

    #[test]
    fn a_job_has_every_claim_of_gitlabs_commonest_token_with_its_exact_type() {
        let job = job(&[]);
        for name in ["project_id", "namespace_id", "job_project_id", "pipeline_id", "job_id", "user_id"] {
            let id = job[name].as_str().unwrap();
            assert!(id.parse::<u64>().unwrap().to_string() == id, "{name} {id}");
        }
        assert_eq!(job["runner_id"], 88);
        assert_eq!(job["ref_protected"], "true");
        assert_eq!(job["nbf"].as_i64().unwrap() + 5, job["iat"].as_i64().unwrap());
        assert_eq!(job["environment"], Value::Null);
        assert_eq!(job["sub"], "project_path:acme/payments/api:ref_type:branch:ref:main");
    }

    #[test]
    fn what_depends_on_a_claim_follows_it() {
        let job = job(&["project_path=Zoo/lions", "ref=v2", "ref_type=tag", "environment=production"]);
        assert_eq!(job["namespace_path"], "Zoo");
        assert_eq!(job["job_project_path"], "Zoo/lions");
        assert_eq!(job["job_project_id"], job["project_id"]);
        assert_eq!(job["ref_path"], "refs/tags/v2");
        assert_eq!(job["environment_action"], "start");
        assert_eq!(job["project_id"], id_of("project", "zoo/LIONS"));
        assert_eq!(job["ci_config_ref_uri"], "127.0.0.1:1/Zoo/lions//.gitlab-ci.yml@refs/tags/v2");
    }

    #[test]
    fn a_minted_token_is_genuine_and_each_is_another_job() {
        use crate::token::{Expectations, IssuerKind, IssuerName, KeySet, TokenAlgorithm, UnverifiedToken};
        let parent = tempfile::tempdir().unwrap();
        let folder = DevFolder::claim(&parent.path().join("dev")).unwrap();
        folder.write("gitlab-issuer", b"https://127.0.0.1:1").unwrap();
        let keys = KeySet::parse(GitlabKeys::of(&folder).unwrap().jwks().to_string().as_bytes()).unwrap();
        let expectations = Expectations {
            issuer: IssuerName("dev".into()),
            issuer_url: "https://127.0.0.1:1".to_owned(),
            audience: AUDIENCE.to_owned(),
            allow_shared_audience: false,
            allow_missing_jti: false,
            kind: IssuerKind::GitLab,
            algorithms: vec![TokenAlgorithm::Rs256],
            leeway: Expectations::LEEWAY,
            max_token_age: Expectations::MAX_TOKEN_AGE,
        };
        let now = OffsetDateTime::from_unix_timestamp(1_793_611_800).unwrap();
        let [first, second] = [1, 2].map(|seed| {
            let token = Mint::of(&folder, now).unwrap().token(&[], &Random::seeded(seed), now).unwrap();
            UnverifiedToken::parse(&token).unwrap().verify(&keys, &expectations, now).unwrap()
        });
        assert_eq!(keys.kids().count(), 2);
        assert_ne!((first.claims().job_id, &first.claims().jti), (second.claims().job_id, &second.claims().jti));
        assert_eq!(first.claims().project_id, second.claims().project_id);
    }

    #[test]
    fn a_jti_is_a_version_4_uuid() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn a_claim_of_the_wrong_type_is_refused() {
        assert!("runner_id=eighty".parse::<Claim>().is_err());
        assert!("groups_direct=acme".parse::<Claim>().is_err());
        assert!("=x".parse::<Claim>().is_err());
        assert_eq!("user_login=".parse::<Claim>().unwrap().value, json!(""));
    }
}
