//! What this replica hears of the others, and what it and operators know of how far it is behind.

use crate::authority::Holders;
use crate::clock::Clock;
use crate::federation::Federation;
use crate::issuance::Issuance;
use crate::store::{Behind, Heard, Peer, Replica};
use crate::telemetry::{Metrics, Readiness, Shutdown, chain};
use std::sync::Arc;
use std::time::Duration;

/// What `/ready` says besides while nobody answers for a quorum.
const ALONE: &str =
    "the replicas' store does not answer: no new session begins, live ones are renewed for one ttl at most";
/// And while not all decide by the same rules.
const DIFFER: &str = "replicas differ in their rules: the log says who has which";
/// Later than the others by more than this is worth a worry; well above what an election of etcd takes.
const WORRY_AFTER: Duration = Duration::from_secs(3);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Until shutdown; where there are no replicas there is nothing to do.
pub(super) async fn follow_replicas(
    replica: Option<Arc<Replica>>,
    heard: (Arc<Issuance>, Federation, Holders),
    (clock, readiness, metrics): (Arc<dyn Clock>, Readiness, Metrics),
    shutdown: Shutdown,
) {
    let Some(replica) = replica else { return shutdown.wait().await };
    let issuance = Arc::clone(&heard.0);
    tokio::select! {
        () = shutdown.wait() => {}
        () = hear(&replica, heard) => shutdown.wait().await,
        () = look((&replica, &issuance), (&*clock, &readiness, &metrics)) => {}
    }
}

/// Everything, in the order in which it was written.
async fn hear(replica: &Replica, (issuance, federation, holders): (Arc<Issuance>, Federation, Holders)) {
    let Some(mut all) = replica.etcd().heard() else { return };
    while let Some(heard) = all.recv().await {
        let now = issuance.now();
        let sessions = issuance.sessions.hear(&issuance.ledger, &heard, now).await.map_err(|fault| chain(&fault));
        let bundles = federation.hear(&heard, now).await.map_err(|fault| chain(&fault));
        let confirmed = holders.hear(&heard).map_err(|fault| chain(&fault));
        let Heard { key, .. } = &heard;
        for why in [sessions.err(), bundles.err(), confirmed.err()].into_iter().flatten() {
            tracing::error!(key, why, "what another replica wrote cannot be taken in");
        }
    }
}

async fn look(
    (replica, issuance): (&Replica, &Issuance),
    (clock, readiness, metrics): (&dyn Clock, &Readiness, &Metrics),
) {
    let etcd = replica.etcd();
    let (mut alone, mut apart) = (None, None);
    loop {
        etcd.introduce(&Peer {
            replica: etcd.replica().to_owned(),
            process: etcd.process().to_owned(),
            policy: issuance.policy.now().digest().to_string(),
            journal: replica.journal_is_at(),
        });
        let Behind { unconfirmed_for, revision } = replica.behind();
        metrics.replica_is(unconfirmed_for, revision, etcd.leads());
        readiness.stands(format!(
            "replica {} at revision {revision}, {:.1} s behind{}",
            etcd.replica(),
            unconfirmed_for.as_secs_f64(),
            if etcd.leads() { ", leading" } else { "" }
        ));
        alone = (unconfirmed_for > WORRY_AFTER).then(|| alone.take().unwrap_or_else(|| readiness.worry(ALONE)));
        let differing = etcd.differing_policies();
        metrics.replicas_differ(!differing.is_empty());
        apart = match (differing.is_empty(), apart.take()) {
            (true, _) => None,
            (false, Some(worry)) => Some(worry),
            (false, None) => {
                for Peer { replica, policy, .. } in &differing {
                    tracing::warn!(replica, policy, "replicas differ in their rules");
                }
                Some(readiness.worry(DIFFER))
            }
        };
        clock.wait_until(clock.now() + LOOK_EVERY).await;
    }
}
