//! Looks at the accounts behind live sessions, again and again.

use crate::issuance::Issuance;
use crate::telemetry::{Shutdown, chain};
use std::sync::Arc;

/// Ends what lives of those whose account may not act any more. A directory that is away ends nothing.
pub(super) async fn look_at_accounts(issuance: Arc<Issuance>, shutdown: Shutdown) {
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
            looked = issuance.end_departed(directory) => if let Err(fault) = looked {
                tracing::warn!(fault = chain(&fault), "the accounts behind live sessions cannot be looked at");
            },
        }
    }
}
