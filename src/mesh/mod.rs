//! What a service mesh, and Vault, is told of our rules: whom it may admit, in the objects that it reads.
//!
//! ```text
//!   Rule ─▶ subject: whose jobs ─▶ peer: how this mesh can name them ─▶ admitted: nobody else comes in by that
//!                                                                    └─▶ istio · linkerd · envoy · vault ─▶ document
//! ```
//! **Invariant:** a rendered pattern admits no ID that the policy gives to somebody for whom the rule would not speak. What a
//! mesh cannot tell apart is refused, with the reason. Not here: reading policies (`config`), asking a cluster.

mod unfit;
mod known;
mod subject;
mod peer;
mod admitted;
mod document;
mod kubernetes;
mod istio;
mod linkerd;
mod anchors;
mod proxy_environment;
mod envoy;
mod vault;

pub use admitted::{Admitted, Callers};
pub use anchors::{Anchors, AnchorsError, trust_manager_source};
pub use document::{Document, Unwritable};
pub use envoy::{Callee, Caller, Endpoint, NotAnEndpoint, Place};
pub use istio::{IstioService, IstioTrust};
pub use known::{Group, Known, NotKnown, Project};
pub use kubernetes::{Name, NotAName, Selector, Workload};
pub use linkerd::{ExternalWorkload, LinkerdService, only_id, server_name};
pub use peer::{DnsFirst, Mesh, Peer};
pub use proxy_environment::ProxyEnvironment;
pub use unfit::{NotRendered, Unfit};
pub use vault::{NotOfVault, SecretPath, VaultLogin, VaultName, VaultRole, VaultWrite};
