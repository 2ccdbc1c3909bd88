//! An object as text: YAML whose scalars are quoted wherever another reader could take them for something else, or JSON.

use serde::Serialize;
use serde_json::Value;

/// One object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    value: Value,
    yaml: String,
}

/// A value that has no form as text; none of ours is such.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// Not in JSON.
    #[error("an object has no form in JSON")]
    Json(#[from] serde_json::Error),
    /// Not in YAML.
    #[error("an object has no form in YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

impl Document {
    /// Writes an object.
    ///
    /// # Errors
    /// See [`Unwritable`].
    pub(super) fn of(object: &impl Serialize) -> Result<Self, Unwritable> {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        let yaml = serde_saphyr::to_string_with_options(object, options)?;
        Ok(Self { value: serde_json::to_value(object)?, yaml })
    }

    /// As JSON.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// Several as one file, `---` between.
    pub fn to_yaml(documents: &[Self]) -> String {
        documents.iter().map(|one| one.yaml.as_str()).collect::<Vec<_>>().join("---\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn words_that_yaml_reads_as_something_else_are_quoted() {
        for word in
            ["yes", "no", "on", "null", "~", "1", "1e3", "0x1", "*a", "&a", "- a", "a: b", "a #b", "{a}", "---", ""]
        {
            let text = Document::of(&word).unwrap().yaml;
            assert_ne!(text.trim(), word);
            assert_eq!(serde_saphyr::from_str::<String>(&text).unwrap(), word, "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_names_come_back_as_they_were(key in "\\PC{0,12}|[\\s:#*&'\"\\\\{}\\[\\]-]{0,8}", value in any::<String>()) {
            let map = BTreeMap::from([(key, vec![value])]);
            let document = Document::of(&map).unwrap();
            let text = Document::to_yaml(&[document.clone(), document]);
            let back: Vec<BTreeMap<String, Vec<String>>> = serde_saphyr::from_multiple(&text).unwrap();
            prop_assert_eq!(back, [map.clone(), map]);
        }
    }
}
