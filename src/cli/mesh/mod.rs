//! `lanyard policy render istio|linkerd|envoy`: our rules, as a service mesh reads them. Asks nobody and changes nothing.

mod command;
mod rules;
mod kubernetes;
mod istio;
mod linkerd;
mod envoy;

pub(super) use command::{Args, run};
