//! Who does what one replica is enough for: the holder of a lease. Nothing rests on it; revisions decide who wins.

use super::Etcd;
use super::error::Fault;
use super::proto::compare::{Result as Wanted, Target, TargetUnion};
use super::proto::request_op::Request as Op;
use super::proto::{Compare, PutRequest, RequestOp, TxnRequest};
use super::request::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Where the holder stands.
const KEY: &str = "~lead";
/// A replica that died is followed by another within about so many seconds.
const LEASE_SECONDS: i64 = 5;
/// Three times in the life of a lease.
const KEEP_EVERY: Duration = Duration::from_millis(1500);

/// Whether this replica leads.
#[derive(Debug, Default)]
pub(super) struct Lead(watch::Sender<bool>);

impl Lead {
    pub(super) fn is_ours(&self) -> bool {
        *self.0.borrow()
    }

    /// Tries for the lease and keeps it; ends, leading no more, when etcd cannot be asked.
    pub(super) async fn keep(&self, etcd: &Arc<Etcd>) -> Fault {
        let mut ending = Ending { lead: self, lease: None };
        loop {
            match turn(etcd, &mut ending.lease).await {
                Ok(leads) => self.tell(leads),
                Err(fault) => return fault,
            }
            sleep(KEEP_EVERY).await;
        }
    }

    fn tell(&self, leads: bool) {
        if self.0.send_if_modified(|told| std::mem::replace(told, leads) != leads) {
            tracing::info!(leads, "the lease of periodic work");
        }
    }
}

/// Whoever does not keep the lease does not lead.
struct Ending<'a> {
    lead: &'a Lead,
    lease: Option<i64>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.lead.tell(false);
    }
}

/// One look: whether we lead now.
async fn turn(etcd: &Arc<Etcd>, lease: &mut Option<i64>) -> Result<bool, Fault> {
    let id = match *lease {
        Some(id) if etcd.client.keep_alive(id).await? => id,
        Some(_) | None => {
            let id = etcd.client.grant(LEASE_SECONDS).await?;
            *lease = Some(id);
            id
        }
    };
    let key = etcd.prefix.key(KEY);
    let free = Compare {
        result: Wanted::Equal.into(),
        target: Target::Version.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::Version(0)),
    };
    let put = Op::Put(PutRequest { key, value: json(&etcd.copy.writer), lease: id });
    let success = vec![RequestOp { request: Some(put) }];
    let taken = etcd.client.txn(TxnRequest { compare: vec![free], success, failure: Vec::new() }).await?.succeeded;
    let holder = etcd.copy.own(KEY).pop();
    let is_ours = holder.is_some_and(|(_, kept)| kept.value.get().as_bytes() == &*json(&etcd.copy.writer));
    Ok(taken || is_ours)
}
