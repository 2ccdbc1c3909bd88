//! Vault's PKI engine above us: what it is asked for, what it must not get away with, and identities under it.
#![expect(clippy::indexing_slicing, reason = "an object that lacks a member ends the test")]

use crate::support::harness::{Agent, Harness, POLICY, chain};
use crate::support::hierarchy::{Hierarchy, OURS, P256, SOUND};
use crate::support::https::Trouble;
use crate::support::vault::{Engine, ScriptedVault, data, error};
use lanyard::authority::{KeyPlan, first_wanted};
use lanyard::clock::{Clock as _, SystemClock};
use lanyard::crypto::Random;
use lanyard::identity::TrustDomain;
use lanyard::telemetry::chain as told;
use lanyard::upstream::{Certified, PkiIssuer, UpstreamError, VaultPki, Wanted, ask_once};
use lanyard::vault::Vault;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How an answer comes out.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// As it should.
    Right,
    /// As it should, by an authority that is the root, and says so alone.
    ByTheRoot,
    /// With these extensions, for so many days.
    Saying(&'static str, &'static str),
    /// For another key.
    OfAnother,
    /// Without what stands above.
    Torn,
    /// Under a root that nobody told us of.
    Elsewhere,
    /// This in place of the certificate.
    Text(&'static str),
}

struct Pki {
    made: Hierarchy,
    answer: Mutex<Answer>,
    asked: Mutex<Value>,
}

impl Pki {
    fn new() -> Arc<Self> {
        let made = Hierarchy::two_tiers();
        made.root("elsewhere", P256, SOUND);
        Arc::new(Self { made, answer: Mutex::new(Answer::Right), asked: Mutex::default() })
    }
}

impl Engine for Pki {
    fn answer(&self, verb: &str, path: &str, body: &Value) -> (u16, Value) {
        if verb != "POST" || !["root/sign-intermediate", "issuer/upstream/sign-intermediate"].contains(&path) {
            return error(404, "unsupported path");
        }
        *self.asked.lock().unwrap() = body.clone();
        let csr = body["csr"].as_str().unwrap();
        let (answer, made) = (*self.answer.lock().unwrap(), &self.made);
        let (pem, issuer, above) = match answer {
            Answer::Right => (made.sign(csr, "upstream", (OURS, "3")), "upstream", vec!["upstream", "root"]),
            Answer::ByTheRoot => (made.sign(csr, "root", (OURS, "3")), "root", vec![]),
            Answer::Saying(what, days) => (made.sign(csr, "upstream", (what, days)), "upstream", vec!["upstream"]),
            Answer::OfAnother => {
                (made.sign(&made.another_request(), "upstream", (OURS, "3")), "upstream", vec!["upstream"])
            }
            Answer::Torn => (made.sign(csr, "upstream", (OURS, "3")), "root", vec![]),
            Answer::Elsewhere => (made.sign(csr, "elsewhere", (OURS, "3")), "elsewhere", vec!["elsewhere"]),
            Answer::Text(text) => (text.to_owned(), "upstream", vec!["upstream"]),
        };
        let chain: Vec<String> = above.into_iter().map(|name| made.pem(name)).collect();
        let mut signed = json!({ "certificate": pem, "issuing_ca": made.pem(issuer), "serial_number": "17:67" });
        if !chain.is_empty() {
            signed["ca_chain"] = json!(chain);
        }
        data(&signed)
    }
}

fn wanted() -> Wanted {
    let domain = TrustDomain::parse("ci.example.org").unwrap();
    first_wanted(&domain, &KeyPlan::DEFAULT, (SystemClock.now(), &Random::system())).unwrap()
}

async fn asked(vault: &ScriptedVault, pki: &Pki, wanted: Wanted) -> Result<Certified, UpstreamError> {
    let vault = Vault::new(vault.settings(), Arc::new(SystemClock)).unwrap();
    let issuer = PkiIssuer { mount: "pki".to_owned(), issuer: None };
    let upstream = Arc::new(VaultPki::new(Arc::new(vault), issuer));
    let roots = pki.made.roots().read(SystemClock.now()).unwrap();
    ask_once(upstream, wanted, &roots, (Arc::new(SystemClock), Duration::from_secs(900))).await
}

async fn scripted(pki: &Arc<Pki>) -> ScriptedVault {
    let engine: Arc<dyn Engine> = Arc::<Pki>::clone(pki);
    ScriptedVault::with(vec![("pki", engine)]).await
}

#[tokio::test]
async fn a_vault_is_asked_for_exactly_this_and_what_it_signs_is_used() {
    let pki = Pki::new();
    let vault = scripted(&pki).await;
    let certified = asked(&vault, &pki, wanted()).await.unwrap();
    assert_eq!(certified.above.len(), 1, "what stands between, and not the root");
    let mut body = pki.asked.lock().unwrap().clone();
    let csr = body.as_object_mut().unwrap().remove("csr").unwrap();
    assert!(csr.as_str().unwrap().starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    assert!(body["common_name"].as_str().unwrap().starts_with("Lanyard intermediate "));
    body.as_object_mut().unwrap().remove("common_name");
    let rest = json!({
        "uri_sans": "spiffe://ci.example.org", "exclude_cn_from_sans": true, "use_csr_values": false,
        "max_path_length": 0, "ttl": "86460s", "format": "pem",
    });
    assert_eq!(body, rest);
    // It gave three days; what was asked for is the end.
    assert!(certified.not_after <= SystemClock.now() + Duration::from_secs(86_400));
    *pki.answer.lock().unwrap() = Answer::ByTheRoot;
    assert_eq!(asked(&vault, &pki, wanted()).await.unwrap().above.len(), 0);
}

#[tokio::test]
async fn no_answer_of_a_vault_is_used_that_is_not_what_was_asked_for() {
    const NO_CA: &str = "basicConstraints=critical,CA:FALSE\nsubjectAltName=URI:spiffe://ci.example.org";
    const MUTE: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign\nsubjectKeyIdentifier=hash\n\
                        subjectAltName=URI:spiffe://ci.example.org";
    const SOFT: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\nsubjectKeyIdentifier=hash\n\
                        subjectAltName=URI:spiffe://ci.example.org";
    const DEEP: &str = "basicConstraints=critical,CA:TRUE,pathlen:1\nkeyUsage=critical,keyCertSign\n\
                        subjectKeyIdentifier=hash\nsubjectAltName=URI:spiffe://ci.example.org";
    const NAMELESS: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                            subjectKeyIdentifier=hash";
    const OTHER: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                         subjectKeyIdentifier=hash\nsubjectAltName=URI:spiffe://else.example";
    const PATH: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                        subjectKeyIdentifier=hash\nsubjectAltName=URI:spiffe://ci.example.org/ca";
    const TWO: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                       subjectKeyIdentifier=hash\nsubjectAltName=URI:spiffe://ci.example.org,DNS:lanyard";
    const SIDE: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                        subjectKeyIdentifier=hash\nsubjectAltName=URI:spiffe://ci.example.org\nextendedKeyUsage=serverAuth";
    const BOUND: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                         subjectKeyIdentifier=hash\nsubjectAltName=URI:spiffe://ci.example.org\n\
                         nameConstraints=critical,permitted;URI:else.example";
    let pki = Pki::new();
    let vault = scripted(&pki).await;
    for (answer, says) in [
        (Answer::OfAnother, "for another key"),
        (Answer::Saying(NO_CA, "3"), "lacks CA:TRUE"),
        (Answer::Saying(MUTE, "3"), "critical keyCertSign"),
        (Answer::Saying(SOFT, "3"), "critical keyCertSign"),
        (Answer::Saying(DEEP, "3"), "allows 1 authorities below it"),
        (Answer::Saying(NAMELESS, "3"), "names nobody, not spiffe://ci.example.org alone"),
        (Answer::Saying(OTHER, "3"), "names spiffe://else.example"),
        (Answer::Saying(PATH, "3"), "names spiffe://ci.example.org/ca"),
        (Answer::Saying(TWO, "3"), "names spiffe://ci.example.org, DNS"),
        (Answer::Saying(SIDE, "3"), "extended key usage"),
        (Answer::Saying(BOUND, "3"), "name constraints"),
        (Answer::Saying(OURS, "0"), "is valid from"),
        (Answer::Torn, "does not end in a root that is published"),
        (Answer::Elsewhere, "does not end in a root that is published"),
        (Answer::Text(""), "certificate 0 is not exactly one"),
        (
            Answer::Text("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"),
            "certificate 0 is not",
        ),
    ] {
        *pki.answer.lock().unwrap() = answer;
        let fault = asked(&vault, &pki, wanted()).await.unwrap_err();
        assert!(matches!(fault, UpstreamError::Answer(_)), "{answer:?}: {fault:?}");
        assert!(told(&fault).contains(says), "{answer:?}: {}", told(&fault));
        assert!(!fault.remedy().is_empty());
    }
}

#[tokio::test]
async fn a_vault_that_does_not_sign_is_told_with_what_would_help() {
    let pki = Pki::new();
    let vault = scripted(&pki).await;
    let answer = |status, text: &str| Trouble::Answer(status, Vec::new(), text.as_bytes().to_vec());
    let sealed = "{\"errors\":[\"Vault is sealed\"]}";
    for (trouble, says, helps) in [
        (vec![answer(403, "{\"errors\":[\"permission denied\"]}")], "denied", "policy create and update"),
        (vec![answer(404, "{\"errors\":[\"no handler\"]}")], "not there", "mount"),
        (vec![answer(400, "{\"errors\":[\"ttl too long\"]}")], "ttl too long", "Vault"),
        (vec![answer(503, sealed)], "sealed", "unsealed"),
        (vec![answer(200, "{\"data\":{}}")], "not answer as Vault does", "Vault"),
        (vec![answer(500, "oops"), answer(500, "oops"), answer(500, "oops")], "500", "Vault"),
    ] {
        vault.trouble("sign-intermediate", trouble);
        let fault = asked(&vault, &pki, wanted()).await.unwrap_err();
        assert!(
            told(&fault).contains(says) && fault.remedy().contains(helps),
            "{says}: {}; {}",
            told(&fault),
            fault.remedy()
        );
        while asked(&vault, &pki, wanted()).await.is_err() {}
    }
}

#[tokio::test]
async fn identities_are_issued_under_a_vault_that_the_configuration_names() {
    let pki = Pki::new();
    let vault = scripted(&pki).await;
    let roots = pki.made.path("roots.pem");
    let above = format!("[upstream]\nkind = \"vault\"\nissuer = \"upstream\"\nroots_file = \"{}\"\n", roots.display());
    let line: &'static str = Box::leak((vault.section() + &above).into_boxed_str());
    // The story's clock stands still, and openssl signs by the machine's.
    let begins = SystemClock.now() + Duration::from_secs(60);
    let harness = Harness::beginning(begins, (POLICY, "memory", line)).await;
    let token = harness.issuer.token(harness.now());
    let issued = harness.exchange(&token, &Agent::new()).await.unwrap();
    assert_eq!(chain(&issued).len(), 3, "the leaf, our intermediate, Vault's");
    assert!(vault.asked().contains(&"POST pki/issuer/upstream/sign-intermediate".to_owned()));
}
