//! `lanyard server`: the CA service, until it is told to stop.

use super::daemon::until_signalled;
use super::render;
use crate::clock::{Clock, SystemClock};
use crate::config::{Collector, Problem, ServerSettings, SystemEnvironment, TelemetrySettings, load_server};
use crate::crypto::Random;
use crate::discovery::HttpsFetch;
use crate::server::{LogKeeper, Server, World};
use crate::telemetry::{Delivery, Log, Shutdown, Tracing};
use crate::wire::channel_without_pings;
use std::convert::Infallible;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
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
pub(crate) async fn run(args: Args, log: Log) -> anyhow::Result<ExitCode> {
    let settings = match load_apart(&args.config) {
        Ok(settings) => settings,
        Err(problems) => {
            render::problems(&problems);
            return Ok(ExitCode::FAILURE);
        }
    };
    let (keeper, traces) = begin_to_tell(args.config, log, &settings.telemetry)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let (trigger, shutdown) = Shutdown::pair();
    let fetch = Arc::new(HttpsFetch::new(None)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let world = World { clock: Arc::clone(&clock), random: Random::system(), fetch };
    let server = Box::pin(Server::start(&settings, world, shutdown)).await?;
    let places: Vec<_> = server.addresses().iter().map(ToString::to_string).collect();
    tracing::info!(trust_domain = %settings.trust_domain, listens = places.join(" "), "serving");
    telling(Box::pin(until_signalled(server.run(), trigger)), keeper.run(clock), traces).await
}

/// Loads on a thread that then ends: what a thread lets go of stays with it while it rests, and ours would rest.
fn load_apart(config: &Path) -> Result<ServerSettings, Vec<Problem>> {
    let loading = std::thread::scope(|scope| scope.spawn(|| load_server(config, &SystemEnvironment)).join());
    loading.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The log, and traces where the configuration says so.
fn begin_to_tell(
    file: PathBuf,
    log: Log,
    settings: &TelemetrySettings,
) -> anyhow::Result<(LogKeeper, Option<Delivery>)> {
    let (tracing, traces) = settings.collector.as_ref().map(delivery).transpose()?.unzip();
    let Log { format, filter: otherwise } = log;
    let filter = settings.log.clone().unwrap_or_else(|| otherwise.clone());
    let level = Log { format, filter: filter.clone() }.install(tracing.as_ref())?;
    Ok((LogKeeper { file, otherwise, filter, level }, traces))
}

fn delivery(collector: &Collector) -> anyhow::Result<(Tracing, Delivery)> {
    let over_tls = collector.over_tls.clone();
    let channel = over_tls.map(|(url, files)| channel_without_pings(&url, files)).transpose()?;
    Ok(Delivery::to(&collector.endpoint, channel)?)
}

/// Serves, and meanwhile follows the log's filter and delivers traces; at last those of the last requests.
async fn telling(
    serving: impl Future<Output = anyhow::Result<ExitCode>>,
    keeping: impl Future<Output = Infallible>,
    mut traces: Option<Delivery>,
) -> anyhow::Result<ExitCode> {
    let delivering = async {
        match &mut traces {
            Some(traces) => traces.run().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = serving => ended,
        never = keeping => match never {},
        never = delivering => match never {},
    };
    if let Some(traces) = traces {
        traces.finish().await;
    }
    ended
}
