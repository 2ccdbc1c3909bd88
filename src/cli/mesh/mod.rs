//! `lanyard policy render istio|linkerd|envoy|vault`: our rules, as a service mesh and Vault read them. Asks nobody and changes nothing.

mod command;
mod rules;
mod kubernetes;
mod istio;
mod linkerd;
mod envoy;
mod vault;

pub(super) use command::{Args, run};
