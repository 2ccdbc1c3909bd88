//! SPIFFE IDs, trust domains and templates: an accepted one is its own text, in the standard's letters.

use super::Seed;
use super::law::{Cost, can_be_shown};
use lanyard::identity::{IdTemplate, SpiffeId, TrustDomain};

/// IDs, names and templates of the vectors and of the layouts in use.
pub fn seeds() -> Vec<Seed> {
    [
        ("an-id", "spiffe://ci.example.org/acme/payments/api/-/pipelines/574"),
        ("a-trust-domain's-id", "spiffe://a.b_c-d"),
        ("a-trust-domain", "ci.example.org"),
        ("the-usual-template", "/{project_path}/-/pipelines/{pipeline_id}"),
        ("numbers-beside-letters", "/ns/ci/sa/p{project_id}.pl{pipeline_id}"),
        ("a-literal", "/projects/{project_id}/-/environments/production/jobs/{job_id}"),
    ]
    .map(|(name, text)| Seed::new(name, text))
    .to_vec()
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let id = Cost::SMALL.of(bytes.len(), || SpiffeId::parse(text));
    let trust_domain = Cost::SMALL.of(bytes.len(), || TrustDomain::parse(text));
    // A template's pieces are values of their own, some forty bytes for a letter.
    let template = Cost { at_once: 128, in_all: 512, free: 64 * 1024 }.of(bytes.len(), || IdTemplate::parse(text));
    if let Err(error) = &id {
        can_be_shown(error);
    }
    if let Err(error) = &trust_domain {
        can_be_shown(error);
    }
    match (&id, &trust_domain, &template) {
        (Ok(id), ..) => is_an_id(id, text),
        (_, Ok(name), _) => {
            assert!(name.as_str() == text && text.len() <= 255);
            is_an_id(&name.id(), &format!("spiffe://{text}"));
        }
        (.., Ok(template)) => fills(template, text),
        (.., Err(_)) => return false,
    }
    true
}

fn is_an_id(id: &SpiffeId, text: &str) {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    assert!(id.as_str() == text && text.len() <= 2048);
    let rest = text.strip_prefix("spiffe://").unwrap();
    assert!(rest.split('/').all(|part| !part.is_empty() && part.bytes().all(fits)), "{text}");
    assert!(rest.split('/').skip(1).all(|part| !matches!(part, "." | "..")), "{text}");
    assert_eq!(rest, format!("{}{}", id.trust_domain(), id.path()));
    assert_eq!(SpiffeId::parse(text).as_ref(), Ok(id));
    let segments = id.path().split('/').skip(1);
    assert_eq!(SpiffeId::from_segments(&id.trust_domain(), segments).as_ref(), Ok(id));
}

fn fills(template: &IdTemplate, text: &str) {
    assert_eq!(template.to_string(), text);
    let trust_domain = TrustDomain::parse("t").unwrap();
    for value in ["acme/api", "7", "a/ns/b", "-", "", "1/../2", "\0"] {
        if let Ok(id) = template.fill(&trust_domain, |_claim| Some(value.to_owned())) {
            is_an_id(&id, id.as_str());
            assert!(id.names_a_workload() && !id.path().starts_with("/-/lanyard"));
        }
    }
}
