//! One client's stream, as a value: what it asked for, what it was sent, and what it is to be told next.
//!
//! **Invariants**: a response answers a first request, another set of names, or another content; never an ACK, a NACK
//! or a request that speaks of a response before the last. What was refused is not sent again before it changes.

use super::names::{Meant, SecretNames};
use super::{Validator, secret};
use crate::agent::crls::Crls;
use crate::agent::keeper::Identity;
use crate::bundle::Bundle;
use crate::crypto::Digest;
use crate::telemetry::AgentMetrics;
use crate::wire::sds::{DiscoveryRequest, DiscoveryResponse, Node};
use prost_types::Any;
use prost_types::value::Kind;
use std::collections::BTreeSet;
use std::sync::Arc;
use tonic::Status;

/// Clients ask for one to three.
const NAMES_MAX: usize = 64;

/// As long as the longest SPIFFE ID (SPIFFE-ID §2.3).
const NAME_BYTES_MAX: usize = 2048;

/// How much of a client's words goes into the log.
const WORDS_MAX: usize = 300;

/// The metadata with which an operator asks for plain roots in a client's own configuration.
const PLAIN_ASKED: &str = "disable_spiffe_cert_validation";

/// The first version of Envoy that has the validator.
const SPIFFE_SINCE: (u32, u32) = (1, 18);

/// What there is to be told.
#[derive(Debug)]
pub(super) struct Stock {
    pub(super) identity: Identity,
    /// The newest set of revocation lists, where they are wanted.
    pub(super) crls: Option<Arc<Crls>>,
}

/// See the file's words. No secret stays in it: there may be many streams.
#[derive(Debug)]
pub(super) struct Subscription {
    names: Arc<SecretNames>,
    metrics: AgentMetrics,
    validator: Validator,
    /// None before the first request; empty means all.
    wanted: Option<BTreeSet<String>>,
    /// Of the last response's secrets.
    sent: Option<Digest>,
    /// Of the last response; its nonce too.
    version: u64,
    refusals: Refusals,
    /// Whether it was said that roots wait for their revocation lists.
    waits: bool,
}

/// How often a client refused what it was sent.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    told_of: Option<u64>,
}

impl Refusals {
    /// Counts one; whether it is the first of this version.
    fn count_first(&mut self, version: u64) -> bool {
        self.count += 1;
        self.told_of.replace(version) != Some(version)
    }
}

impl Subscription {
    pub(super) fn new(names: Arc<SecretNames>, metrics: AgentMetrics) -> Self {
        let validator = names.validator;
        Self {
            names,
            metrics,
            validator,
            wanted: None,
            sent: None,
            version: 0,
            refusals: Refusals::default(),
            waits: false,
        }
    }

    /// Takes a request of the client, to be answered from what there is now.
    ///
    /// # Errors
    /// What ends the stream: a name that means nothing, another kind of resource, too much of something.
    pub(super) fn ask(
        &mut self,
        request: DiscoveryRequest,
        stock: Option<&Stock>,
    ) -> Result<Option<DiscoveryResponse>, Status> {
        check(&request)?;
        let answers = !request.response_nonce.is_empty();
        if answers && request.response_nonce != self.version.to_string() {
            return Ok(None);
        }
        if let Some(why) = &request.error_detail {
            self.count_refusal(&why.message);
        }
        if let Some(node) = &request.node {
            self.validator = if wants_plain(node) { Validator::Plain } else { self.names.validator };
        }
        let wanted = Some(request.resource_names.into_iter().collect());
        if answers && self.wanted == wanted {
            return Ok(None);
        }
        self.wanted = wanted;
        let Some(stock) = stock else { return Ok(None) };
        let resources = self.resources(stock)?;
        Ok(resources.map(|resources| self.respond(resources)))
    }

    fn count_refusal(&mut self, why: &str) {
        self.metrics.secrets_refused();
        if self.refusals.count_first(self.version) {
            let words: String = why.chars().filter(|letter| !letter.is_control()).take(WORDS_MAX).collect();
            let (version, refusals) = (self.version, self.refusals.count);
            tracing::warn!(version, refusals, why = words, "a proxy refused its secrets and keeps those it has");
        }
    }

    /// Takes another state of what there is.
    ///
    /// # Errors
    /// A name that means nothing any more.
    pub(super) fn turn(&mut self, stock: &Stock) -> Result<Option<DiscoveryResponse>, Status> {
        let resources = self.resources(stock)?.filter(|resources| Some(digest(resources)) != self.sent);
        Ok(resources.map(|resources| self.respond(resources)))
    }

    /// The secrets that are asked for, each once, without those that are not whole; none while nobody has asked, or all of
    /// them are not. What is left out here a client keeps (xDS takes secrets away by no response).
    fn resources(&mut self, stock: &Stock) -> Result<Option<Vec<Any>>, Status> {
        let (Some(wanted), identity) = (&self.wanted, &stock.identity) else { return Ok(None) };
        let all = if wanted.is_empty() { self.names.all(identity) } else { wanted.iter().cloned().collect() };
        let secret = |name: String| match self.names.meaning(&name, identity) {
            Some(Meant::Bundle(bundle)) => Ok(self.roots(name, &[bundle], stock)),
            Some(Meant::Bundles) => Ok(self.roots(name, &self.all_bundles(identity), stock)),
            Some(Meant::Svid(svid)) => Ok(Some(secret::svid(name, svid))),
            None => Err(Status::invalid_argument(format!(
                "no secret is called {name:?}; there are {}",
                self.names.all(identity).join(", ")
            ))),
        };
        let asked: Vec<Option<Any>> = all.into_iter().map(secret).collect::<Result<_, _>>()?;
        if asked.contains(&None) && !std::mem::replace(&mut self.waits, true) {
            tracing::info!("a proxy's roots wait for the server's revocation lists");
        }
        let whole: Vec<Any> = asked.into_iter().flatten().collect();
        Ok(Some(whole).filter(|whole| !whole.is_empty()))
    }

    /// None of ours while a revocation list is wanted and missing.
    fn roots(&self, name: String, bundles: &[&Bundle], Stock { identity, crls }: &Stock) -> Option<Any> {
        let ours = &identity.bundle.trust_domain;
        let is_listed = self.names.crl && bundles.iter().any(|bundle| bundle.trust_domain == *ours);
        let lists =
            if is_listed { Some((ours, &*crls.as_ref().filter(|crls| crls.cover(identity))?.pem)) } else { None };
        Some(secret::roots(name, bundles, self.validator, lists))
    }

    /// Plain, every root vouches for every ID, so that only our own are in the list unless the operator wants it so.
    fn all_bundles<'a>(&self, identity: &'a Identity) -> Vec<&'a Bundle> {
        match self.validator {
            Validator::Plain if !self.names.merge => vec![&*identity.bundle],
            Validator::Plain | Validator::Spiffe => identity.bundles().collect(),
        }
    }

    fn respond(&mut self, resources: Vec<Any>) -> DiscoveryResponse {
        self.metrics.secrets_sent();
        self.version += 1;
        self.sent = Some(digest(&resources));
        let version = self.version.to_string();
        let type_url = secret::SECRET.to_owned();
        DiscoveryResponse { version_info: version.clone(), resources, type_url, nonce: version }
    }
}

fn digest(resources: &[Any]) -> Digest {
    let secrets: Vec<&[u8]> = resources.iter().map(|secret| secret.value.as_slice()).collect();
    Digest::of_parts(&secrets)
}

fn check(request: &DiscoveryRequest) -> Result<(), Status> {
    let DiscoveryRequest { type_url, resource_names, .. } = request;
    if !type_url.is_empty() && type_url != secret::SECRET {
        return Err(Status::invalid_argument(format!("only {} is served here", secret::SECRET)));
    }
    if resource_names.len() > NAMES_MAX || resource_names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
        let most = format!("at most {NAMES_MAX} names of at most {NAME_BYTES_MAX} bytes each can be asked for");
        return Err(Status::invalid_argument(most));
    }
    let of_files = |name: &&String| name.starts_with("file-root:") || name.starts_with("file-cert:");
    resource_names.iter().find(of_files).map_or(Ok(()), |name| {
        Err(Status::invalid_argument(format!(
            "{name:?} names a file that Istio's own agent serves; only secrets made of SVIDs and bundles are here"
        )))
    })
}

/// Whether this client cannot use the SPIFFE validator, or was told not to.
fn wants_plain(node: &Node) -> bool {
    let asked = node.metadata.as_ref().and_then(|metadata| metadata.fields.get(PLAIN_ASKED)?.kind.as_ref());
    let asked = match asked {
        Some(Kind::BoolValue(asked)) => *asked,
        Some(Kind::StringValue(asked)) => asked == "true",
        Some(Kind::NullValue(_) | Kind::NumberValue(_) | Kind::StructValue(_) | Kind::ListValue(_)) | None => false,
    };
    let version = node.user_agent_build_version.as_ref().and_then(|build| build.version.as_ref());
    asked || version.is_some_and(|version| (version.major_number, version.minor_number) < SPIFFE_SINCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: MESH-C6.
    #[test]
    fn a_refusal_is_told_once_for_each_version_and_all_are_counted() {
        let mut refusals = Refusals::default();
        assert_eq!(
            [1, 1, 1, 2, 4, 4].map(|version| refusals.count_first(version)),
            [true, false, false, true, true, false]
        );
        assert_eq!(refusals.count, 6);
    }
}
