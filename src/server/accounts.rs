//! Looks at what live sessions rest on: the accounts behind them, again and again, and all that their rules need when something
//! happened in their project.

use crate::issuance::Issuance;
use crate::telemetry::{Metrics, Shutdown, chain};
use std::sync::Arc;

/// Ends what lives of those whose account may not act any more. A directory that is away ends nothing.
pub(super) async fn look_at_accounts(issuance: Arc<Issuance>, metrics: Metrics, shutdown: Shutdown) {
    let Some(directory) = &issuance.directory else { return shutdown.wait().await };
    loop {
        let next = issuance.now() + directory.settings().look_every;
        tokio::select! {
            () = shutdown.wait() => return,
            () = issuance.clock.wait_until(next) => {}
        }
        if !issuance.sessions.leads() {
            continue;
        }
        tokio::select! {
            () = shutdown.wait() => return,
            looked = issuance.end_departed(directory) => match looked {
                Ok(_ended) => metrics.accounts_looked_at(issuance.now()),
                Err(fault) => tracing::warn!(fault = chain(&fault), "the accounts behind live sessions cannot be looked at"),
            },
        }
    }
}

/// Judges anew what lives in a project as soon as something happened there.
pub(super) async fn judge_when_something_happens(issuance: Arc<Issuance>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            () = issuance.something_happens() => {}
        }
        tokio::select! {
            () = shutdown.wait() => return,
            ended = issuance.judge_anew() => if ended > 0 {
                tracing::info!("{ended} sessions end: what their rules need is met no more");
            },
        }
    }
}
