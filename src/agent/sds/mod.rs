//! Envoy's secret discovery service on the agent's sockets: the SVID and the bundles as secrets with names.
//!
//! **Spec**: xDS transport protocol, state of the world over a stream; Envoy's `SPIFFECertValidatorConfig`.
//! Not here: who may ask (`desk`), and when there is something to have (`served`).

mod names;
mod secret;
mod subscription;
mod service;

pub use names::{SecretNames, Validator};
pub(super) use service::{STREAM_PATH, Sds};
