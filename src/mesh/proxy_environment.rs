//! The environment of a Linkerd proxy on a runner's host that takes its identity from an agent's socket.
//!
//! **Spec:** `linkerd/app/src/env.rs` of linkerd2-proxy. The proxy demands that the SVID's ID is this very text.

use super::Anchors;
use crate::identity::SpiffeId;
use std::fmt;

/// What is set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyEnvironment {
    /// The Workload API's socket, an absolute path.
    pub socket: String,
    /// Which ID the proxy has.
    pub server_id: SpiffeId,
    /// By which DNS name it ends TLS.
    pub server_name: String,
    /// Whom it trusts; read once, when it starts.
    pub anchors: Anchors,
}

/// Lines for a shell, and for systemd's EnvironmentFile.
impl fmt::Display for ProxyEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { socket, server_id, server_name, anchors } = self;
        for (name, value) in [
            ("SPIRE_WORKLOAD_API_ADDRESS", socket.as_str()),
            ("SERVER_ID", server_id.as_str()),
            ("SERVER_NAME", server_name),
            ("TRUST_ANCHORS", &anchors.to_pem()),
        ] {
            // Neither an ID nor PEM nor a DNS name holds a quote, and a socket's path with one is refused.
            writeln!(f, "LINKERD2_PROXY_IDENTITY_{name}='{value}'")?;
        }
        Ok(())
    }
}

impl ProxyEnvironment {
    /// A socket's path that can stand between quotes.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check_socket(path: &str) -> Result<String, String> {
        let odd = |c: char| c.is_control() || matches!(c, '\'' | '"' | '\\');
        if path.starts_with('/') && !path.contains(odd) {
            Ok(path.to_owned())
        } else {
            Err("write an absolute path without quotes".to_owned())
        }
    }
}
