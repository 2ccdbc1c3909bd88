//! Keeps the copy: a watch, a new one when it breaks off, a new listing when etcd has forgotten what we missed.

use super::Etcd;
use super::clocks::CLOCKS;
use super::error::Fault;
use super::proto::event::EventType;
use super::proto::watch_request::RequestUnion;
use super::proto::{Event, WatchCreateRequest, WatchRequest};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often it is asked whether the copy shows everything: a revocation elsewhere is in force here within a second, or
/// it is known that it may not be.
const CONFIRM_EVERY: Duration = Duration::from_millis(300);
/// For the question how far etcd has come.
const CONFIRM_WITHIN: Duration = Duration::from_millis(1500);
/// A watch that brings less than etcd has for so long is of a member that is cut off.
const BROUGHT_WITHIN: Duration = Duration::from_millis(700);
/// Between two attempts to watch.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// A listing of everything; more than a hundred pages.
const LIST_WITHIN: Duration = Duration::from_secs(30);
/// A watch that is not even begun.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);

/// Ends with its etcd.
#[derive(Debug)]
pub(super) struct Follower(pub(super) Weak<Etcd>);

impl Follower {
    pub(super) async fn run(self) {
        while let Some(etcd) = self.0.upgrade() {
            let place = etcd.client.place();
            let lost = tokio::select! {
                lost = watch(&etcd) => lost,
                lost = confirm(&etcd) => lost,
                lost = etcd.lead.keep(&etcd) => lost,
            };
            tracing::debug!(why = ?lost, "the watch of etcd begins anew");
            match lost {
                Fault::Compacted => drop(etcd.list(Instant::now() + LIST_WITHIN).await),
                Fault::Away(_) | Fault::Refused(_) | Fault::WentBack(_) => etcd.client.turn(place),
            }
            drop(etcd);
            sleep(RETRY_AFTER).await;
        }
    }
}

/// Takes what comes until nothing does.
async fn watch(etcd: &Arc<Etcd>) -> Fault {
    // Whatever it brings must be of the etcd that we know.
    if let Err(fault) = etcd.newest_tick(Instant::now() + BEGIN_WITHIN).await {
        return fault;
    }
    let start_revision = i64::try_from(etcd.copy.at().saturating_add(1)).unwrap_or(i64::MAX);
    let (key, range_end) = (etcd.prefix.key(""), etcd.prefix.end());
    let create = WatchCreateRequest { key, range_end, start_revision };
    let wish = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let mut brought = match timeout(BEGIN_WITHIN, etcd.client.watch(wish)).await {
        Ok(Ok(brought)) => brought,
        Ok(Err(fault)) => return fault,
        Err(_late) => return Fault::Away("no watch within two seconds".to_owned()),
    };
    // A restored etcd begins as another process: whatever this watch brings is of the one that answers now.
    match etcd.has_another_past(Instant::now() + BEGIN_WITHIN).await {
        Ok(false) => {}
        // What was missed no watch can bring.
        Ok(true) => return Fault::Compacted,
        Err(fault) => return fault,
    }
    loop {
        match brought.message().await {
            Ok(Some(response)) if response.compact_revision > 0 => return Fault::Compacted,
            Ok(Some(response)) if response.canceled => {
                // A watch says so of a token that is too old.
                etcd.client.forget_token();
                return Fault::Away(response.cancel_reason);
            }
            Ok(Some(response)) => take(etcd, response.events),
            Ok(None) => return Fault::Away("the watch has ended".to_owned()),
            Err(status) => return Fault::Away(status.message().to_owned()),
        }
    }
}

fn take(etcd: &Etcd, events: Vec<Event>) {
    let clocks = events.iter().filter_map(|event| Some((etcd.prefix.name(&event.kv.as_ref()?.key)?, event)));
    for (replica, event) in clocks.filter_map(|(name, event)| Some((name.strip_prefix(CLOCKS)?, event))) {
        let reading = event.kv.as_ref().and_then(|kv| serde_json::from_slice(&kv.value).ok());
        match (event.r#type(), reading) {
            (EventType::Put, Some(reading)) => etcd.clocks.hear(replica, reading),
            (EventType::Put, None) => {}
            (EventType::Delete, _) => etcd.clocks.forget(replica),
        }
    }
    for (replica, at) in etcd.copy.take(events) {
        etcd.tide.ticked(&replica, at);
    }
}

/// Asks again and again whether the copy shows everything; ends when the watch does not bring it.
async fn confirm(etcd: &Arc<Etcd>) -> Fault {
    loop {
        let asked = etcd.tide.moment();
        let tick = match etcd.newest_tick(Instant::now() + CONFIRM_WITHIN).await {
            Ok(tick) => tick,
            Err(fault) => {
                etcd.tide.is_silent();
                return fault;
            }
        };
        if timeout(BROUGHT_WITHIN, etcd.copy.reaches(tick)).await.is_err() {
            return Fault::Away("the watch does not bring what etcd has".to_owned());
        }
        etcd.tide.confirm(asked);
        sleep(CONFIRM_EVERY).await;
    }
}
