//! What was asked for is what every judge reads, and every judge takes it from either side of a connection.

use super::judge::{self, Judge};
use super::made::{Der, Files, roots};
use crate::support::harness::{Agent, Harness, POLICY, chain, start};
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm};
use serde_json::{Value, json};
use std::path::PathBuf;

const ID: &str = "URI:spiffe://ci.example.org/acme/payments/api/-/pipelines/574";
const DNS: &str = "DNS:pl574.p4711.ci.example.net";

/// One way to configure leaves.
struct Wish {
    name: &'static str,
    /// Behind the issuer's section of the server's file.
    server: &'static str,
    /// In the rule.
    rule: &'static str,
    /// In the token.
    claims: &'static [(&'static str, &'static str)],
    key: &'static SignatureAlgorithm,
    /// What differs from the plain leaf.
    differs: fn() -> Value,
}

const PLAIN: Wish = Wish {
    name: "plain",
    server: "",
    rule: "",
    claims: &[],
    key: &rcgen::PKCS_ECDSA_P256_SHA256,
    differs: || json!({}),
};

fn of_keys() -> Vec<Wish> {
    vec![
        Wish {
            name: "a P-384 key",
            server: "[svid]\nkey_kinds = [\"ec-p384\"]",
            key: &rcgen::PKCS_ECDSA_P384_SHA384,
            differs: || json!({"key": "EC P-384"}),
            ..PLAIN
        },
        Wish {
            name: "an Ed25519 key",
            server: "[svid]\nkey_kinds = [\"ec-p256\", \"ed25519\"]",
            key: &rcgen::PKCS_ED25519,
            differs: || json!({"key": "Ed25519"}),
            ..PLAIN
        },
        Wish {
            name: "an RSA key",
            server: "[svid]\nkey_kinds = [\"rsa\"]",
            key: &rcgen::PKCS_RSA_SHA256,
            differs: || json!({"key": "RSA 2048"}),
            ..PLAIN
        },
    ]
}

fn wishes() -> Vec<Wish> {
    vec![
        PLAIN,
        Wish {
            name: "a DNS name behind the ID",
            server: "[svid]\ndns_suffix = \"ci.example.net\"",
            differs: || json!({"names": [ID, DNS]}),
            ..PLAIN
        },
        Wish {
            name: "a DNS name before the ID",
            server: "[svid]\ndns_suffix = \"ci.example.net\"\nsan_order = \"dns_first\"",
            differs: || json!({"names": [DNS, ID]}),
            ..PLAIN
        },
        Wish {
            name: "the project as common name",
            server: "[svid]\nsubject = \"project\"",
            differs: || json!({"subject": ["O=Lanyard", "CN=p4711"]}),
            ..PLAIN
        },
        Wish {
            name: "no subject",
            server: "[svid]\nsubject = \"empty\"",
            differs: || json!({"subject": [], "critical": ["2.5.29.15", "2.5.29.17", "2.5.29.19"]}),
            ..PLAIN
        },
        Wish { name: "build claims", rule: "build_claims = true", differs: || json!({"build": told("main")}), ..PLAIN },
        Wish {
            name: "build claims beyond ASCII, beside everything else",
            server: "[svid]\ndns_suffix = \"ci.example.net\"\nsan_order = \"dns_first\"\nsubject = \"empty\"",
            rule: "build_claims = true",
            claims: &[("ref", "frühling/\u{1f331}"), ("ci_config_sha", "")],
            differs: || {
                let mut told = told("frühling/\u{1f331}");
                told.as_object_mut().unwrap().retain(|number, _| !["10", "19"].contains(&number.as_str()));
                json!({
                    "names": [DNS, ID], "subject": [], "critical": ["2.5.29.15", "2.5.29.17", "2.5.29.19"], "build": told
                })
            },
            ..PLAIN
        },
    ]
}

/// Fulcio's extensions of the usual token, by their numbers.
fn told(branch: &str) -> Value {
    let sha = "c3fc97ce000ebfe67b7ab7b7409507add907bf8d";
    let config = "https://gitlab.example.com/acme/payments/api//.gitlab-ci.yml@refs/heads/main";
    json!({
        "8": "https://gitlab.example.com",
        "9": config,
        "10": sha,
        "11": "self-hosted",
        "12": "https://gitlab.example.com/acme/payments/api",
        "13": sha,
        "14": format!("refs/heads/{branch}"),
        "15": "4711",
        "16": "https://gitlab.example.com/acme/payments",
        "17": "72",
        "18": config,
        "19": sha,
        "20": "push",
        "21": "https://gitlab.example.com/acme/payments/api/-/jobs/9001",
        "22": "private",
    })
}

fn hex(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A leaf that the road gave for a wish.
struct Leaf {
    name: String,
    file: PathBuf,
    chain: Vec<Der>,
    roots: Vec<Der>,
    wanted: Value,
}

impl Leaf {
    /// The plain leaf's words with those that differ; `uris` and `dns` are the names for judges that keep no order.
    fn wanted(wish: &Wish, spki: &[u8]) -> Value {
        let now = start().unix_timestamp();
        let mut all = json!({
            "spki": hex(spki),
            "key": "EC P-256",
            "not_before": now - 10,
            "not_after": now + 900,
            "ca": false,
            "key_usage": ["digitalSignature"],
            "purposes": ["serverAuth", "clientAuth"],
            "critical": ["2.5.29.15", "2.5.29.19"],
            "subject": ["O=Lanyard"],
            "names": [ID],
            "build": {},
        });
        let words = all.as_object_mut().unwrap();
        words.extend((wish.differs)().as_object().unwrap().clone());
        let of_kind = |kind: &str| {
            let names = words["names"].as_array().unwrap().iter().filter_map(Value::as_str);
            names.filter_map(|name| name.strip_prefix(kind).map(str::to_owned)).collect::<Vec<_>>()
        };
        let (uris, dns) = (of_kind("URI:"), of_kind("DNS:"));
        words.extend([("uris".to_owned(), json!(uris)), ("dns".to_owned(), json!(dns))]);
        all
    }
}

async fn server(wish: &Wish) -> Harness {
    let policy = POLICY.replace("ttl =", &format!("{}\nttl =", wish.rule));
    Harness::whose_issuer_says(wish.server, &policy, "memory").await
}

async fn made(wish: &Wish, files: &Files) -> Leaf {
    let harness = server(wish).await;
    let mut claims = harness.issuer.claims(start());
    for (name, value) in wish.claims {
        claims.insert((*name).to_owned(), (*value).into());
    }
    let key = KeyPair::generate_for(wish.key).unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    let issued = harness.exchange_by_csr(&harness.issuer.mint(&claims), csr).await.unwrap();
    let chain: Vec<Der> = chain(&issued).into_iter().map(Der::from).collect();
    let (file, roots) = (files.write(&chain[..1]), roots(&harness));
    Leaf { name: wish.name.to_owned(), file, chain, roots, wanted: Leaf::wanted(wish, &key.subject_public_key_info()) }
}

/// The facts that a judge read are those that were asked for, and it knows all that it says it knows.
fn agrees(judge: &dyn Judge, leaf: &Leaf, facts: &Value) {
    let facts = facts.as_object().unwrap();
    for word in judge.knows() {
        assert_eq!(
            facts.get(*word),
            leaf.wanted.get(*word),
            "{} of {:?}, as {} reads it",
            word,
            leaf.name,
            judge.name()
        );
    }
}

/// Shows: X509-1, X509-2, X509-4, X509-8, X509-10, X509-12, X509-13, X509-20, X509-22, MESH-A1, MESH-A2, MESH-A3.
#[tokio::test]
async fn every_judge_reads_what_was_asked_for_and_takes_it_from_either_side() {
    let files = Files::new();
    let mut leaves = Vec::new();
    for wish in wishes().into_iter().chain(of_keys()) {
        leaves.push(made(&wish, &files).await);
    }
    let paths: Vec<PathBuf> = leaves.iter().map(|leaf| leaf.file.clone()).collect();
    let hearings: Vec<_> =
        leaves.iter().map(|leaf| files.hearing(&leaf.name, &leaf.chain, &leaf.roots, start())).collect();
    for judge in judge::all() {
        for (leaf, facts) in leaves.iter().zip(judge.facts(&paths)) {
            agrees(&*judge, leaf, &facts);
        }
        for (hearing, verdict) in hearings.iter().zip(judge.verify(&hearings)) {
            assert!(verdict.holds(), "{} refuses {:?}: {verdict:?}", judge.name(), hearing.name);
        }
    }
}

#[tokio::test]
async fn a_server_takes_the_settings_that_the_page_shows() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/certificates.md"));
    let shown = page.split("```toml\n").find(|block| block.starts_with("[svid]")).unwrap();
    let server = shown.split("```").next().unwrap().to_owned().leak();
    let harness = Harness::whose_issuer_says(server, POLICY, "memory").await;
    let issued = harness.exchange(&harness.issuer.token(start()), &Agent::new()).await.unwrap();
    let facts = lanyard::svid::inspect_certificate(&chain(&issued)[0]).unwrap();
    let dns = facts.dns.unwrap();
    assert_eq!((dns.name.as_str(), dns.order), ("pl574.p4711.ci.example.org", lanyard::svid::SanOrder::DnsFirst));
}

#[tokio::test]
async fn a_renewed_leaf_tells_of_the_build_like_the_first() {
    let wish = Wish { name: "renewed", rule: "build_claims = true", ..PLAIN };
    let (harness, agent, files) = (server(&wish).await, Agent::new(), Files::new());
    let first = harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap();
    harness.advance(300);
    let renewed = harness.renew(first.session().unwrap(), &agent).await.unwrap();
    let paths = [&first, &renewed].map(|issued| files.write(&[Der::from(chain(issued).remove(0))]));
    for judge in judge::all().iter().filter(|judge| judge.knows().contains(&"build")) {
        let facts = judge.facts(&paths);
        assert_eq!((&facts[0]["build"], &facts[1]["build"]), (&told("main"), &told("main")), "{}", judge.name());
    }
    assert!(harness.journal().contains("\"build_claims\":true"), "the journal says that they were told");
}

#[tokio::test]
async fn a_claim_that_does_not_fit_a_certificate_is_refused_and_nothing_is_signed() {
    let harness = server(&Wish { rule: "build_claims = true", ..PLAIN }).await;
    for value in ["a\nb".to_owned(), "\u{202e}nib".to_owned(), "x".repeat(1100)] {
        let token = harness.issuer.token_with(start(), "ref", value);
        let refused = harness.exchange(&token, &Agent::new()).await.unwrap_err();
        assert_eq!(refused.code(), "build_claim_does_not_fit");
    }
    let plain = Harness::new().await;
    plain.exchange(&plain.issuer.token_with(start(), "ref", "a\u{202e}b"), &Agent::new()).await.unwrap();
    assert!(!harness.journal().contains("\"type\":\"x509\""));
}

/// Shows: MESH-A8, MESH-A9.
#[tokio::test]
async fn no_text_of_a_token_reaches_the_subject_or_the_dns_name() {
    let wish =
        Wish { server: "[svid]\ndns_suffix = \"ci.example.net\"\nsubject = \"project\"", name: "hostile", ..PLAIN };
    let harness = server(&wish).await;
    let texts = [
        "user_login",
        "user_email",
        "ref",
        "sha",
        "pipeline_source",
        "project_visibility",
        "runner_environment",
        "sub",
    ];
    for hostile in ["CN=admin,O=root", "*.evil.example", "a\u{0}b", "\u{202e}nimda", "cluster.local", "../../x\n"] {
        let mut claims = harness.issuer.claims(start());
        for name in texts {
            claims.insert(name.to_owned(), hostile.into());
        }
        let issued = harness.exchange(&harness.issuer.mint(&claims), &Agent::new()).await.unwrap();
        let facts = lanyard::svid::inspect_certificate(&chain(&issued)[0]).unwrap();
        assert_eq!(facts.subject, lanyard::svid::Subject::Project(4711));
        assert_eq!(facts.dns.unwrap().name, "pl574.p4711.ci.example.net");
    }
}

/// Shows: X509-20, MESH-A2.
#[tokio::test]
async fn a_key_of_another_kind_is_refused_unless_the_server_lists_it() {
    for (line, made_as, refused) in [
        ("", &rcgen::PKCS_ECDSA_P384_SHA384, true),
        ("", &rcgen::PKCS_RSA_SHA256, true),
        ("[svid]\nkey_kinds = [\"ec-p384\"]", &rcgen::PKCS_ECDSA_P256_SHA256, true),
        ("[svid]\nkey_kinds = [\"ec-p384\"]", &rcgen::PKCS_ECDSA_P384_SHA384, false),
    ] {
        let harness = server(&Wish { server: line, ..PLAIN }).await;
        let key = KeyPair::generate_for(made_as).unwrap();
        let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        let answer = harness.exchange_by_csr(&harness.issuer.token(start()), csr).await;
        assert_eq!(answer.as_ref().err().map(lanyard::issuance::Refusal::code), refused.then_some("csr_key_kind"));
    }
}
