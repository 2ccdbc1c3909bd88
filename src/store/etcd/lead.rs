//! Who does what one replica is enough for: the holder of a lease. Nothing rests on it; revisions decide who wins.

use super::Etcd;
use super::clocks::CLOCKS;
use super::cluster::REPLICAS;
use super::error::Fault;
use super::proto::compare::{Result as Wanted, Target, TargetUnion};
use super::proto::request_op::Request as Op;
use super::proto::{Compare, PutRequest, RequestOp, TxnRequest};
use super::reconcile::KNOWN;
use super::request::json;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Where the holder stands.
pub(super) const KEY: &str = "~lead";
/// A replica that died is followed by another within about so many seconds.
const LEASE_SECONDS: i64 = 5;
/// What stands under the name of a replica that is known: its name says all.
const NOTHING: Bytes = Bytes::from_static(b"{}");
/// Three times in the life of a lease.
const KEEP_EVERY: Duration = Duration::from_millis(1500);
/// Two processes of one name would answer each other's words as fast as etcd takes them.
const ANSWER_EVERY: Duration = Duration::from_millis(250);

/// Whether this replica leads.
#[derive(Debug, Default)]
pub(super) struct Lead {
    is_ours: watch::Sender<bool>,
    /// What the others are told of this replica while its lease lives.
    introduction: ArcSwapOption<Bytes>,
}

impl Lead {
    pub(super) fn is_ours(&self) -> bool {
        *self.is_ours.borrow()
    }

    pub(super) fn introduce(&self, of: Bytes) {
        self.introduction.store(Some(Arc::new(of)));
    }

    /// Tries for the lease and keeps it; ends, leading no more, when etcd cannot be asked.
    pub(super) async fn keep(&self, etcd: &Arc<Etcd>) -> Fault {
        let mut ending = Ending { lead: self, lease: None, told: None };
        loop {
            let began = Instant::now();
            match turn(etcd, &mut ending).await {
                Ok(leads) => self.tell(leads),
                Err(fault) => return fault,
            }
            tokio::select! {
                () = sleep(KEEP_EVERY) => {}
                () = etcd.clocks.news.notified() => sleep_until(began + ANSWER_EVERY).await,
            }
        }
    }

    fn tell(&self, leads: bool) {
        if self.is_ours.send_if_modified(|told| std::mem::replace(told, leads) != leads) {
            tracing::info!(leads, "the lease of periodic work");
        }
    }
}

/// Whoever does not keep the lease does not lead.
struct Ending<'a> {
    lead: &'a Lead,
    lease: Option<i64>,
    /// The introduction that hangs on it.
    told: Option<Arc<Bytes>>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.lead.tell(false);
    }
}

/// One look: whether we lead now.
async fn turn(etcd: &Arc<Etcd>, ending: &mut Ending<'_>) -> Result<bool, Fault> {
    let id = match ending.lease {
        Some(id) if etcd.client.keep_alive(id).await? => id,
        Some(_) | None => {
            let id = etcd.client.grant(LEASE_SECONDS).await?;
            (ending.lease, ending.told) = (Some(id), None);
            id
        }
    };
    let clock = PutRequest {
        key: etcd.prefix.key(&format!("{CLOCKS}{}", etcd.replica())),
        value: json(&etcd.clocks.reading()),
        lease: id,
    };
    let known = PutRequest { key: etcd.prefix.key(&format!("{KNOWN}{}", etcd.replica())), value: NOTHING, lease: 0 };
    let is_known = etcd.copy.own_revision(&format!("{KNOWN}{}", etcd.replica())).is_some();
    let known = (!is_known).then_some(known);
    let success = [clock].into_iter().chain(known).map(|put| RequestOp { request: Some(Op::Put(put)) }).collect();
    etcd.client.txn(TxnRequest { compare: Vec::new(), success, failure: Vec::new() }).await?;
    let introduction = etcd.lead.introduction.load_full();
    if let Some(of) = introduction.filter(|of| ending.told.as_ref() != Some(of)) {
        let key = etcd.prefix.key(&format!("{REPLICAS}{}", etcd.replica()));
        let put = Op::Put(PutRequest { key, value: Bytes::clone(&of), lease: id });
        let success = vec![RequestOp { request: Some(put) }];
        etcd.client.txn(TxnRequest { compare: Vec::new(), success, failure: Vec::new() }).await?;
        ending.told = Some(of);
    }
    let key = etcd.prefix.key(KEY);
    let free = Compare {
        result: Wanted::Equal.into(),
        target: Target::Version.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::Version(0)),
    };
    let put = Op::Put(PutRequest { key, value: json(&etcd.writer()), lease: id });
    let success = vec![RequestOp { request: Some(put) }];
    let taken = etcd.client.txn(TxnRequest { compare: vec![free], success, failure: Vec::new() }).await?.succeeded;
    let holder = etcd.copy.own(KEY).pop();
    let is_ours = holder.is_some_and(|(_, kept)| kept.value.get().as_bytes() == &*json(&etcd.writer()));
    Ok(taken || is_ours)
}
