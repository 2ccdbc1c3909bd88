//! Joins the authority above ours: its roots, its first answer, and whoever asks it later.

use super::ServerError;
use crate::authority::{Rotator, UpstreamState};
use crate::clock::Clock;
use crate::config::ServerSettings;
use crate::telemetry::{Metrics, Shutdown};
use crate::upstream::{
    AnswerError, Certified, UpstreamError, UpstreamKeeper, UpstreamRoot, UpstreamSettings, Wanted, ask_once,
};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// The first intermediate, and its root. Without it there is no CA, so that a server which gets none does not start.
pub(super) async fn first_above(
    upstream: &UpstreamSettings,
    wanted: Wanted,
    (clock, least): (&Arc<dyn Clock>, Duration),
) -> Result<(UpstreamRoot, Certified), ServerError> {
    let roots = upstream.roots.read(clock.now())?;
    let offer = ask_once(upstream.connect(), wanted, &roots, (Arc::clone(clock), least)).await?;
    let root = roots.into_iter().find(|root| root.name == offer.root);
    let root = root.ok_or(UpstreamError::Answer(AnswerError::Count { count: 0 }))?;
    Ok((root, offer))
}

/// Puts the rotator under the authority that is configured, and gives whoever asks it.
pub(super) fn put_under(
    rotator: Rotator,
    settings: &ServerSettings,
    now: OffsetDateTime,
) -> Result<(Rotator, Option<UpstreamKeeper>), ServerError> {
    let Some(upstream) = &settings.upstream else { return Ok((rotator, None)) };
    let roots = upstream.roots.read(now)?;
    let read = (upstream.roots.clone(), roots.clone());
    let (keeper, ends) = UpstreamKeeper::new(upstream.connect(), read, settings.lifetimes.svid);
    Ok((rotator.under(roots, ends), Some(keeper)))
}

/// Asks it when that is due, and shows whether it answers.
pub(super) async fn keep_upstream(
    (keeper, state): (UpstreamKeeper, watch::Receiver<UpstreamState>),
    (clock, metrics): (Arc<dyn Clock>, Metrics),
    shutdown: Shutdown,
) {
    let metered = meter(state, metrics, shutdown.clone());
    tokio::join!(keeper.run(clock, shutdown), metered);
}

async fn meter(mut state: watch::Receiver<UpstreamState>, metrics: Metrics, shutdown: Shutdown) {
    loop {
        let now = state.borrow_and_update().clone();
        now.ends_at.inspect(|ends_at| metrics.upstream_stands(now.failures, *ends_at));
        tokio::select! {
            () = shutdown.wait() => return,
            changed = state.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}
