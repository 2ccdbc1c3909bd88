//! Joins the authority above ours: its roots, its first answer, and whoever asks it later.

use super::ServerError;
use crate::authority::{Rotator, UpstreamState};
use crate::clock::Clock;
use crate::config::ServerSettings;
use crate::telemetry::{Metrics, Readiness, Shutdown};
use crate::upstream::{
    AnswerError, CertManager, Certified, RootsFile, Upstream, UpstreamError, UpstreamKeeper, UpstreamKind,
    UpstreamRoot, UpstreamSettings, VaultPki, Wanted, ask_once,
};
use crate::vault::Vault;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// What `/ready` says besides when no intermediate comes and the one in use ends soon.
const ALARM: &str = "the upstream authority gives no intermediate: lanyard authority plan";

/// The authority above ours, ready to be asked.
pub(super) struct Connected {
    upstream: Arc<dyn Upstream>,
    roots: RootsFile,
    /// For how long an answer must be of use at least: as long as an SVID.
    least: Duration,
}

/// Makes ready what is configured; none where our own roots sign.
pub(super) fn connect(settings: &ServerSettings, vault: Option<&Arc<Vault>>) -> Option<Connected> {
    let UpstreamSettings { roots, kind } = settings.upstream.as_ref()?;
    let upstream: Arc<dyn Upstream> = match kind {
        UpstreamKind::CertManager(wish) => Arc::new(CertManager::new(wish.clone())),
        UpstreamKind::Disk(disk) => Arc::new(disk.clone()),
        UpstreamKind::VaultPki(pki) => Arc::new(VaultPki::new(Arc::clone(vault?), pki.clone())),
    };
    Some(Connected { upstream, roots: roots.clone(), least: settings.keys.lifetimes.svid })
}

impl Connected {
    /// The first intermediate, and its root. Without it there is no CA, so that a server which gets none does not start.
    pub(super) async fn first(
        &self,
        wanted: Wanted,
        clock: &Arc<dyn Clock>,
    ) -> Result<(UpstreamRoot, Certified), ServerError> {
        let roots = self.roots.read(clock.now())?;
        let upstream = Arc::clone(&self.upstream);
        let offer = ask_once(upstream, wanted, &roots, (Arc::clone(clock), self.least)).await?;
        let root = roots.into_iter().find(|root| root.name == offer.root);
        let root = root.ok_or(UpstreamError::Answer(AnswerError::Count { count: 0 }))?;
        Ok((root, offer))
    }
}

/// Puts the rotator under it, and gives whoever asks it.
pub(super) fn put_under(
    rotator: Rotator,
    above: Option<Connected>,
    now: OffsetDateTime,
) -> Result<(Rotator, Option<UpstreamKeeper>), ServerError> {
    let Some(Connected { upstream, roots: file, least }) = above else { return Ok((rotator, None)) };
    let roots = file.read(now)?;
    let (keeper, ends) = UpstreamKeeper::new(upstream, (file, roots.clone()), least);
    Ok((rotator.under(roots, ends), Some(keeper)))
}

/// What asks, and how it stands.
type Asking = (UpstreamKeeper, watch::Receiver<UpstreamState>);

/// Asks it when that is due, and shows whether it answers.
pub(super) async fn keep_upstream(
    (above, clock): (Option<Asking>, Arc<dyn Clock>),
    shown: (Readiness, Metrics),
    shutdown: Shutdown,
) {
    let Some((keeper, state)) = above else { return shutdown.wait().await };
    let metered = meter(state, shown, shutdown.clone());
    tokio::join!(keeper.run(clock, shutdown), metered);
}

async fn meter(
    mut state: watch::Receiver<UpstreamState>,
    (readiness, metrics): (Readiness, Metrics),
    shutdown: Shutdown,
) {
    loop {
        let now = state.borrow_and_update().clone();
        let _worry = now.is_alarm.then(|| readiness.worry(ALARM));
        now.ends_at.inspect(|ends_at| metrics.upstream_stands(now.failures, *ends_at));
        tokio::select! {
            () = shutdown.wait() => return,
            changed = state.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}
