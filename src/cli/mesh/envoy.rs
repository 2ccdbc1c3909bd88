//! `lanyard policy render envoy`.

use super::command::Rendered;
use super::rules::RulesArgs;
use crate::cli::failure::WrongUsage;
use crate::config::parse_duration;
use crate::identity::SpiffeId;
use crate::mesh::{Callee, Caller, Endpoint, Mesh, Name, Place};
use std::time::Duration;

/// What can be typed. The bootstrap's shape stays as it is; names, places and ports are flags
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) rules: RulesArgs,
    /// For the proxy before the service (callee: mTLS, and who may call), or beside a job (caller: plain on the loopback)
    #[arg(long, value_enum, default_value_t = Side::Callee)]
    side: Side,
    /// The service, a name for statistics
    #[arg(long, value_name = "NAME")]
    service: Name,
    /// Where the proxy listens [default: 0.0.0.0:8443 before a service, 127.0.0.1:9001 beside a job]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<Endpoint>,
    /// Where the proxy calls: the service itself, or the proxy before it [default before a service: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    upstream: Option<Endpoint>,
    /// Whom the proxy beside a job calls, and nobody else
    #[arg(long, value_name = "SPIFFE-ID", value_parser = SpiffeId::parse)]
    server_id: Option<SpiffeId>,
    /// The longest life of a connection; 5 s more for what it has begun
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_duration)]
    connection_age: Duration,
    /// The node's id in Envoy's words [default: the service before it, job beside a job]
    #[arg(long, value_name = "NAME")]
    node: Option<Name>,
    /// The agent's Workload API socket, which speaks SDS too
    #[arg(long, value_name = "PATH", default_value = "/run/lanyard/sockets/api.sock")]
    socket: String,
    /// The socket for Envoy's administration
    #[arg(long, value_name = "PATH", default_value = "/run/envoy/admin.sock")]
    admin_socket: String,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Callee,
    Caller,
}

/// A bootstrap.
pub(super) fn render(args: &Args) -> anyhow::Result<Rendered> {
    let bootstrap = match args.side {
        Side::Callee => {
            let Some(rules) = args.rules.load()? else { return Ok(Rendered::Refused) };
            let Some(admitted) = args.rules.admitted(&rules, &Mesh::Envoy) else { return Ok(Rendered::Refused) };
            args.callee()?.bootstrap(&admitted, &rules.trust_domain)?
        }
        Side::Caller => args.caller()?.bootstrap()?,
    };
    Ok(Rendered::Objects { objects: vec![bootstrap], advice: Vec::new() })
}

impl Args {
    fn place(&self, node: &str) -> Place {
        Place {
            node: self.node.as_ref().map_or_else(|| node.to_owned(), ToString::to_string),
            cluster: self.service.to_string(),
            admin_socket: self.admin_socket.clone(),
            workload_socket: self.socket.clone(),
        }
    }

    fn callee(&self) -> anyhow::Result<Callee> {
        Ok(Callee {
            place: self.place(&self.service.to_string()),
            listen: self.listen.clone().map_or_else(|| "0.0.0.0:8443".parse(), Ok)?,
            service: self.service.to_string(),
            upstream: self.upstream.clone().map_or_else(|| "127.0.0.1:8080".parse(), Ok)?,
            connection_age: self.connection_age,
        })
    }

    fn caller(&self) -> anyhow::Result<Caller> {
        let upstream = self
            .upstream
            .clone()
            .ok_or_else(|| WrongUsage::new("name the proxy before the service with --upstream"))?;
        let server_id =
            self.server_id.clone().ok_or_else(|| WrongUsage::new("say who the service is with --server-id"))?;
        let listen = self.listen.clone().map_or_else(|| "127.0.0.1:9001".parse(), Ok)?;
        let service = self.service.to_string();
        Ok(Caller { place: self.place("job"), listen, service, upstream, server_id })
    }
}
