//! The kinds of consumer that we know, and what goes without saying for each.

use crate::crypto::JwsAlgorithm;
use std::time::Duration;

/// What takes a JWT-SVID.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConsumerKind {
    /// AWS STS, by an IAM OIDC provider.
    Aws,
    /// Microsoft Entra, by a federated identity credential.
    Entra,
    /// Envoy's `jwt_authn` filter.
    Envoy,
    /// Google Cloud's workload identity federation.
    Google,
    /// Istio's `RequestAuthentication`.
    Istio,
    /// Okta's client assertions.
    Okta,
    /// Whoever validates by SPIFFE's own rules, with our trust bundle.
    Spiffe,
    /// Vault's (or OpenBao's) `jwt` method.
    Vault,
}

/// Envoy and Istio say how long they keep a key set: ten minutes (`cache_duration`) and twenty
/// (`PILOT_JWT_PUB_KEY_REFRESH_INTERVAL`). Clouds do not, so a day is allowed for.
const UNTOLD: Duration = Duration::from_secs(86_400);

impl ConsumerKind {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Aws, Self::Entra, Self::Envoy, Self::Google, Self::Istio, Self::Okta, Self::Spiffe, Self::Vault];

    /// Its name in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Entra => "entra",
            Self::Envoy => "envoy",
            Self::Google => "google",
            Self::Istio => "istio",
            Self::Okta => "okta",
            Self::Spiffe => "spiffe",
            Self::Vault => "vault",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whom tokens for it are for where nothing else is said; none where everybody chooses a name.
    pub const fn usual_audience(self) -> Option<&'static str> {
        match self {
            Self::Aws => Some("sts.amazonaws.com"),
            Self::Entra => Some("api://AzureADTokenExchange"),
            Self::Envoy | Self::Google | Self::Istio | Self::Okta | Self::Spiffe | Self::Vault => None,
        }
    }

    /// What its tokens are signed by where nothing else is said.
    pub const fn usual_algorithm(self) -> JwsAlgorithm {
        match self {
            Self::Entra | Self::Okta => JwsAlgorithm::Rs256,
            Self::Aws | Self::Envoy | Self::Google | Self::Istio | Self::Spiffe | Self::Vault => JwsAlgorithm::Es256,
        }
    }

    /// How long it goes on with keys that it has read. Vault asks again for a key that it does not know, and so do SPIFFE's
    /// libraries, whose bundles have a refresh hint of their own.
    pub const fn keeps_keys_for(self) -> Duration {
        match self {
            Self::Aws | Self::Entra | Self::Google | Self::Okta => UNTOLD,
            Self::Envoy => Duration::from_secs(600),
            Self::Istio => Duration::from_secs(1200),
            Self::Spiffe | Self::Vault => Duration::ZERO,
        }
    }
}
