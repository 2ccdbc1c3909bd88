//! The ways in which meshes can name a peer.

use super::subject::{Named, Subject};
use super::{Unfit, VaultLogin};
use crate::identity::{IdTemplate, SpiffeId};
use crate::policy::{IdPart, IdSet, Kind, Rule, ShownIn};
use crate::svid::{DnsNames, DnsSuffix, SanOrder};

/// What is told of our rules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mesh {
    /// Whole URIs, beginnings, and regular expressions over all of a URI.
    Envoy,
    /// Whole names, beginnings and ends, without `spiffe://`.
    Istio,
    /// Whole URIs; or ends of DNS names, where our certificates have those first.
    Linkerd(Option<DnsFirst>),
    /// No mesh: whole URIs, and beginnings.
    Vault(VaultLogin),
}

/// The suffix of DNS names that stand before the SPIFFE ID: Linkerd sees the first name only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsFirst(DnsSuffix);

impl DnsFirst {
    /// Of certificates that look so; none where the SPIFFE ID comes first.
    pub fn of(names: Option<&DnsNames>) -> Option<Self> {
        names.filter(|names| names.order == SanOrder::DnsFirst).map(|names| Self(names.suffix.clone()))
    }
}

/// Whom a mesh admits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// Whose ID goes on behind this path.
    Beginning(String),
    /// Whose first name is a DNS name right or further below this one.
    DnsBelow(String),
    /// Exactly this one.
    Exact(SpiffeId),
    /// Whose path reads so.
    Shape(IdSet),
}

impl Mesh {
    /// What it reads an ID from.
    pub(super) fn reads(&self) -> ShownIn<'_> {
        match self {
            Self::Envoy | Self::Istio | Self::Linkerd(_) | Self::Vault(VaultLogin::Certificate) => ShownIn::Certificate,
            Self::Vault(VaultLogin::Token { audience, .. }) => ShownIn::TokenFor(audience),
        }
    }

    /// Whether a rule gives what it reads.
    pub(super) fn reads_what_is_given_by(&self, rule: &Rule) -> Result<(), Unfit> {
        let Self::Vault(VaultLogin::Token { audience, user_claim }) = self else {
            return if rule.gives.kinds.contains(&Kind::X509) { Ok(()) } else { Err(Unfit::NoCertificate) };
        };
        if !self.reads().is_given_by(rule) {
            return Err(Unfit::NoToken { audience: audience.clone() });
        }
        if rule.gives.multi_audience {
            return Err(Unfit::SharedToken);
        }
        if user_claim != "sub" && !rule.gives.claims.names().any(|name| name == user_claim) {
            return Err(Unfit::NoClaim { claim: user_claim.clone() });
        }
        Ok(())
    }

    /// How it can name those who have these IDs.
    pub(super) fn peer(&self, named: &Named, template: &IdTemplate) -> Result<Peer, Unfit> {
        match (self, named.only()) {
            (Self::Linkerd(Some(DnsFirst(suffix))), _) => match &named.subject {
                Subject::Of(project) if project.id.is_some() => {
                    Ok(Peer::DnsBelow(format!("p{}.{suffix}", project.id.unwrap_or_default())))
                }
                Subject::Anybody | Subject::Below { .. } | Subject::Of(_) => {
                    Err(Unfit::ProjectIdUnseen { suffix: suffix.to_string() })
                }
            },
            (_, Some(only)) => Ok(Peer::Exact(only.clone())),
            (Self::Linkerd(None), None) => {
                let open = named.open.clone().unwrap_or_default();
                Err(Unfit::NotExact { template: template.to_string(), open })
            }
            (Self::Envoy, None) if !matches!(named.ids.parts(), [IdPart::Literal(_), IdPart::Digits]) => {
                Ok(Peer::Shape(named.ids.clone()))
            }
            (Self::Envoy | Self::Istio | Self::Vault(_), None) => {
                Ok(Peer::Beginning(whole_names(named.ids.beginning()).to_owned()))
            }
        }
    }
}

/// A beginning up to where a name ends: `p4` would also be the beginning of `p42`.
fn whole_names(beginning: &str) -> &str {
    let end = beginning.rfind(['/', '.']).map_or(0, |at| at + 1);
    beginning.get(..end).unwrap_or_default()
}

impl Peer {
    /// The IDs that come in; none where a DNS name decides.
    pub fn ids(&self) -> Option<IdSet> {
        match self {
            Self::Beginning(path) => Some(IdSet::prefix(path)),
            Self::DnsBelow(_) => None,
            Self::Exact(id) => Some([IdPart::Literal(id.path().to_owned())].into_iter().collect()),
            Self::Shape(ids) => Some(ids.clone()),
        }
    }
}
