//! What this place names: only that can be looked at.

use super::Args;
use crate::cli::remote::named_config;
use crate::config::{Environment as _, SystemEnvironment};
use std::path::PathBuf;

/// By flags and variables.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) config: Option<PathBuf>,
    pub(super) endpoint: Option<String>,
    pub(super) agent_socket: Option<PathBuf>,
    /// Whether one is.
    server: bool,
}

impl Named {
    pub(super) fn by(args: &Args) -> Self {
        let variable = |name| SystemEnvironment.value(name).filter(|value| !value.is_empty());
        Self {
            config: named_config(args.config.clone()),
            endpoint: args.endpoint.clone().or_else(|| variable("SPIFFE_ENDPOINT_SOCKET")),
            agent_socket: args.agent_socket.clone().or_else(|| variable("LANYARD_AGENT_SOCKET").map(Into::into)),
            server: args.server.is_typed() || variable("LANYARD_SERVER").is_some(),
        }
    }

    /// Where an agent or a configuration is named, that is whom to ask; where nothing is, a server is what is missing.
    pub(super) const fn asks_server(&self) -> bool {
        self.server || (self.config.is_none() && self.endpoint.is_none() && self.agent_socket.is_none())
    }
}
