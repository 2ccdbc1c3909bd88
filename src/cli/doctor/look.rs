//! What is looked at, and in which order.

use super::finding::Findings;
use super::named::Named;
use super::sockets::Looker;
use super::{host, server, sockets, token};
use crate::cli::login::TokenArgs;
use crate::cli::remote::ServerArgs;
use crate::cli::render;
use crate::config::Whose;
use std::path::PathBuf;
use std::process::ExitCode;

/// What can be typed
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) token: TokenArgs,
    // Read by hand: what is not named is not looked at.
    #[arg(long, value_name = "unix:PATH", help = "The Workload API [env: SPIFFE_ENDPOINT_SOCKET]")]
    pub(super) endpoint: Option<String>,
    #[arg(long, value_name = "PATH", help = "The agent's own socket [env: LANYARD_AGENT_SOCKET]")]
    pub(super) agent_socket: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = "A server's or an agent's configuration [env: LANYARD_CONFIG]")]
    pub(super) config: Option<PathBuf>,
    /// The findings as one JSON object
    #[arg(long)]
    json: bool,
}

/// Looks, and tells; a failure where something is wrong.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let named = Named::by(&args);
    let mut seen = Vec::new();
    let mut is_a_server = false;
    if let Some(file) = &named.config {
        let (whose, found) = host::look(file).await;
        is_a_server = whose == Whose::Server;
        seen.extend(found);
    }
    let mut behind = Vec::new();
    if let Some(endpoint) = &named.endpoint {
        behind.extend(sockets::workload(endpoint, Looker::Job).await);
    }
    if let Some(socket) = &named.agent_socket {
        behind.push(sockets::agent(socket).await);
    }
    if named.asks_server() {
        let (findings, answers) = server::look(&args.server).await;
        seen.extend(findings);
        // On a server's machine nobody expects a job's token.
        if !is_a_server || args.token.is_given() {
            seen.extend(token::look(&args, answers, sockets::serve(&behind)).await);
        }
    }
    seen.extend(behind);
    seen.extend(sockets::mesh());
    let findings = Findings::new(seen);
    render::unless_closed(if args.json { render::json(&findings) } else { render::say(&findings.story()) })?;
    Ok(if findings.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
