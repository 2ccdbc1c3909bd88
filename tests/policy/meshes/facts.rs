//! Tables of field facts, and every rendered object held against them: no field that a mesh does not know, none of another
//! type, none left out that it must have.

use crate::root;
use serde_json::Value;
use std::fs;
use toml::{Table, Value as Toml};

/// What one mesh knows of its objects.
pub(crate) struct Facts(Table);

impl Facts {
    pub(crate) fn of(mesh: &str) -> Self {
        let file = root().join(format!("tests/tables/mesh/{mesh}.toml"));
        Self(toml::from_str(&fs::read_to_string(file).unwrap()).unwrap())
    }

    /// Everything that is wrong with an object; how many fields were looked at.
    pub(crate) fn check(&self, object: &Value) -> (Vec<String>, usize) {
        let mut found = Found::default();
        match (&object["kind"], &object["apiVersion"]) {
            (Value::String(kind), Value::String(version)) => {
                let known = self.0.get("objects").and_then(|objects| objects.get(format!("{kind} {version}")));
                match known.and_then(Toml::as_str) {
                    Some(name) => {
                        let mut own = object.as_object().unwrap().clone();
                        own.retain(|field, _| !["apiVersion", "kind", "metadata"].contains(&field.as_str()));
                        check_metadata(&object["metadata"], &mut found);
                        self.message(name, &Value::Object(own), kind, &mut found);
                    }
                    None => found.wrong.push(format!("nothing is known of {kind} {version}")),
                }
            }
            _ if object.get("static_resources").is_some() => self.message("Bootstrap", object, "", &mut found),
            _ => self.message("Values", object, "", &mut found),
        }
        (found.wrong, found.fields)
    }

    fn message(&self, name: &str, value: &Value, at: &str, found: &mut Found) {
        let Some(fields) = self.0.get("types").and_then(|types| types.get(name)).and_then(Toml::as_table) else {
            return found.wrong.push(format!("{at}: the table has no {name}"));
        };
        let Some(value) = value.as_object() else { return found.wrong.push(format!("{at}: no {name}, but {value}")) };
        for (field, value) in value.iter().filter(|(field, _)| *field != "@type") {
            found.fields += 1;
            match fields.get(field).and_then(Toml::as_str) {
                Some(kind) => self.value(kind.trim_start_matches('!'), value, &format!("{at}.{field}"), found),
                None => found.wrong.push(format!("{at}.{field}: {name} has no such field")),
            }
        }
        for (field, kind) in fields {
            if kind.as_str().unwrap().starts_with('!') && !value.contains_key(field) {
                found.wrong.push(format!("{at}.{field} is missing"));
            }
        }
    }

    fn value(&self, kind: &str, value: &Value, at: &str, found: &mut Found) {
        let inner = |open, close| kind.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        if let (Some(each), Value::Array(values)) = (inner('[', ']'), value) {
            if values.is_empty() {
                found.wrong.push(format!("{at} is an empty list"));
            }
            return values.iter().for_each(|value| self.value(each, value, &format!("{at}[]"), found));
        }
        if let (Some(each), Value::Object(values)) = (inner('{', '}'), value) {
            return values.iter().for_each(|(key, value)| self.value(each, value, &format!("{at}.{key}"), found));
        }
        let fits = match (kind, value) {
            ("string", value) => value.is_string(),
            ("integer", value) => value.is_u64(),
            ("boolean", value) => value.is_boolean(),
            ("duration", Value::String(text)) => {
                text.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).is_some_and(|seconds: u64| seconds > 0)
            }
            ("any", Value::Object(message)) => {
                let name = message["@type"].as_str().unwrap().strip_prefix("type.googleapis.com/").unwrap();
                return self.message(name, value, at, found);
            }
            (most, Value::String(text)) if most.starts_with('<') => {
                (1..=most.trim_start_matches('<').parse().unwrap()).contains(&text.len())
            }
            (words, Value::String(text)) if words.contains('|') => words.split('|').any(|word| word == text),
            (message, Value::Object(_)) => return self.message(message, value, at, found),
            _ => false,
        };
        if !fits {
            found.wrong.push(format!("{at}: {value} is no {kind}"));
        }
    }
}

#[derive(Default)]
struct Found {
    wrong: Vec<String>,
    fields: usize,
}

/// What Kubernetes wants of every object that is no cluster's: a name, a namespace, and texts.
fn check_metadata(metadata: &Value, found: &mut Found) {
    let texts = |map: &Value| map.as_object().is_none_or(|map| map.values().all(Value::is_string));
    let good = metadata["name"].is_string() && metadata["namespace"].is_string();
    if !good || !texts(&metadata["labels"]) || !texts(&metadata["annotations"]) {
        found.wrong.push(format!("metadata: {metadata}"));
    }
}
