//! Claims as a person writes them down, for cases and questions: GitLab's names with plain booleans and numbers.

use super::claims::{ClaimValue, Claims};
use super::providers::{GITLAB, Shape, position};
use serde_json::{Map, Value, json};

/// What is read of every token, whatever the rules say.
pub(super) const OF_EVERY_TOKEN: [&str; 8] =
    ["jti", "job_id", "namespace_id", "pipeline_id", "pipeline_source", "project_id", "project_path", "sub"];

impl Claims {
    /// What every job's token has and a payload does not.
    pub fn lacking(payload: &Map<String, Value>) -> Vec<&'static str> {
        OF_EVERY_TOKEN.into_iter().filter(|name| !payload.contains_key(*name)).collect()
    }

    /// A token's payload of claims that a person wrote: ids may be numbers, truths may be true and false, and what
    /// every token has and rules seldom read is filled in.
    ///
    /// # Errors
    /// A name that no token has.
    pub fn sample(mut written: Map<String, Value>) -> Result<Map<String, Value>, String> {
        for (name, value) in &mut written {
            let (_, shape) = position(name).and_then(|at| GITLAB.get(at)).ok_or_else(|| name.clone())?;
            *value = match (shape, value.take()) {
                (Shape::BoolText, Value::Bool(is)) => Value::String(is.to_string()),
                (Shape::Id | Shape::IdOrEmpty, Value::Number(id)) => Value::String(id.to_string()),
                (_, same) => same,
            };
        }
        let subject = written.get("project_path").and_then(Value::as_str).map(|path| format!("project_path:{path}"));
        let usual = [
            ("jti", json!("case")),
            ("sub", json!(subject.unwrap_or_default())),
            ("pipeline_id", json!("1")),
            ("job_id", json!("1")),
            ("pipeline_source", json!("push")),
        ];
        for (name, value) in usual {
            written.entry(name).or_insert(value);
        }
        Ok(written)
    }

    /// These claims as a person writes them, by name; without times and the token's own name, which no rule reads, and
    /// without what is derived.
    pub fn to_sample(&self) -> Map<String, Value> {
        let read = |shape: &Shape| !matches!(shape, Shape::Audience | Shape::Ignored | Shape::Time | Shape::Token);
        let names = GITLAB.iter().filter(|(_, shape)| read(shape)).map(|(name, _)| *name);
        names.filter_map(|name| Some((name.to_owned(), plain(self.value(name)?)))).collect()
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
    use crate::token::TokenError;
    use crate::token::tests::{VECTORS, claims_of};

    #[test]
    fn claims_written_down_read_back_as_they_were() {
        let mut read = 0;
        for sample in VECTORS["samples"].as_array().unwrap() {
            let Ok(verified) = claims_of(sample["name"].as_str().unwrap(), &[]) else { continue };
            read += 1;
            let claims = verified.claims();
            let payload = Value::Object(Claims::sample(claims.to_sample()).unwrap()).to_string();
            let again = Claims::unproven(payload.as_bytes(), claims.issuer.clone()).unwrap();
            assert_eq!((again.more, again.project_path), (claims.more.clone(), claims.project_path.clone()));
            assert_eq!((again.project_id, again.subject), (claims.project_id, claims.subject.clone()));
        }
        assert!(read > 10);
    }

    #[test]
    fn what_is_lacking_is_what_no_token_is_read_without() {
        let whole = claims_of("deploy_production_protected", &[]).unwrap();
        let issuer = || whole.claims().issuer.clone();
        let mut whole = Claims::sample(whole.claims().to_sample()).unwrap();
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
        assert_eq!(Claims::sample(written), Err("projectpath".to_owned()));
    }
}
