//! How a project path came to belong to a project.

use super::Person;
use serde::{Deserialize, Serialize};
use std::fmt;

/// By whose word, or by which deed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum PinnedBy {
    /// A rule granted it, and nobody had it before.
    FirstUse {
        /// The rule.
        rule: String,
    },
    /// An operator said so.
    Operator {
        /// Who.
        #[serde(flatten)]
        who: Person,
        /// Why, in the operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A rule granted it, nobody had it before, and the project is known by other paths.
    Rename {
        /// The rule.
        rule: String,
        /// The paths that belong to the project already.
        from: Vec<String>,
    },
}

/// As a table shows it.
impl fmt::Display for PinnedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstUse { rule } => write!(f, "first use, by rule {rule:?}"),
            Self::Operator { who, reason: Some(reason) } => write!(f, "{who}: {reason}"),
            Self::Operator { who, reason: None } => who.fmt(f),
            Self::Rename { rule, from } => write!(f, "renamed from {}, by rule {rule:?}", from.join(", ")),
        }
    }
}
