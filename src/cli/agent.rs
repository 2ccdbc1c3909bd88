//! `lanyard agent`: the daemon beside a runner, until it is told to stop.

use super::daemon::until_signalled;
use super::render;
use crate::agent::Agent;
use crate::clock::SystemClock;
use crate::config::{SystemEnvironment, load_agent};
use crate::crypto::Random;
use crate::telemetry::Shutdown;
use crate::wire::raise_open_files;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The configuration
    #[arg(long, env = "LANYARD_AGENT_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

/// Serves until SIGINT or SIGTERM, or until a part ends by itself.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = match load_agent(&args.config, &SystemEnvironment) {
        Ok(settings) => settings,
        Err(problems) => {
            render::problems(&problems);
            return Ok(ExitCode::FAILURE);
        }
    };
    let (trigger, shutdown) = Shutdown::pair();
    raise_open_files();
    let agent = Agent::build(settings, Arc::new(SystemClock), &Random::system())?;
    until_signalled(agent.run(shutdown), trigger).await
}
