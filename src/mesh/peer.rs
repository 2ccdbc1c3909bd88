//! The ways in which meshes can name a peer.

use super::Unfit;
use super::subject::{Named, Subject};
use crate::identity::{IdTemplate, SpiffeId};
use crate::policy::{IdPart, IdSet};
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
            (Self::Envoy | Self::Istio, None) => Ok(Peer::Beginning(whole_names(named.ids.beginning()).to_owned())),
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
