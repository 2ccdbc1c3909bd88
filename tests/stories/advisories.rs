//! What went wrong in other issuers, tried on this one. `docs/security-model.md` lists all of it, with the test of each.

use crate::doors::Doors;
use crate::support::harness::{Agent, Harness, POLICY, chain, csr, csr_for, start, x509};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::bundle::Bundle;
use lanyard::crypto::{KeyAlgorithm, KeyPair, PemLabel, PublicKey, Random};
use lanyard::identity::TrustDomain;
use lanyard::issuance::{Bearer, Csr, IssuedSvid, Refusal, Request, RequestId, Wanted};
use lanyard::policy::Verdict;
use lanyard::session::EndReason;
use lanyard::svid::{ProvenKey, Subject, inspect_authority, inspect_certificate, validate_x509_svid};
use lanyard::telemetry::Door;
use lanyard::token::{KeySet, UnverifiedToken};
use lanyard::wire::channel;
use lanyard::wire::lanyard::ShowBundleRequest;
use lanyard::wire::lanyard::admin_client::AdminClient;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Extended key usage as a sequence of nothing.
fn no_purposes() -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 37], vec![0x30, 0])
}

fn p256() -> KeyPair {
    KeyPair::generate(KeyAlgorithm::EcP256).unwrap()
}

async fn ask(
    harness: &Harness,
    bearer: Bearer,
    wanted: Wanted,
    connection: Option<PublicKey>,
) -> Result<IssuedSvid, Refusal> {
    let request = Request { id: RequestId::random(&Random::system()), door: Door::Grpc, bearer, wanted, connection };
    harness.issuance().issue(request).await
}

fn jwt() -> Wanted {
    Wanted::Jwt { audiences: vec!["https://service.test".to_owned()], profile: None }
}

#[tokio::test]
async fn a_greedy_request_gets_what_the_rule_gives_and_not_a_name_more() {
    let mut wish = CertificateParams::default();
    wish.distinguished_name.push(DnType::CommonName, "evil.example");
    wish.subject_alt_names = vec![
        SanType::DnsName("evil.example".try_into().unwrap()),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::Rfc822Name("root@evil.example".try_into().unwrap()),
        SanType::URI("spiffe://ci.example.org/evil".try_into().unwrap()),
    ];
    wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wish.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    wish.custom_extensions = vec![no_purposes(), CustomExtension::from_oid_content(&[1, 2, 3, 4], b"evil".to_vec())];
    let key = p256();
    let csr = wish.serialize_request(&key).unwrap().der().to_vec();
    let harness = Harness::new().await;
    let issued = harness.exchange_by_csr(&harness.issuer.token(start()), csr).await.unwrap();
    let leaf = chain(&issued).remove(0);
    let facts = inspect_certificate(&leaf).expect("a plain leaf, as another reader than its builder reads it");
    assert_eq!(facts.spiffe_id.as_str(), "spiffe://ci.example.org/acme/payments/api/-/pipelines/574");
    assert_eq!((facts.dns, facts.subject), (None, Subject::Organization));
    assert!(!leaf.windows(4).any(|four| four == b"evil"));
    assert!(leaf.windows(key.public().spki_der().len()).any(|bytes| bytes == key.public().spki_der()));
}

#[test]
fn a_certificate_of_no_purposes_is_refused_and_a_chain_without_end_is_not_looked_at() {
    let (key, above) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://ci.example.org/a".try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.custom_extensions.push(no_purposes());
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.custom_extensions.push(no_purposes());
    let issuer = rcgen::CertifiedIssuer::self_signed(root, above).unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap().der().clone();
    let bundle = bundle_of(vec![issuer.der().clone()]);
    assert!(inspect_certificate(&leaf).is_err());
    drop(inspect_authority(issuer.der()));
    let refused = validate_x509_svid(std::slice::from_ref(&leaf), &[&bundle], params.not_before).unwrap_err();
    assert!(refused.to_string().contains("serverAuth or clientAuth"), "{refused}");
    let endless = vec![CertificateDer::from(b"not even a certificate".to_vec()); 10_000];
    let refused = validate_x509_svid(&endless, &[&bundle], params.not_before).unwrap_err();
    assert!(refused.to_string().contains("10000"), "{refused}");
}

fn bundle_of(roots: Vec<CertificateDer<'static>>) -> Bundle {
    let mut bundle = Bundle::parse(TrustDomain::parse("ci.example.org").unwrap(), br#"{"keys":[]}"#).unwrap();
    bundle.x509_authorities = roots;
    bundle
}

#[tokio::test]
async fn an_authoritys_certificate_is_nowhere_taken_for_a_key() {
    let harness = Harness::new().await;
    let root = harness.issuance().authorities.published().borrow().bundle.x509_authorities[0].to_vec();
    assert!(PublicKey::from_spki_der(&root).is_err());
    assert!(ProvenKey::of_der(&root).is_err());
    assert!(KeyPair::from_pkcs8(Zeroizing::new(root.clone())).is_err());
    for label in [PemLabel::Certificate, PemLabel::CertificateRequest] {
        let wanted = Wanted::X509 { csr: Csr::Pem(label.armour(&root).to_string()), profile: None };
        let token = Bearer::Token(harness.issuer.token(start()));
        assert_eq!(ask(&harness, token, wanted, None).await.unwrap_err().code(), "csr_malformed");
    }
    let x5c = base64::engine::general_purpose::STANDARD.encode(&root);
    for usage in ["sig", "jwt-svid", "x509-svid"] {
        let keys = json!({"keys": [{"kty": "RSA", "kid": "k1", "use": usage, "alg": "RS256", "x5c": [x5c]}]});
        assert!(KeySet::parse(keys.to_string().as_bytes()).is_err(), "{usage}");
    }
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "jwt-svid", "x5c": [x5c]}]});
    let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
    let bundle = Bundle::parse(trust_domain, keys.to_string().as_bytes());
    assert!(bundle.is_ok_and(|bundle| bundle.jwt_authorities.is_empty() && bundle.x509_authorities.is_empty()));
}

/// Nothing may be kept for each dot, and nothing decoded before the parts are counted.
#[tokio::test]
async fn a_token_of_dots_is_refused_in_bounded_memory() {
    const LARGEST: usize = 96 * 1024;
    let harness = Harness::new().await;
    for text in [".".repeat(LARGEST), "a.".repeat(LARGEST / 2), "eyJ.".repeat(LARGEST / 4), ".".repeat(LARGEST + 1)] {
        let spent = allocation_counter::measure(|| assert!(UnverifiedToken::parse(&text).is_err()));
        assert!(spent.bytes_total < 1024, "{} bytes allocated for {} dots", spent.bytes_total, text.len());
        let code = harness.exchange_by_csr(&text, csr()).await.unwrap_err().code();
        assert_eq!(code, if text.len() > LARGEST { "token_too_large" } else { "token_malformed" });
    }
}

#[test]
fn a_claim_that_nests_without_end_costs_no_stack_and_little_memory() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"":"#, "}]")] {
        let depth = 60_000 / (open.len() + close.len());
        for close in [close.repeat(depth), String::new()] {
            for claim in ["unknown", "user_identities", "groups_direct", "aud", "iss"] {
                let payload = format!(r#"{{"iss":"x","{claim}":{}1{close}}}"#, open.repeat(depth));
                let [header, payload] =
                    [r#"{"alg":"RS256","kid":"k1"}"#, &payload].map(|part| URL_SAFE_NO_PAD.encode(part));
                let text = format!("{header}.{payload}.AAAA");
                let spent = allocation_counter::measure(|| drop(UnverifiedToken::parse(&text)));
                assert!(spent.bytes_max < 8 << 20, "{} bytes at once for {} of text", spent.bytes_max, text.len());
            }
        }
    }
}

#[tokio::test]
async fn long_armour_is_turned_away_by_its_size_and_short_armour_costs_little() {
    let harness = Harness::new().await;
    let begin = "-----BEGIN CERTIFICATE REQUEST-----\n";
    let fits = 16 * 1024;
    for text in [begin.repeat(fits / begin.len()), "-".repeat(fits), "\n".repeat(fits), "A\n".repeat(fits / 2)] {
        let among = [KeyAlgorithm::EcP256];
        let spent = allocation_counter::measure(|| assert!(ProvenKey::of_pem_among(&text, &among).is_err()));
        assert!(spent.bytes_total < 1 << 20, "{} bytes allocated", spent.bytes_total);
        let mut codes = Vec::new();
        for pem in [text.clone(), text.repeat(6)] {
            let wanted = Wanted::X509 { csr: Csr::Pem(pem), profile: None };
            let token = Bearer::Token(harness.issuer.token(start()));
            codes.push(ask(&harness, token, wanted, None).await.unwrap_err().code());
        }
        assert_eq!(codes, ["csr_malformed", "csr_too_large"]);
    }
}

#[tokio::test]
async fn an_svids_own_key_and_anothers_session_renew_nothing() {
    let harness = Harness::new().await;
    let (agent, other, svid_key) = (Agent::new(), Agent::new(), p256());
    let token = Bearer::Token(harness.issuer.token(start()));
    let wanted = Wanted::X509 { csr: Csr::Der(csr_for(&svid_key).into()), profile: None };
    let first = ask(&harness, token, wanted, Some(agent.public())).await.unwrap();
    let theirs = harness.exchange(&harness.issuer.token(start()), &other).await.unwrap();
    let session = |issued: &IssuedSvid| Bearer::Session(issued.session().unwrap().parse().unwrap());
    for (bearer, key, code) in [
        (session(&first), Some(svid_key.public().clone()), "session_not_yours"),
        (session(&first), Some(other.public()), "session_not_yours"),
        (session(&theirs), Some(agent.public()), "session_not_yours"),
        (session(&first), None, "session_key_missing"),
    ] {
        assert_eq!(ask(&harness, bearer, x509(), key).await.unwrap_err().code(), code);
    }
    let renewed = ask(&harness, session(&first), x509(), Some(agent.public())).await.unwrap();
    assert_eq!((renewed.spiffe_id(), renewed.session()), (first.spiffe_id(), first.session()));
}

#[tokio::test]
async fn a_session_is_ended_by_its_own_key_only() {
    let harness = Harness::new().await;
    let agent = Agent::new();
    let issued = harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap();
    let session = issued.session().unwrap();
    let by_another =
        harness.issuance().end(EndReason::Logout, &session.parse().unwrap(), Agent::new().public().id()).await;
    assert_eq!(by_another.unwrap_err().code(), "session_not_yours");
    harness.renew(session, &agent).await.unwrap();
}

#[tokio::test]
async fn every_way_in_asks_the_same_rules() {
    let refusing = format!("[[refuse]]\nname = \"nobody\"\nsay = \"no\"\nwhen.issuer = \"corp\"\n{POLICY}");
    let harness = Harness::with(&refusing, "memory").await;
    let (token, agent) = (|| harness.issuer.token(start()), Agent::new());
    let codes = [
        harness.exchange(&token(), &agent).await.unwrap_err().code(),
        harness.exchange_by_csr(&token(), csr()).await.unwrap_err().code(),
        harness.jwt(&token(), "https://service.test", Some(&agent)).await.unwrap_err().code(),
        harness.jwt(&token(), "https://service.test", None).await.unwrap_err().code(),
    ];
    assert_eq!(codes, ["refused_by_rule"; 4]);
    let (_claims, walk) = harness.issuance().explain(&token()).await.unwrap();
    assert!(matches!(walk.verdict, Verdict::Denied { .. }));

    let harness = Harness::with(&POLICY.replace(r#"["x509", "jwt"]"#, r#"["x509"]"#), "memory").await;
    let first = harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap();
    let session = Bearer::Session(first.session().unwrap().parse().unwrap());
    assert_eq!(ask(&harness, session, jwt(), Some(agent.public())).await.unwrap_err().code(), "kind_not_granted");
}

#[tokio::test]
async fn a_name_that_would_be_a_pattern_elsewhere_is_refused_and_never_widens_anything() {
    let deploys = r#"
[[rule]]
name = "a release, as it is written"
id = "/{project_path}/-/release/pipelines/{pipeline_id}"
when = { issuer = "corp", ref = { equals = "release/1" }, ref_protected = true }
"#;
    let harness = Harness::with(&format!("{deploys}{POLICY}"), "memory").await;
    for name in [
        "*",
        "**",
        "acme/*",
        "acme/**",
        "acme/+",
        "a,b/c",
        "acme/a+b",
        "acme/a b",
        "acme/{project_id}",
        "acme/a/../b",
        "acme//a",
        "/acme/a",
        "acme/a/",
        "acme/.",
        "acme/%2e%2e/a",
        "acme/a%2Fb",
        "acme/a\\b",
        "acme/a?b",
        "acme/a#b",
        "acme/a;b",
        "acme/a'b",
        "acme/a\"b",
        "acme/$(id)",
        "acme/@payments",
        "acme/a:b",
        "acme/\u{430}",
        "acme/a\u{0}b",
    ] {
        let mut claims = harness.issuer.claims(start());
        claims.insert("sub".to_owned(), format!("project_path:{name}:ref_type:branch:ref:main").into());
        for claim in ["project_path", "job_project_path"] {
            claims.insert(claim.to_owned(), name.into());
        }
        let refused = harness.exchange_by_csr(&harness.issuer.mint(&claims), csr()).await.unwrap_err();
        assert!(["id_does_not_fit", "token_claim_malformed"].contains(&refused.code()), "{name:?}: {refused}");
    }
    for name in ["*", "release/*", "**", "@releases", "release/1*", "release/1,main"] {
        let token = harness.issuer.token_with(start(), "ref", name);
        let issued = harness.exchange_by_csr(&token, csr()).await.unwrap();
        assert!(!issued.spiffe_id().as_str().contains("release"), "{name:?}");
    }
    for pipeline in ["*", "1/2", "1,2", "+1", "0x1", "1 ", ""] {
        let token = harness.issuer.token_with(start(), "pipeline_id", pipeline);
        assert_eq!(harness.exchange_by_csr(&token, csr()).await.unwrap_err().code(), "token_claim_malformed");
    }
}

#[tokio::test]
async fn a_signature_vouches_for_the_very_bytes_that_are_read() {
    let harness = Harness::new().await;
    let (one, other) = (harness.issuer.token(start()), harness.issuer.token(start()));
    let [header, payload, signature] = [0, 1, 2].map(|at| one.split('.').nth(at).unwrap().to_owned());
    let theirs = other.split('.').nth(1).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(&payload).unwrap();
    let spaced = URL_SAFE_NO_PAD.encode([b" ", claims.as_slice()].concat());
    let twice = String::from_utf8(claims).unwrap().replacen('{', "{\"project_id\":\"1\",", 1);
    for (forged, code) in [
        (format!("{header}.{theirs}.{signature}"), "token_signature_wrong"),
        (format!("{header}.{spaced}.{signature}"), "token_signature_wrong"),
        (format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(twice)), "token_malformed"),
        (format!("{header}.{theirs}"), "token_malformed"),
        (format!("{header}.{theirs}.{payload}.{signature}"), "token_malformed"),
    ] {
        let refused = harness.exchange_by_csr(&forged, csr()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    harness.exchange_by_csr(&one, csr()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_offered_is_refused_and_nothing_is_had_without_a_token() {
    let doors = Doors::open().await;
    for path in [
        "/",
        "/v1",
        "/v1/svid",
        "/v1/svid/x509/",
        "/v1/svid/ssh",
        "/v1/scep",
        "/acme/directory",
        "/v1/revoke",
        "/v1/sessions",
        "/v1//svid/x509",
        "/V1/svid/x509",
        "/metrics",
        "/v1/crl",
        "/v1/../v1/svid/x509",
    ] {
        let (status, problem) = doors.post(path, &json!({"token": doors.token()})).await;
        assert_eq!((status, &problem["code"]), (404, &json!("path_unknown")), "{path}");
    }
    let pem = PemLabel::CertificateRequest.armour(&csr()).to_string();
    for body in [json!({"csr": pem}), json!({"csr": pem, "token": ""}), json!({"csr": pem, "token": null})] {
        let (status, problem) = doors.post("/v1/svid/x509", &body).await;
        assert_eq!(status, 400, "{problem}");
        assert_eq!(problem.get("certificate_chain"), None);
    }
    for grant in ["", "client_credentials", "password", "urn:ietf:params:oauth:grant-type:jwt-bearer"] {
        let form = format!("grant_type={grant}&audience=https://service.test&subject_token={}", doors.token());
        let (status, body) = doors.curl().post_form("/v1/oauth/token", form.into_bytes()).await.unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), answer.get("access_token")), (400, None), "{grant}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    let tls = lanyard::tls::TlsClient::new(&doors.trust, None, &["h2"]).unwrap();
    let mut admin = AdminClient::new(channel(&doors.url, tls).unwrap());
    admin.show_bundle(ShowBundleRequest::default()).await.expect_err("operators have a door of their own");
    doors.close().await;
}
