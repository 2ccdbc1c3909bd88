//! What this replica hears of the others, and what it and operators know of how far it is behind.

use crate::authority::{AgentsHeard, Holders};
use crate::clock::Clock;
use crate::crypto::KeyId;
use crate::federation::Federation;
use crate::issuance::Issuance;
use crate::store::{Behind, ClockStand, Etcd, Heard, Peer, Replica, Revision};
use crate::telemetry::{Metrics, Readiness, Shutdown, Standing, chain};
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What `/ready` says besides while nobody answers for a quorum.
const ALONE: &str =
    "the replicas' store does not answer: no new session begins, live ones are renewed for one ttl at most";
/// And while not all decide by the same rules.
const DIFFER: &str = "replicas differ in their rules: the log says who has which";
/// And while keys that others have changed cannot be used here.
const UNFIT: &str = "another replica's keyring cannot be taken: the log says why, and it is tried again";
/// Not ready while this replica's clock is not to be believed.
const APART: &str = "the clock, which is apart from other replicas': the log says from whose, and which way";
/// Not ready either, since nothing is written.
const WENT_BACK: &str = "an operator: etcd was restored and has lost what was written since";
/// Later than the others by more than this is worth a worry; well above what an election of etcd takes.
const WORRY_AFTER: Duration = Duration::from_secs(3);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Which agents own live sessions is looked at in each of so many looks: there may be a hundred thousand sessions.
const OWNERS_EVERY: u32 = 5;

/// Which keyring of others cannot be taken.
type Unfit = Option<watch::Receiver<Option<Revision>>>;

/// Until shutdown; where there are no replicas there is nothing to do.
pub(super) async fn follow_replicas(
    replica: Option<Arc<Replica>>,
    (heard, unfit): ((Arc<Issuance>, Federation, Holders), Unfit),
    (clock, readiness, metrics): (Arc<dyn Clock>, Readiness, Metrics),
    shutdown: Shutdown,
) {
    let Some(replica) = replica else { return shutdown.wait().await };
    let (issuance, holders) = (Arc::clone(&heard.0), heard.2.clone());
    tokio::select! {
        () = shutdown.wait() => {}
        never = hear(&replica, heard) => match never {},
        () = look((&replica, &issuance, &holders, unfit), (&*clock, &readiness, &metrics)) => {}
    }
}

/// Everything, in about the order in which it was written.
async fn hear(replica: &Replica, (issuance, federation, holders): (Arc<Issuance>, Federation, Holders)) -> Infallible {
    let mut all = replica.etcd().hearing();
    loop {
        let heard = all.next().await;
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

fn standing(replica: &Replica, clocks: &ClockStand) -> Standing {
    let (Behind { unconfirmed_for, revision }, etcd) = (replica.behind(), replica.etcd());
    Standing {
        replica: etcd.replica().to_owned(),
        revision,
        behind_seconds: unconfirmed_for.as_secs_f64(),
        leads: etcd.leads(),
        clocks_apart: if clocks.apart.is_empty() { String::new() } else { clocks.apart_in_words() },
        went_back: replica.went_back(),
    }
}

/// The agents that talk to us, of those whose sessions live, as long as they are waited for.
fn agents_here(issuance: &Issuance, holders: &Holders, live: &HashSet<KeyId>) -> serde_json::Value {
    let (now, policy) = (issuance.now(), issuance.policy.now());
    let heard = holders.heard_since(now - policy.longest_ttl(), |owner| live.contains(owner));
    serde_json::to_value(heard).unwrap_or_default()
}

/// Those that talk to the others.
fn agents_elsewhere(etcd: &Etcd) -> Vec<(String, AgentsHeard)> {
    let others = etcd.peers().into_iter().filter(|peer| peer.replica != etcd.replica());
    others.filter_map(|peer| Some((peer.replica, serde_json::from_value(peer.more).ok()?))).collect()
}

async fn look(
    (replica, issuance, holders, unfit): (&Replica, &Issuance, &Holders, Unfit),
    (clock, readiness, metrics): (&dyn Clock, &Readiness, &Metrics),
) {
    let etcd = replica.etcd();
    let (mut alone, mut apart, mut wrong, mut misfit, mut gone) = (None, None, None, None, None);
    let (mut owners, mut looks) = (HashSet::new(), 0..);
    loop {
        if looks.next().is_some_and(|look: u32| look.is_multiple_of(OWNERS_EVERY)) {
            owners = issuance.sessions.owners(issuance.now());
        }
        etcd.introduce(&Peer {
            replica: etcd.replica().to_owned(),
            process: etcd.process().to_owned(),
            policy: issuance.policy.now().digest().to_string(),
            journal: replica.journal_is_at(),
            more: agents_here(issuance, holders, &owners),
        });
        holders.hear_of(agents_elsewhere(etcd));
        let (Behind { unconfirmed_for, revision }, clocks) = (replica.behind(), etcd.clocks());
        metrics.replica_is(unconfirmed_for, revision, etcd.leads());
        metrics.replica_clock_is_apart(clocks.is_apart());
        wrong = clocks.is_apart().then(|| wrong.take().unwrap_or_else(|| readiness.wait_for(APART)));
        let cannot = unfit.as_ref().is_some_and(|unfit| unfit.borrow().is_some());
        misfit = cannot.then(|| misfit.take().unwrap_or_else(|| readiness.worry(UNFIT)));
        let stands = standing(replica, &clocks);
        metrics.replica_store_went_back(stands.went_back.is_some());
        gone = stands.went_back.as_ref().map(|_| gone.take().unwrap_or_else(|| readiness.wait_for(WENT_BACK)));
        readiness.stands(stands);
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
