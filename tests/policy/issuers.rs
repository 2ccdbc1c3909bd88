//! `docs/issuers.md`: its configurations and policies are read out of the page, and asked by tokens as each issuer writes
//! them, genuine and spoofed.

use super::root;
use super::support::issuer::FakeIssuer;
use lanyard::config::{MapEnvironment, ServerSettings, load_server};
use lanyard::crypto::Random;
use lanyard::policy::{Answers, Ruling, Wish};
use lanyard::tls::DoorCa;
use lanyard::token::{KeySet, TokenError, VerifiedClaims};
use serde_json::{Map, Value};
use std::fs;
use std::sync::LazyLock;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::macros::datetime;

const PAGE: &str = "docs/issuers.md";
const NOW: OffsetDateTime = datetime!(2026-11-02 09:30 UTC);
const SAMPLES: &str = include_str!("../vectors/issuer-claims.json");

/// One key for all of them: making one takes a while.
static ISSUER: LazyLock<FakeIssuer> = LazyLock::new(FakeIssuer::new);

/// A section of the page as a server would have it.
struct Section {
    settings: ServerSettings,
    sample: Value,
    _folder: TempDir,
}

fn block<'p>(page: &'p str, name: &str) -> &'p str {
    let opening = format!("\n```toml\n# {name}\n");
    let (_, rest) = page.split_once(&opening).unwrap_or_else(|| panic!("the page has no {name}"));
    rest.split_once("\n```\n").unwrap().0
}

impl Section {
    fn read(name: &str) -> Self {
        Self::with(name, |lines| lines).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"))
    }

    /// With its configuration changed.
    fn with(name: &str, change: impl FnOnce(String) -> String) -> Result<Self, Vec<String>> {
        let page = fs::read_to_string(root().join(PAGE)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        put("policy.toml", block(&page, &format!("{name}.toml")));
        put("cluster-ca.crt", &DoorCa::make(&Random::system(), NOW).unwrap().to_pem());
        let head = "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n";
        let own = change(block(&page, &format!("{name}.server.toml")).to_owned());
        put("server.toml", &format!("{head}{own}\n"));
        let loaded = load_server(&folder.path().join("server.toml"), &MapEnvironment::default());
        let told = |problems: Vec<_>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        let samples: Value = serde_json::from_str(SAMPLES).unwrap();
        let sample = samples[name].clone();
        Ok(Self { settings: loaded.map_err(told)?, sample, _folder: folder })
    }

    fn claims(&self) -> Map<String, Value> {
        let mut claims = self.sample.as_object().unwrap().clone();
        for (name, seconds) in [("iat", -60), ("nbf", -60), ("exp", 840)] {
            claims.insert(name.to_owned(), (NOW.unix_timestamp() + seconds).into());
        }
        claims
    }

    fn read_claims(&self, claims: &Map<String, Value>) -> Result<VerifiedClaims, TokenError> {
        let (text, keys) = (ISSUER.mint(claims), KeySet::parse(&ISSUER.jwks()).unwrap());
        let token = self.settings.issuers.read(&text)?;
        let unknown =
            || TokenError::IssuerWrong { found: token.issuer().to_owned(), wanted: "one that is known".to_owned() };
        let issuer = self.settings.issuers.by_url(token.issuer()).ok_or_else(unknown)?;
        let claims = token.verify(&keys, &issuer.expectations, NOW)?;
        issuer.admit(claims.claims())?;
        Ok(claims)
    }

    /// The ID that these claims are given, or the code of the no.
    fn says(&self, claims: &Map<String, Value>) -> String {
        let verified = match self.read_claims(claims) {
            Ok(verified) => verified,
            Err(error) => return error.code().to_owned(),
        };
        let asked = (verified.claims(), &Answers::NONE);
        match self.settings.policy.rule_on(asked, &Wish::X509 { profile: None }, &self.settings.trust_domain) {
            Ruling::Granted { spiffe_id, .. } => spiffe_id.strip_prefix("spiffe://ci.example.org").unwrap().to_owned(),
            Ruling::Denied { code, .. } => code,
        }
    }

    /// The same with some of them changed; null takes one away. Slashes go into objects.
    fn says_of(&self, changes: &[(&str, Value)]) -> String {
        let mut claims = Value::Object(self.claims());
        for (path, value) in changes {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", *path));
            let parts = folder.split('/').filter(|part| !part.is_empty());
            let object = parts.fold(&mut claims, |found, part| &mut found[part]).as_object_mut().unwrap();
            let former =
                if value.is_null() { object.remove(name) } else { object.insert(name.to_owned(), value.clone()) };
            drop(former);
        }
        self.says(claims.as_object().unwrap())
    }
}

#[test]
fn each_section_of_the_page_gives_its_issuers_bearers_the_id_that_stands_there() {
    for (name, id) in [
        ("github", "/github/octo-org/octo-repo/-/environments/production/runs/11223344556"),
        ("kubernetes", "/-/lanyard/runners/ci/gitlab-runner"),
        ("zuul", "/zuul/acme/review.example.org/acme/api/lanyard"),
        ("okta", "/okta/0oa1gqb5x9aVvY1cQ5d7"),
        ("spiffe", "/partners/builders/builds/linux"),
    ] {
        let section = Section::read(name);
        assert_eq!(section.says_of(&[]), id, "{name}");
        let warnings: Vec<_> = section.settings.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [""; 0], "{name}");
    }
}

/// Whose token, what is changed of it, and what comes of that.
type Case = (&'static str, Vec<(&'static str, Value)>, &'static str);

fn other(text: &str) -> Value {
    Value::from(text)
}

fn spoofed_at_github() -> Vec<Case> {
    vec![
        ("github", vec![("aud", other("https://github.com/octo-org"))], "token_audience_wrong"),
        ("github", vec![("sub", other("repo:octo-org/other:environment:production"))], "token_claims_contradict"),
        ("github", vec![("sub", other("repo:octo-org@123456/octo-repo@74:environment:production"))], "=granted"),
        ("github", vec![("repository_owner", other("mallory"))], "token_claims_contradict"),
        ("github", vec![("check_run_id", Value::Null)], "token_claim_missing"),
        ("github", vec![("jti", Value::Null)], "token_claim_missing"),
        ("github", vec![("repository_id", Value::from(74))], "token_claim_malformed"),
        ("github", vec![("event_name", other("pull_request_target"))], "no_rule_matches"),
        ("github", vec![("event_name", other("pull_request"))], "no_rule_matches"),
        ("github", vec![("ref_protected", other("false"))], "no_rule_matches"),
        (
            "github",
            vec![
                ("sub", other("repo:mallory/octo-repo:ref:refs/heads/main")),
                ("repository", other("mallory/octo-repo")),
                ("repository_owner", other("mallory")),
                ("repository_id", other("99")),
                ("repository_owner_id", other("98")),
            ],
            "namespace_not_listed",
        ),
        ("github", vec![("iss", other("https://token.actions.example.com"))], "token_issuer_wrong"),
        (
            "kubernetes",
            vec![("aud", serde_json::json!(["https://lanyard.example.org", "vault"]))],
            "token_audience_shared",
        ),
    ]
}

fn spoofed_elsewhere() -> Vec<Case> {
    vec![
        ("kubernetes", vec![("aud", serde_json::json!(["https://kubernetes.default.svc"]))], "token_audience_wrong"),
        ("kubernetes", vec![("sub", other("system:serviceaccount:kube-system:admin"))], "token_claims_contradict"),
        ("kubernetes", vec![("sub", other("system:serviceaccount:ci:other"))], "token_claims_contradict"),
        ("kubernetes", vec![("sub", other("system:node:one"))], "token_claim_malformed"),
        ("kubernetes", vec![("sub", other("system:serviceaccount:ci:a:b"))], "token_claim_malformed"),
        ("kubernetes", vec![("kubernetes.io/pod", Value::Null)], "token_claim_missing"),
        ("kubernetes", vec![("kubernetes.io", Value::Null)], "token_claim_missing"),
        ("kubernetes", vec![("kubernetes.io/pod/uid", Value::from(7))], "token_claim_malformed"),
        ("kubernetes", vec![("jti", Value::Null)], "token_claim_missing"),
        ("zuul", vec![("build-uuid", Value::Null)], "token_claim_missing"),
        ("zuul", vec![("pipeline", other("check"))], "no_rule_matches"),
        ("zuul", vec![("sub", other("secret:mallory/review.example.org/acme/api/lanyard"))], "token_claims_contradict"),
        ("zuul", vec![("sub", other("acme/review.example.org/acme/api/lanyard"))], "token_claim_malformed"),
        ("okta", vec![("iss", other("https://acme.okta.com"))], "token_issuer_wrong"),
        ("okta", vec![("cid", other("0oa-another"))], "no_rule_matches"),
        ("okta", vec![("scp", serde_json::json!(["openid"]))], "no_rule_matches"),
        ("okta", vec![("jti", Value::Null)], "token_claim_missing"),
        ("spiffe", vec![("sub", other("spiffe://other.example/builds/linux"))], "token_claim_missing"),
        ("spiffe", vec![("sub", other("spiffe://ci.example.org/builds/linux"))], "token_claim_missing"),
        ("spiffe", vec![("iss", other("https://whatever.example"))], "=granted"),
        ("okta", vec![("sub", other("spiffe://ci.example.org/acme/api/-/pipelines/7"))], "token_is_svid"),
        ("okta", vec![("sub", other("SPIFFE://partner.example/builds/linux"))], "token_is_svid"),
        ("okta", vec![("cid", other("spiffe://ci.example.org/acme/api"))], "token_claim_malformed"),
        ("github", vec![("sub", other("spiffe://ci.example.org/octo-org/octo-repo"))], "token_is_svid"),
        ("github", vec![("repository", other("spiffe://ci.example.org/octo-repo"))], "token_claim_malformed"),
        ("kubernetes", vec![("sub", other("spiffe://ci.example.org/ci/gitlab-runner"))], "token_claim_malformed"),
        (
            "spiffe",
            vec![("iss", other("spiffe://partner.example")), ("sub", other("spiffe://other.example/builds/linux"))],
            "token_issuer_wrong",
        ),
        ("spiffe", vec![("sub", other("spiffe://partner.example"))], "token_claim_missing"),
        ("spiffe", vec![("sub", other("spiffe://partner.example/builds/-/x"))], "no_rule_matches"),
        ("spiffe", vec![("jti", Value::Null)], "=granted"),
        ("spiffe", vec![("exp", Value::Null)], "token_claim_missing"),
    ]
}

#[test]
fn whatever_is_spoofed_or_missing_is_refused_by_its_name() {
    for (name, changes, wanted) in spoofed_at_github().into_iter().chain(spoofed_elsewhere()) {
        let section = Section::read(name);
        let said = section.says_of(&changes);
        let is_right = if wanted == "=granted" { said == section.says_of(&[]) } else { said == wanted };
        assert!(is_right, "{name} {changes:?}: {said}, not {wanted}");
    }
}

#[test]
fn a_token_without_a_name_is_known_by_what_was_signed_where_the_operator_says_so() {
    let section = Section::read("spiffe");
    let mut claims = section.claims();
    claims.remove("jti");
    let jti = |claims: &Map<String, Value>| section.read_claims(claims).unwrap().claims().jti.clone();
    let first = jti(&claims);
    assert!(first.starts_with("sha256:") && first == jti(&claims));
    claims.insert("nonce".to_owned(), 1.into());
    assert_ne!(first, jti(&claims));
    let strict = Section::with("spiffe", |lines| lines.replace("allow_missing_jti = true", "")).unwrap();
    let mut claims = strict.claims();
    claims.remove("jti");
    assert_eq!(strict.says(&claims), "token_claim_missing");
}

#[test]
fn a_rule_that_asks_what_its_issuer_never_tells_does_not_load() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let problems = |name: &str, policy: &str| {
        let folder = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        put("policy.toml", policy);
        put("cluster-ca.crt", &DoorCa::make(&Random::system(), NOW).unwrap().to_pem());
        let own = block(&page, &format!("{name}.server.toml"));
        let head = "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n";
        put("server.toml", &format!("{head}{own}\n"));
        let loaded = load_server(&folder.path().join("server.toml"), &MapEnvironment::default());
        loaded.map_or_else(|problems| problems.iter().map(ToString::to_string).collect(), |_loads| Vec::new())
    };
    for (name, id, term, told) in [
        (
            "kubernetes",
            "/k/{project_path}",
            "project_id = 7",
            "project_id, which no token of issuer cluster (kubernetes) tells",
        ),
        ("kubernetes", "/k/{project_path}/-/{pipeline_id}", "pod = \"a\"", "pipeline_id, which no token"),
        ("github", "/k/{project_path}", "environment_protected = true", "environment_protected, which no token"),
        (
            "github",
            "/-/lanyard/runners/{project_path}",
            "namespace_id = 7",
            "a runner's ID for bearers of issuer github",
        ),
    ] {
        let issuer = if name == "kubernetes" { "cluster" } else { name };
        let rule = format!("[[rule]]\nname = \"a\"\nid = \"{id}\"\n[rule.when]\nissuer = \"{issuer}\"\n{term}\n");
        let found = problems(name, &rule);
        assert!(found.iter().any(|problem| problem.contains(told)), "{told}: {found:#?}");
    }
}

#[test]
fn our_own_trust_domain_is_no_source_and_what_is_gitlabs_stands_beside_no_other_kind() {
    for (name, from, to, told) in [
        ("spiffe", "partner.example", "ci.example.org", "this server's own"),
        ("spiffe", "kind = \"spiffe\"", "kind = \"spire\"", "no kind of issuer"),
        ("github", "namespaces = [\"octo-org\"]", "[issuer.api]\ntoken_file = \"x\"", "only a GitLab has one"),
    ] {
        let problems = Section::with(name, |lines| lines.replace(from, to)).err().unwrap();
        assert!(problems.iter().any(|problem| problem.contains(told)), "{told}: {problems:#?}");
    }
}

#[test]
fn our_own_issuer_is_no_source_whatever_kind_is_written_beside_it_and_however_it_is_spelled() {
    for (name, ours, from, to) in [
        ("zuul", "https://zuul.example.org", "", ""),
        ("zuul", "https://zuul.example.org", "kind = \"zuul\"", "kind = \"gitlab\""),
        ("zuul", "https://zuul.example.org", "https://zuul.example.org", "https://Zuul.example.org/"),
        ("okta", "https://acme.okta.com/oauth2/default", "", ""),
        ("kubernetes", "https://kubernetes.default.svc", "", ""),
    ] {
        let jwt = format!("[jwt]\nissuer = \"{ours}\"\n[[issuer]]");
        let problems =
            Section::with(name, |lines| lines.replacen(from, to, 1).replace("[[issuer]]", &jwt)).err().unwrap();
        let told = |problem: &String| problem.contains("this server's own issuer");
        assert!(problems.iter().any(told), "{ours}, {to}: {problems:#?}");
    }
}
