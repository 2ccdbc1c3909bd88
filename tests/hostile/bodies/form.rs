//! The body of a REST request, as a form and as JSON: decoded once, nothing twice, no value repeated in a refusal.

use super::Seed;
use super::law::{Cost, can_be_shown};
use lanyard::api::{Form, read_object};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    token: String,
    audience: Vec<String>,
}

/// As curl sends them.
pub fn seeds() -> Vec<Seed> {
    let form = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=a.b.c&audience=x+y&audience=z&empty=";
    vec![Seed::new("a-form", form), Seed::new("an-object", r#" {"token":"a.b.c","audience":["x","\u00e9"]}"#)]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let is_object = match Cost::SMALL.of(bytes.len(), || read_object::<Asked>(bytes, "token and audience")) {
        Ok(asked) => {
            assert!(asked.token.len() + asked.audience.iter().map(String::len).sum::<usize>() < bytes.len());
            true
        }
        Err(error) => {
            can_be_shown(&error);
            false
        }
    };
    // Two texts are kept for each parameter, and `a&` is one.
    let mut form = match (Cost { at_once: 64, in_all: 256, free: 64 * 1024 }).of(bytes.len(), || Form::parse(bytes)) {
        Ok(form) => form,
        Err(error) => {
            can_be_shown(&error);
            return is_object;
        }
    };
    let mut decoded = 0;
    for name in ["grant_type", "subject_token", "audience", "empty", ""] {
        let values = form.all(name);
        assert!(values.iter().all(|value| !value.is_empty()));
        decoded += values.iter().map(String::len).sum::<usize>();
        assert_eq!(form.all(name), [""; 0]);
    }
    assert!(decoded <= bytes.len());
    true
}
