//! Claims as a person writes them down, for cases and questions: by the names that rules use, with plain booleans and numbers.

use super::claims::{ClaimValue, Claims};
use super::issuer_kind::IssuerKind;
use super::providers::Shape;
use serde_json::{Map, Value, json};

/// What is read of every token, whatever the rules say.
pub(super) const OF_EVERY_TOKEN: [&str; 8] =
    ["jti", "job_id", "namespace_id", "pipeline_id", "pipeline_source", "project_id", "project_path", "sub"];

impl Claims {
    /// What every job's token has and a payload does not.
    pub fn lacking(payload: &Map<String, Value>) -> Vec<&'static str> {
        OF_EVERY_TOKEN.into_iter().filter(|name| !payload.contains_key(*name)).collect()
    }

    /// The payload of a token as an issuer of this kind writes it, with claims over it that a person wrote down by the names
    /// that rules use: ids may be numbers, truths may be true and false, and what every token has and rules seldom read is
    /// filled in.
    ///
    /// # Errors
    /// A name that no such token has.
    pub fn sample(
        kind: IssuerKind,
        mut payload: Map<String, Value>,
        written: Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let path = written.get("project_path").and_then(Value::as_str).map(str::to_owned);
        for (name, value) in written {
            let (from, shape) = kind.place_of(&name).ok_or(name)?;
            put(&mut payload, from, shape.written(value));
        }
        let path = path.as_deref().unwrap_or_default();
        let subject = match kind {
            IssuerKind::GitHub => format!("repo:{path}"),
            IssuerKind::GitLab => format!("project_path:{path}"),
            IssuerKind::Kubernetes
            | IssuerKind::Okta
            | IssuerKind::Operators
            | IssuerKind::Spiffe
            | IssuerKind::Zuul => path.to_owned(),
        };
        let usual = [
            ("jti", "case"),
            ("sub", &subject),
            ("pipeline_id", "1"),
            ("job_id", "1"),
            ("pipeline_source", "push"),
            ("namespace_path", path.split('/').next().unwrap_or_default()),
        ];
        for (name, value) in usual {
            let place = kind.place_of_any(name).filter(|(from, _)| at(&payload, from).is_none());
            if let Some((from, _)) = place.filter(|_| kind != IssuerKind::GitLab || name != "namespace_path") {
                put(&mut payload, from, value.into());
            }
        }
        Ok(payload)
    }

    /// These claims as a person writes them for an issuer of this kind, by name; without times and the token's own name,
    /// which no rule reads, and without what is derived.
    pub fn to_sample(&self, kind: IssuerKind) -> Map<String, Value> {
        let written = kind.known_claims().filter(|name| *name != "jti" && kind.place_of(name).is_some());
        written.filter_map(|name| Some((name.to_owned(), plain(self.value(name)?)))).collect()
    }
}

/// Where something stands in a payload; slashes go into objects.
fn at<'p>(payload: &'p Map<String, Value>, from: &str) -> Option<&'p Value> {
    let mut parts = from.split('/');
    let first = parts.next().and_then(|part| payload.get(part));
    parts.fold(first, |found, part| found?.get(part))
}

/// Puts something there, into objects that are made where they are not.
fn put(payload: &mut Map<String, Value>, from: &str, value: Value) {
    match from.split_once('/') {
        None => drop(payload.insert(from.to_owned(), value)),
        Some((folder, rest)) => {
            let inner = payload.entry(folder).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

impl Shape {
    /// As an issuer writes what a person wrote.
    fn written(self, value: Value) -> Value {
        match (self, value) {
            (Self::BoolText, Value::Bool(is)) => Value::String(is.to_string()),
            (Self::Id | Self::IdOrEmpty, Value::Number(id)) => Value::String(id.to_string()),
            (Self::Account, Value::String(path)) => {
                Value::String(format!("system:serviceaccount:{}", path.replacen('/', ":", 1)))
            }
            (Self::Behind(words), Value::String(path)) => Value::String(format!("{words}{path}")),
            (Self::SpiffePath, Value::String(path)) => Value::String(format!("spiffe://case.invalid/{path}")),
            (_, same) => same,
        }
    }
}

fn plain(value: ClaimValue) -> Value {
    match value {
        ClaimValue::Bool(is) => json!(is),
        ClaimValue::Id(id) => json!(id),
        ClaimValue::Text(text) => json!(text),
        ClaimValue::Texts(all) => json!(all),
        ClaimValue::Identities(all) => json!(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::{VECTORS, claims_of};
    use crate::token::{ClaimView, IssuerName, TokenError};

    #[test]
    fn claims_written_down_read_back_as_they_were() {
        let mut read = 0;
        for sample in VECTORS["samples"].as_array().unwrap() {
            let Ok(verified) = claims_of(sample["name"].as_str().unwrap(), &[]) else { continue };
            read += 1;
            let claims = verified.claims();
            let payload = of_gitlab(claims.to_sample(IssuerKind::GitLab)).unwrap();
            let again = Claims::unproven_of(IssuerKind::GitLab, &payload, claims.issuer.clone()).unwrap();
            assert_eq!((again.more, again.project_path), (claims.more.clone(), claims.project_path.clone()));
            assert_eq!((again.project_id, again.subject), (claims.project_id, claims.subject.clone()));
        }
        assert!(read > 10);
    }

    fn of_gitlab(written: Map<String, Value>) -> Result<Map<String, Value>, String> {
        Claims::sample(IssuerKind::GitLab, Map::new(), written)
    }

    #[test]
    fn claims_of_every_kind_are_written_down_by_the_names_that_rules_use() {
        for (kind, written) in [
            (
                IssuerKind::GitHub,
                json!({
                    "project_path": "octo-org/octo-repo", "project_id": 74, "namespace_id": 65, "ref_protected": true,
                    "environment": "production", "pipeline_id": 7,
                }),
            ),
            (IssuerKind::Kubernetes, json!({ "project_path": "ci/gitlab-runner", "node": "one", "pod": "runner-x" })),
            (IssuerKind::Okta, json!({ "project_path": "0oa1", "scopes": ["deploy"], "user_login": "0oa1" })),
            (IssuerKind::Spiffe, json!({ "project_path": "builds/linux" })),
            (IssuerKind::Zuul, json!({ "project_path": "acme/review.example.org/api/s", "zuul_pipeline": "release" })),
        ] {
            let written = written.as_object().unwrap().clone();
            let payload = Claims::sample(kind, Map::new(), written.clone()).unwrap();
            let claims = Claims::unproven_of(kind, &payload, IssuerName("it".into())).unwrap();
            let again = claims.to_sample(kind);
            for (name, value) in &written {
                assert_eq!(again.get(name), Some(value), "{kind:?} {name}: {again:?}");
            }
            for odd in ["deployment_tier", "projectpath", "fork"] {
                let odd_one = Map::from_iter([(odd.to_owned(), json!("x"))]);
                assert_eq!(Claims::sample(kind, Map::new(), odd_one), Err(odd.to_owned()), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_person_s_claims_stand_over_a_payload_as_its_issuer_writes_it() {
        let payload = json!({ "sub": "system:serviceaccount:ci:one", "jti": "7", "kubernetes.io": {
            "namespace": "ci", "pod": { "uid": "778a" }, "serviceaccount": { "name": "one" },
        } });
        let written = Map::from_iter([("pod".to_owned(), json!("x"))]);
        let payload = Claims::sample(IssuerKind::Kubernetes, payload.as_object().unwrap().clone(), written).unwrap();
        let claims = Claims::unproven_of(IssuerKind::Kubernetes, &payload, IssuerName("it".into())).unwrap();
        assert_eq!((&*claims.project_path, &*claims.jti), ("ci/one", "7"));
        assert_eq!(claims.view("pod"), Some(ClaimView::Text("x")));
        let other = Map::from_iter([("project_path".to_owned(), json!("ci/two"))]);
        let payload = Claims::sample(IssuerKind::Kubernetes, payload, other).unwrap();
        let told = Claims::unproven_of(IssuerKind::Kubernetes, &payload, IssuerName("it".into()));
        assert!(matches!(told, Err(TokenError::ClaimContradicts { .. })), "the account's name is another");
    }

    #[test]
    fn what_is_lacking_is_what_no_token_is_read_without() {
        let whole = claims_of("deploy_production_protected", &[]).unwrap();
        let issuer = || whole.claims().issuer.clone();
        let mut whole = of_gitlab(whole.claims().to_sample(IssuerKind::GitLab)).unwrap();
        whole.insert("jti".to_owned(), json!("a"));
        let read = |payload: &Map<String, Value>| Claims::unproven(&serde_json::to_vec(payload).unwrap(), issuer());
        assert!(Claims::lacking(&whole).is_empty() && read(&whole).is_ok());
        for name in OF_EVERY_TOKEN {
            let mut without = whole.clone();
            without.remove(name);
            assert_eq!(Claims::lacking(&without), [name]);
            assert!(matches!(read(&without), Err(TokenError::ClaimMissing { name: told }) if told == name), "{name}");
        }
        assert_eq!(Claims::lacking(&Map::new()), OF_EVERY_TOKEN);
    }

    #[test]
    fn a_name_that_no_token_has_is_told() {
        let written = Map::from_iter([("projectpath".to_owned(), json!("acme/api"))]);
        assert_eq!(of_gitlab(written), Err("projectpath".to_owned()));
    }
}
