//! The accept loop that all ports share.

use crate::telemetry::Shutdown;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// After shutdown, what was begun may still end; then the rest is cut.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// An accept that did not work (no file descriptors left) will not work a microsecond later either.
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves what `poll` accepts, each connection in a task of its own, until shutdown and the drain after it. `serve` says
/// on which runtime, and turns a connection away by giving none.
pub(super) async fn listen<C, F>(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<C>>,
    serve: impl Fn(C) -> Option<(F, Handle)>,
    shutdown: &Shutdown,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut stop = pin!(shutdown.wait());
    loop {
        tokio::select! {
            () = stop.as_mut() => break,
            Some(_ended) = connections.join_next() => {}
            accepted = poll_fn(&mut poll) => match accepted.map(&serve) {
                Ok(Some((connection, runtime))) => { connections.spawn_on(connection, &runtime); }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(REST_AFTER_ERROR).await;
                }
            }
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WITHIN, drained).await.is_err() {
        tracing::warn!(left = connections.len(), "some connections did not end in time and are cut");
    }
}
