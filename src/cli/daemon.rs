//! What runs until it is told to stop.

use crate::telemetry::ShutdownTrigger;
use std::process::ExitCode;

/// Waits for the daemon's own end, or for SIGINT or SIGTERM: then it is told, and its end waited for.
pub(super) async fn until_signalled<E: Into<anyhow::Error>>(
    running: impl Future<Output = Result<(), E>>,
    trigger: ShutdownTrigger,
) -> anyhow::Result<ExitCode> {
    let mut running = std::pin::pin!(running);
    tokio::select! {
        // First of all it is listened for signals: whoever is told that we serve may ask us to end at once.
        biased;
        signal = ShutdownTrigger::signalled() => {
            tracing::info!(signal = signal?, "stopping");
            trigger.pull();
            running.await.map_err(Into::into)?;
        }
        ended = &mut running => ended.map_err(Into::into)?,
    }
    Ok(ExitCode::SUCCESS)
}
