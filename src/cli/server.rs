//! `lanyard server`: the CA service, until it is told to stop.

use super::daemon::until_signalled;
use super::render;
use crate::clock::SystemClock;
use crate::config::{SystemEnvironment, load_server};
use crate::crypto::Random;
use crate::discovery::HttpsFetch;
use crate::server::{Server, World};
use crate::telemetry::Shutdown;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The configuration; `lanyard config check` reads it without starting anything
    #[arg(long, env = "LANYARD_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

/// Serves until SIGINT or SIGTERM, or until a part ends by itself.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = match load_server(&args.config, &SystemEnvironment) {
        Ok(settings) => settings,
        Err(problems) => {
            render::problems(&problems);
            return Ok(ExitCode::FAILURE);
        }
    };
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let (trigger, shutdown) = Shutdown::pair();
    let fetch = Arc::new(HttpsFetch::new(None)?);
    let world = World { clock: Arc::new(SystemClock), random: Random::system(), fetch };
    let server = Box::pin(Server::start(&settings, world, shutdown)).await?;
    let places: Vec<_> = server.addresses().iter().map(ToString::to_string).collect();
    tracing::info!(trust_domain = %settings.trust_domain, listens = places.join(" "), "serving");
    until_signalled(server.run(), trigger).await
}
