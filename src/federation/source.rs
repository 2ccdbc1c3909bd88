//! Where another trust domain's bundle comes from: one place each.

use super::{ConfigMapKey, Endpoint};
use crate::audit::Person;
use crate::bundle::Bundle;
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
    /// What is held until the source's first, and believed of its endpoint's SVID.
    pub first: Option<Bundle>,
}

/// Where a bundle comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Source {
    /// A key of a ConfigMap, watched.
    ConfigMap(ConfigMapKey),
    /// Its own bundle endpoint, asked when its bundle says.
    Endpoint(Endpoint),
    /// A file, looked at every few seconds.
    File {
        /// Which.
        path: PathBuf,
    },
    /// An operator, by `lanyard bundle set`.
    Operator,
}

impl Source {
    /// Whether the configuration names it, rather than the person who told to ask an endpoint.
    pub(super) const fn is_configured(&self, told_by: Option<&Person>) -> bool {
        match self {
            Self::ConfigMap(_) | Self::File { .. } => true,
            Self::Endpoint(_) => told_by.is_none(),
            Self::Operator => false,
        }
    }

    /// Whether what both of them show has one history.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Endpoint(one), Self::Endpoint(another)) => one.is_same_place(another),
            (one, another) => one == another,
        }
    }

    /// The endpoint, if it is one.
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Endpoint(endpoint) => Some(endpoint),
            Self::ConfigMap(_) | Self::File { .. } | Self::Operator => None,
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
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::File { path } => write!(f, "file {}", path.display()),
            Self::Operator => f.write_str("operator"),
        }
    }
}
