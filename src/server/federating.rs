//! Keeps what we hold of other trust domains equal to its sources, and apart from what is ours.

use crate::authority::{Authorities, Published};
use crate::clock::Clock;
use crate::federation::{Federation, Follower};
use crate::telemetry::{Shutdown, chain};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Until shutdown.
pub(super) async fn federate(
    (federation, followers): (Federation, Vec<Follower>),
    authorities: Arc<Authorities>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) {
    let following = follow((&federation, followers), &clock, &shutdown);
    let reviewing = review((&federation, authorities.published()), &*clock, &shutdown);
    tokio::join!(following, reviewing);
}

/// Those that are there, and those that come by operators' words.
async fn follow((federation, followers): (&Federation, Vec<Follower>), clock: &Arc<dyn Clock>, shutdown: &Shutdown) {
    let mut running = JoinSet::new();
    for follower in followers {
        running.spawn(follower.run(Arc::clone(clock), shutdown.clone()));
    }
    let Some(mut newcomers) = federation.newcomers() else { return shutdown.wait().await };
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            Some(follower) = newcomers.recv() => drop(running.spawn(follower.run(Arc::clone(clock), shutdown.clone()))),
            Some(_over) = running.join_next() => {}
        }
    }
    while running.join_next().await.is_some() {}
}

/// Holds what others have against ours, now and whenever ours changes.
async fn review(
    (federation, mut ours): (&Federation, watch::Receiver<Arc<Published>>),
    clock: &dyn Clock,
    shutdown: &Shutdown,
) {
    loop {
        if let Err(fault) = federation.review(clock.now()).await {
            tracing::error!(why = chain(&fault), "a foreign bundle cannot be set aside");
        }
        tokio::select! {
            () = shutdown.wait() => return,
            // Without the rotator there is nothing new.
            changed = ours.changed() => if changed.is_err() { return shutdown.wait().await },
        }
    }
}
