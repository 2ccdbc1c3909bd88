//! Where another trust domain's bundle comes from: one place each.

use super::ConfigMapKey;
use crate::identity::TrustDomain;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A trust domain whose bundle the configuration tells to take, and from where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relationship {
    /// Whose.
    pub trust_domain: TrustDomain,
    /// From where.
    pub source: Source,
}

/// Where a bundle comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Source {
    /// A key of a ConfigMap, watched.
    ConfigMap(ConfigMapKey),
    /// A file, looked at every few seconds.
    File {
        /// Which.
        path: PathBuf,
    },
    /// An operator, by `lanyard bundle set`.
    Operator,
}

impl Source {
    /// Whether the configuration names it.
    pub const fn is_configured(&self) -> bool {
        match self {
            Self::ConfigMap(_) | Self::File { .. } => true,
            Self::Operator => false,
        }
    }
}

/// As tables and messages show it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap(ConfigMapKey { namespace, name, key, .. }) => {
                write!(f, "config map {namespace}/{name} {key}")
            }
            Self::File { path } => write!(f, "file {}", path.display()),
            Self::Operator => f.write_str("operator"),
        }
    }
}
