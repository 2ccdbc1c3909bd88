//! JSON read without the leniency that lets two readers see two documents: no name twice, nothing behind the value.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads JSON objects strictly (RFC 8259 §4 leaves doubled names to the reader; we refuse them).
#[derive(Debug)]
pub struct StrictJson;

/// Why bytes are no JSON object without doubled names.
#[derive(Debug, thiserror::Error)]
pub enum StrictJsonError {
    /// Another JSON value.
    #[error("not a JSON object")]
    NotAnObject,
    /// Not JSON, trailing data, or a name twice.
    #[error("not strict JSON")]
    Syntax(#[from] serde_json::Error),
}

impl StrictJson {
    /// Reads one object and nothing behind it.
    ///
    /// # Errors
    /// See [`StrictJsonError`].
    pub fn object(json: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let value = Self.deserialize(&mut reader)?;
        reader.end()?;
        match value {
            Value::Object(object) => Ok(object),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(StrictJsonError::NotAnObject)
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for StrictJson {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictJson {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Self)?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("the name {name:?} stands there twice")));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: TDB-20.
    #[test]
    fn a_name_twice_is_refused_at_any_depth() {
        assert!(StrictJson::object(br#"{"a":1,"b":{"a":1}}"#).is_ok());
        for odd in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#, "{} {}", "{}x", "[]", "", "null"] {
            assert!(StrictJson::object(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    /// Shows: TDB-3.
    #[test]
    fn numbers_keep_their_value_and_depth_is_limited() {
        let object = StrictJson::object(br#"{"big":9007199254740993,"less":-1,"part":0.5}"#).unwrap();
        assert_eq!(object["big"].as_u64(), Some(9_007_199_254_740_993));
        assert_eq!((object["less"].as_i64(), object["part"].as_u64()), (Some(-1), None));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(StrictJson::object(deep.as_bytes()).is_err());
    }
}
