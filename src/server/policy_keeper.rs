//! Reads the policy again: when an operator asks, at SIGHUP, and when its file has changed. A policy with problems changes
//! nothing.

use crate::api::{NotReloaded, Reload, Reloaded};
use crate::audit::{Changes, Entry, Ledger};
use crate::clock::Clock;
use crate::config::{CheckedPolicy, PolicySource, Problem, ServerSettings};
use crate::federation::Federation;
use crate::issuance::PolicyInUse;
use crate::stamp::Stamp;
use crate::telemetry::{Metrics, Shutdown, chain};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Soon enough for whoever saves a file and looks; rare enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Keeps the policy in use equal to its file.
#[derive(Debug)]
pub(super) struct PolicyKeeper {
    source: Arc<PolicySource>,
    in_use: PolicyInUse,
    federation: Federation,
    ledger: Ledger,
    metrics: Metrics,
    asked: mpsc::Receiver<Reload>,
}

/// Who wants it to be read again.
#[derive(Clone, Copy, Debug)]
enum By {
    File,
    Operator(u32),
    Signal,
}

impl PolicyKeeper {
    pub(super) fn new(
        settings: &ServerSettings,
        (in_use, federation): (PolicyInUse, Federation),
        (ledger, metrics): (Ledger, Metrics),
        asked: mpsc::Receiver<Reload>,
    ) -> Self {
        Self { source: Arc::new(settings.policy_source.clone()), in_use, federation, ledger, metrics, asked }
    }

    /// Runs until shutdown.
    pub(super) async fn run(mut self, clock: Arc<dyn Clock>, shutdown: Shutdown) {
        let mut hangups = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be heard, and will not reload the policy"))
            .ok();
        // Not looked at before: the file may have changed since it was read at start.
        let mut seen = None;
        loop {
            let stamp = Stamp::of(&self.source.place);
            if seen.as_ref() != Some(&stamp) {
                seen = Some(stamp);
                self.told(By::File).await;
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = clock.wait_until(clock.now() + LOOK_EVERY) => {}
                () = heard(&mut hangups) => {
                    seen = Some(Stamp::of(&self.source.place));
                    self.told(By::Signal).await;
                }
                Some(Reload { uid, answer }) = self.asked.recv() => {
                    seen = Some(Stamp::of(&self.source.place));
                    let outcome = self.reload(By::Operator(uid)).await;
                    // Whoever asked may have gone; journal and log tell it too.
                    let _untold = answer.send(outcome).is_err();
                }
            }
        }
    }

    /// For those who read the outcome in log and metrics only; of rules that are the same, both say only that.
    async fn told(&self, by: By) {
        if self.is_unchanged().await {
            self.metrics.policy_read("unchanged");
        } else if let Err(kept) = self.reload(by).await {
            tracing::debug!(why = %kept, "the policy was not reloaded");
        }
    }

    /// To load ten thousand rules takes ten times the memory of their texts, and to compare these almost none.
    async fn is_unchanged(&self) -> bool {
        let (source, digest) = (Arc::clone(&self.source), *self.in_use.now().digest());
        tokio::task::spawn_blocking(move || source.still_has(&digest)).await.unwrap_or(false)
    }

    async fn reload(&self, by: By) -> Result<Reloaded, NotReloaded> {
        let outcome = self.change(by).await;
        let old = self.in_use.now();
        match &outcome {
            Ok(reloaded) if reloaded.old == reloaded.new => self.metrics.policy_read("unchanged"),
            Ok(reloaded) => {
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(old = %reloaded.old, new = %reloaded.new, by = by.as_str(), "the policy has changed");
                self.metrics.policy_read("changed");
            }
            Err(NotReloaded::Problems(problems)) => {
                for problem in problems {
                    tracing::error!(%problem, "a problem of the policy");
                }
                tracing::error!(
                    problems = problems.len(),
                    kept = %old.digest(),
                    by = by.as_str(),
                    "the policy was not reloaded; the former one stays"
                );
                self.metrics.policy_read("refused");
            }
            Err(NotReloaded::Stopped | NotReloaded::Unrecorded) => self.metrics.policy_read("failed"),
        }
        outcome
    }

    /// Recorded first, then in use: no decision is made by a policy that the journal does not know.
    async fn change(&self, by: By) -> Result<Reloaded, NotReloaded> {
        let source = Arc::clone(&self.source);
        // Ten thousand rules take a while, which is no work for a thread that serves others.
        let loaded = tokio::task::spawn_blocking(move || source.load()).await.map_err(|_gone| NotReloaded::Stopped)?;
        let words = |all: Vec<Problem>| all.iter().map(ToString::to_string).collect();
        let CheckedPolicy { policy, warnings } = loaded.map_err(|all| NotReloaded::Problems(words(all)))?;
        let (old, new) = (*self.in_use.now().digest(), *policy.digest());
        let (rules, refusals) = (policy.rules().len(), policy.refusals().len());
        let mut warnings: Vec<String> = words(warnings);
        warnings.extend(self.federation.unheld(&policy));
        let reloaded = Reloaded { old, new, rules, refusals, warnings };
        if old == new {
            return Ok(reloaded);
        }
        let uid = if let By::Operator(uid) = by { Some(uid) } else { None };
        let entry = Entry::PolicyChanged { old, new, by: by.as_str(), uid };
        self.ledger.commit(&entry, Changes::default()).await.map_err(|fault| {
            tracing::error!(why = chain(&fault), "the policy stays: its change cannot be recorded");
            NotReloaded::Unrecorded
        })?;
        self.in_use.replace(policy);
        Ok(reloaded)
    }
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Operator(_) => "operator",
            Self::Signal => "signal",
        }
    }
}

/// Resolves at SIGHUP; never where it cannot be heard.
async fn heard(hangups: &mut Option<Signal>) {
    let heard = match hangups {
        Some(hangups) => hangups.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}
