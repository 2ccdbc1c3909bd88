//! `docs/integrations/aws.md` and `operators.md`: their configurations load as they stand there, what the page tells AWS is what the
//! rule gives, and every command is one that the program has.

use super::root;
use super::support::issuer::FakeIssuer;
use lanyard::config::{MapEnvironment, Problem, ServerSettings, load_server};
use lanyard::policy::{Answers, Ruling, Wish};
use lanyard::token::Claims;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use std::fs;
use std::process::Command;
use tempfile::TempDir;
use time::macros::datetime;

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs/integrations").join(name)).unwrap()
}

/// The page's block of this name.
fn block(page: &str, language: &str, name: &str) -> String {
    let opening = format!("\n```{language}\n# {name}\n");
    let (_, rest) = page.split_once(&opening).unwrap_or_else(|| panic!("the page has no {name}"));
    rest.split_once("\n```\n").unwrap().0.to_owned()
}

fn load(server: &str, policy: &str) -> Result<ServerSettings, Vec<Problem>> {
    let folder = TempDir::new().unwrap();
    let put = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    put("policy.toml", policy.as_bytes());
    put("gitlab-jwks.json", &FakeIssuer::new().jwks());
    let head = "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n";
    put("server.toml", format!("{head}{server}\n").as_bytes());
    load_server(&folder.path().join("server.toml"), &MapEnvironment::default())
}

#[test]
fn the_aws_page_loads_and_its_role_names_the_very_jobs_that_the_rule_grants() {
    let page = page("aws.md");
    let (server, policy) = (block(&page, "toml", "aws.server.toml"), block(&page, "toml", "aws.toml"));
    let settings = load(&server, &policy).unwrap();
    assert_eq!(settings.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    let mut claims = FakeIssuer::new().claims(datetime!(2026-11-02 09:30 UTC));
    for (name, value) in
        [("environment", "production"), ("environment_protected", "true"), ("environment_action", "start")]
    {
        claims.insert(name.to_owned(), value.into());
    }
    let claims = Claims::unproven(
        Value::Object(claims).to_string().as_bytes(),
        settings.issuers.by_name("corp").unwrap().name().clone(),
    );
    let claims = claims.unwrap();
    let ruling =
        settings.policy.rule_on((&claims, &Answers::NONE), &Wish::X509 { profile: None }, &settings.trust_domain);
    let Ruling::Granted { spiffe_id, .. } = ruling else { panic!("{ruling:?}") };
    let trust: Value = serde_json::from_str(&block(&page, "json", "trust.json")).unwrap();
    let wanted = &trust["Statement"][0]["Condition"]["StringEquals"];
    assert_eq!(wanted["ci.example.org:sub"], spiffe_id);
    assert_eq!(wanted["ci.example.org:aud"], "sts.amazonaws.com");
    let said = settings.policy.rules()[0].gives.claims.fill(&claims, &Answers::NONE).unwrap();
    let tags = &said["https://aws.amazon.com/tags"]["principal_tags"];
    assert_eq!(tags["project_id"][0], wanted["aws:RequestTag/project_id"]);
    let deploy: Value = serde_json::from_str(&block(&page, "json", "deploy.json")).unwrap();
    let by_tag = &deploy["Statement"][0]["Condition"]["StringEquals"]["aws:PrincipalTag/project_id"];
    assert_eq!(tags["project_id"][0], *by_tag);
}

#[test]
fn the_jobs_of_a_second_gitlab_are_told_apart_or_nothing_loads() {
    let page = page("aws.md");
    let (server, policy) = (block(&page, "toml", "aws.server.toml"), block(&page, "toml", "aws.toml"));
    let of_corp = server.split_once("[[issuer]]").unwrap().1;
    let server = format!("{server}\n[[issuer]]{}", of_corp.replace("corp", "hub"));
    let another = policy
        .replace("corp", "hub")
        .replace("payments, production", "hub, production")
        .replace("id = \"/", "id = \"/-/hub/");
    let problems = load(&server, &format!("{policy}\n{another}")).unwrap_err();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(told.iter().filter(|told| told.contains("aws_shared_by_issuers")).count() == 3, "{told:#?}");
    let apart = |policy: &str, name: &str| {
        let policy = policy.replace("project_id = \"{", &format!("project_id = \"{name}:{{"));
        let policy = policy.replace("pipeline_id = \"{", &format!("pipeline_id = \"{name}:{{"));
        policy.replace("\"job-{", &format!("\"{name}-job-{{"))
    };
    load(&server, &format!("{}\n{}", apart(&policy, "corp"), apart(&another, "hub"))).unwrap();
}

#[test]
fn the_operators_page_loads() {
    let (aws, page) = (page("aws.md"), page("operators.md"));
    let server =
        format!("{}\n{}", block(&aws, "toml", "aws.server.toml"), block(&page, "toml", "operators.server.toml"));
    let settings = load(&server, &block(&aws, "toml", "aws.toml")).unwrap();
    let of = &settings.operators.from.issuers[0];
    assert_eq!((of.people.len(), of.require.len(), of.claim.as_str()), (2, 2, "sub"));
}

#[test]
fn certificates_of_operators_load_as_the_page_has_them() {
    let (aws, page) = (page("aws.md"), page("operators.md"));
    let ca = CertifiedIssuer::self_signed(
        {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        },
        KeyPair::generate().unwrap(),
    );
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, ca.unwrap().pem()).unwrap();
    let lines = block(&page, "toml", "certificates.server.toml");
    let lines = lines.replace("/etc/lanyard/operators-ca.pem", file.to_str().unwrap());
    let server = format!("{}\n{lines}", block(&aws, "toml", "aws.server.toml"));
    let settings = load(&server, &block(&aws, "toml", "aws.toml")).unwrap();
    let certificates = settings.operators.from.certificates.unwrap();
    assert_eq!((certificates.people.len(), &*certificates.name.0), (2, "corp-ca"));
}

/// What each page must tell (a row of the table, or a sentence that names them all).
const TOLD: [&str; 8] =
    ["push", "merge", "schedule", "manual", "trigger", "bot", "what you need first", "## what a failure looks like"];

#[test]
fn each_page_says_what_it_takes_whose_account_counts_and_what_a_failure_looks_like() {
    for name in ["active-directory.md", "aws.md", "gerrit.md", "gitlab.md", "okta.md", "vault.md"] {
        let page = page(name).to_lowercase();
        for told in TOLD {
            assert!(page.contains(told), "{name}: {told}");
        }
        let whose = page.split("\n## ").find(|part| part.starts_with("who")).unwrap_or_else(|| panic!("{name}: whose"));
        for came in TOLD.iter().take(6) {
            assert!(whose.contains(came), "{name}: {came} where it says whose account counts");
        }
        assert!(page.contains("```sh\n"), "{name}: a command");
        let failures = page.split_once("## what a failure looks like").unwrap().1;
        assert!(failures.matches("\n|").count() > 4, "{name}: a table of failures");
    }
}

#[test]
fn every_command_of_ours_on_these_pages_is_one_that_the_program_has() {
    for name in ["aws.md", "operators.md"] {
        let page = page(name);
        let blocks = page.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
        let ours: Vec<&str> = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("lanyard ")).collect();
        assert!(!ours.is_empty(), "{name}");
        for line in ours {
            let typed = line.split(" -- ").next().unwrap();
            let words: Vec<&str> = typed
                .split('"')
                .enumerate()
                .flat_map(|(at, part)| if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
                .collect();
            let mut lanyard = Command::new(env!("CARGO_BIN_EXE_lanyard"));
            let told = lanyard.args(words).arg("--help").output().unwrap();
            assert!(told.status.success(), "{line}: {}", String::from_utf8_lossy(&told.stderr));
        }
    }
}
