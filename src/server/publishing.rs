//! Keeps what we publish by ourselves, and shows whether that can be written.

use crate::authority::{Holders, Published};
use crate::clock::Clock;
use crate::publish::Publisher;
use crate::telemetry::{Metrics, Readiness, Shutdown};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What `/ready` says besides while one of them cannot.
const WORRY: &str = "the trust bundle cannot be written everywhere: lanyard authority plan";
/// Whoever watches does not look more often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs all of them until shutdown.
pub(super) async fn keep_published(
    (publishers, holders, published): (Vec<Publisher>, Holders, watch::Receiver<Arc<Published>>),
    (clock, readiness, metrics): (Arc<dyn Clock>, Readiness, Metrics),
    shutdown: Shutdown,
) {
    let mut running = JoinSet::new();
    for publisher in publishers {
        running.spawn(publisher.run(published.clone(), Arc::clone(&clock), shutdown.clone()));
    }
    if running.is_empty() {
        return shutdown.wait().await;
    }
    let metering = async {
        loop {
            let troubled = holders.troubles().len();
            metrics.publishers_fail(troubled);
            let _worry = (troubled > 0).then(|| readiness.worry(WORRY));
            clock.wait_until(clock.now() + LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown.wait() => {}
        () = metering => {}
    }
    while running.join_next().await.is_some() {}
}
