//! Another trust domain's bundle endpoint: where it is, and how we know that it is the one (SPIFFE Federation §5).

use crate::bundle::EndpointUrl;
use crate::identity::SpiffeId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Nothing in it is guessed from anything else (FED-21).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Endpoint {
    /// Where.
    #[serde(with = "as_text")]
    pub url: EndpointUrl,
    /// How we know it.
    #[serde(flatten)]
    pub profile: Profile,
}

/// How an endpoint proves that it is the one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "profile")]
pub enum Profile {
    /// By an X509-SVID of exactly this ID.
    HttpsSpiffe {
        /// Whose.
        endpoint_id: SpiffeId,
    },
    /// By a certificate for its host's name.
    HttpsWeb {
        /// The only CAs that are believed, PEM; none for the system's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_pem: Option<String>,
    },
}

impl Endpoint {
    /// Whether it is the same place, known in the same way: what another CA vouches for there goes on where it was.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        let are_same = match (&self.profile, &other.profile) {
            (Profile::HttpsSpiffe { endpoint_id: one }, Profile::HttpsSpiffe { endpoint_id: another }) => {
                one == another
            }
            (Profile::HttpsWeb { .. }, Profile::HttpsWeb { .. }) => true,
            (Profile::HttpsSpiffe { .. } | Profile::HttpsWeb { .. }, _) => false,
        };
        are_same && self.url == other.url
    }

    /// Whom we expect there.
    pub const fn endpoint_id(&self) -> Option<&SpiffeId> {
        match &self.profile {
            Profile::HttpsSpiffe { endpoint_id } => Some(endpoint_id),
            Profile::HttpsWeb { .. } => None,
        }
    }
}

impl Profile {
    /// As the standard names it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::HttpsSpiffe { .. } => "https_spiffe",
            Self::HttpsWeb { .. } => "https_web",
        }
    }
}

/// As tables and messages show it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.profile.as_str(), self.url)
    }
}

mod as_text {
    use super::EndpointUrl;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(url: &EndpointUrl, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(url)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EndpointUrl, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
