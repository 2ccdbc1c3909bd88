//! etcd as a replica sees it before it has a journal: connected, copied, followed by a thread of its own.

use super::client::Client;
use super::copy::Copy;
use super::error::{EtcdError, Fault};
use super::follower::Follower;
use super::lead::Lead;
use super::proto::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use super::request::{Prefix, TICK, Tick, conflict, json, revision};
use super::tide::Tide;
use crate::store::{Condition, Heard, Revision, Stored, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::transport::Channel;

pub use super::client::EtcdLogin;

/// How long a start waits for a quorum.
const START_WITHIN: Duration = Duration::from_secs(20);
/// Keys of one page of a listing.
const PAGE: i64 = 1000;
/// How the names of replicas' own records begin.
pub(super) const REPLICAS: &str = "~replica/";
/// Where the sealed keys are.
const KEYRING: &str = "~keyring";

/// Makes the channels to the endpoints; called once, on the runtime that drives them.
pub type Channels = Box<dyn FnOnce() -> Vec<Channel> + Send>;

/// Which etcd, and who we are there.
#[derive(Clone, Debug)]
pub struct EtcdSettings {
    /// What all our keys begin with.
    pub prefix: String,
    /// What this replica is called.
    pub replica: String,
    /// As whom we come, where etcd asks.
    pub login: Option<EtcdLogin>,
}

/// What a replica tells the others of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Peer {
    /// What it is called.
    pub replica: String,
    /// Which process it is.
    pub process: String,
    /// What decides there.
    pub policy: String,
    /// How many records its journal has.
    pub journal: u64,
}

/// Something that is kept beside the store's keys, and when it was written; none where nobody has.
pub type Blob = Option<(Box<RawValue>, Revision)>;

/// A connected etcd; its thread ends with it.
#[derive(Debug)]
pub struct Etcd {
    pub(super) client: Client,
    pub(super) copy: Copy,
    pub(super) prefix: Prefix,
    pub(super) replica: String,
    pub(super) lead: Lead,
    pub(super) tide: Tide,
    next: AtomicU64,
    heard: Mutex<Option<mpsc::UnboundedReceiver<Heard>>>,
    runtime: Handle,
    thread: Mutex<Option<Thread>>,
}

/// What follows etcd, and what ends it.
type Thread = (oneshot::Sender<()>, JoinHandle<()>);

impl Etcd {
    /// Connects, copies what is there, and follows it from then on; blocks until that is done.
    ///
    /// # Errors
    /// `Away`, `Refused`, `Thread`.
    pub fn connect(settings: EtcdSettings, process: &str, channels: Channels) -> Result<Arc<Self>, EtcdError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(EtcdError::Thread)?;
        let channels = {
            let _inside = runtime.enter();
            channels()
        };
        let EtcdSettings { prefix, replica, login } = settings;
        let prefix = Prefix(prefix);
        let (copy, heard) = Copy::new(format!("{replica}/{process}"), prefix.clone());
        let etcd = Arc::new(Self {
            client: Client::new(channels, login),
            copy,
            prefix,
            replica,
            lead: Lead::default(),
            tide: Tide::new(),
            next: AtomicU64::new(1),
            heard: Mutex::new(Some(heard)),
            runtime: runtime.handle().clone(),
            thread: Mutex::new(None),
        });
        etcd.follow(runtime)?;
        Ok(etcd)
    }

    /// Lists what is there, and follows it from then on, on a thread of its own.
    fn follow(self: &Arc<Self>, runtime: Runtime) -> Result<(), EtcdError> {
        let (stop, stopped) = oneshot::channel();
        let (begun, begins) = std::sync::mpsc::channel();
        let (etcd, follower) = (Arc::clone(self), Follower(Arc::downgrade(self)));
        let run = async move {
            let listed = etcd.list(Instant::now() + START_WITHIN).await;
            etcd.tide.confirm(Instant::now());
            drop(etcd);
            let goes_on = listed.is_ok();
            // Whoever began this waits for it.
            drop(begun.send(listed));
            if !goes_on {
                return;
            }
            tokio::select! {
                _ = stopped => {}
                () = follower.run() => {}
            }
        };
        let run = move || runtime.block_on(run);
        let thread = Builder::new().name("etcd".to_owned()).spawn(run).map_err(EtcdError::Thread)?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, thread));
        let listed = begins.recv().unwrap_or_else(|_ended| Err(Fault::Away("its thread has ended".to_owned())));
        Ok(listed?)
    }

    /// What others write from now on, and what a new listing shows; for the one who keeps something of it in memory.
    pub fn heard(&self) -> Option<mpsc::UnboundedReceiver<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What this replica is called.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Which process of it this is.
    pub fn process(&self) -> &str {
        self.copy.writer.rsplit('/').next().unwrap_or_default()
    }

    /// Tells the others of this one, from now on, as long as it lives.
    pub fn introduce(&self, peer: &Peer) {
        self.lead.introduce(json(peer));
    }

    /// The replicas that are known, by name.
    pub fn peers(&self) -> Vec<Peer> {
        let told = self.copy.own(REPLICAS).into_iter();
        told.filter_map(|(_, kept)| serde_json::from_str(kept.value.get()).ok()).collect()
    }

    /// What replicas that live say of the rules they decide by, where it is not the same.
    pub fn differing_policies(&self) -> Vec<Peer> {
        let peers = self.peers();
        let differ = peers.iter().any(|peer| peers.first().is_some_and(|first| first.policy != peer.policy));
        if differ { peers } else { Vec::new() }
    }

    /// The sealed keys.
    pub fn keyring(&self) -> Blob {
        self.copy.own(KEYRING).pop().map(|(_, kept)| (kept.value, kept.revision))
    }

    /// Resolves when they are of none of these revisions.
    pub async fn keyring_changes(&self, known: [Option<Revision>; 2]) {
        let mut at = self.copy.watch();
        loop {
            if !known.contains(&self.copy.own_revision(KEYRING)) {
                return;
            }
            if at.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Whether work that is enough for one replica to do is this one's.
    pub fn leads(&self) -> bool {
        self.lead.is_ours()
    }

    /// Replaces the sealed keys if nobody else has; the new revision, or none.
    ///
    /// # Errors
    /// `Away`: it may have been done all the same.
    pub async fn replace_keyring(
        self: &Arc<Self>,
        sealed: Box<RawValue>,
        was: Option<Revision>,
    ) -> Result<Option<Revision>, EtcdError> {
        let key = KEYRING.to_owned();
        let condition = was.map_or(Condition::Absent(key.clone()), |was| Condition::Unchanged(key.clone(), was));
        let same = sealed.get().to_owned();
        let done = self.decide(vec![condition], vec![Write::Put(key, sealed)], DECIDED_WITHIN).await?;
        Ok(match done {
            Decided::Done(revision) => Some(revision),
            // An answer was lost, and the next attempt found our own word.
            Decided::Conflict { found: Some(found), .. } if found.value.get() == same => Some(found.revision),
            Decided::Conflict { .. } => None,
        })
    }

    /// Runs something on the thread that follows etcd, whether anybody waits for it or not.
    pub(super) fn carry_out<T: Send + 'static>(
        &self,
        deed: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        drop(self.runtime.spawn(async move { drop(answer.send(deed.await)) }));
        answered
    }

    /// Tries a transaction until it is known what became of it. A conflict is told once the copy shows what it was with.
    pub(super) async fn decide(
        self: &Arc<Self>,
        conditions: Vec<Condition>,
        writes: Vec<Write>,
        within: Duration,
    ) -> Result<Decided, Fault> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let tick = Tick { by: self.copy.writer.clone(), n };
        let txn = self.prefix.txn(&conditions, &writes, &tick);
        let (pending, until) = (self.copy.expect(n), Instant::now() + within);
        let mut unsure = false;
        loop {
            let fault = match self.ask(txn.clone()).await {
                Ok(answer) if answer.succeeded => return Ok(Decided::Done(at(&answer))),
                Ok(answer) => {
                    // The conflict stands, whatever can be shown of it.
                    drop(self.catch_up(until).await);
                    return Ok(match (pending.fate().filter(|_| unsure), conflict(&conditions, answer)) {
                        (Some(revision), _) => Decided::Done(revision),
                        (None, Some((key, found))) => Decided::Conflict { key, found },
                        (None, None) => return Err(Fault::Away("etcd's answer makes no sense".to_owned())),
                    });
                }
                Err(fault) => fault,
            };
            if let Some(revision) = pending.fate() {
                return Ok(Decided::Done(revision));
            }
            let Fault::Away(why) = fault else { return Err(fault) };
            unsure = true;
            if Instant::now() >= until {
                return Err(Fault::Away(why));
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn ask(&self, txn: TxnRequest) -> Result<TxnResponse, Fault> {
        let before = self.tide.seen();
        let answer = self.client.txn(txn).await?;
        self.tide.judge(answer.header.as_ref().map(|header| (header.cluster_id, revision(header.revision))), before);
        Ok(answer)
    }

    /// Resolves once the copy shows all that was acknowledged to anybody before.
    pub(super) async fn catch_up(&self, until: Instant) -> Result<(), Fault> {
        let tick = self.tick_of(until).await?;
        let reached = tokio::time::timeout_at(until, self.copy.reaches(tick)).await;
        reached.map_err(|_late| Fault::Away("the watch does not bring what etcd has".to_owned()))
    }

    /// The revision of the last transaction of any replica that wrote.
    async fn tick_of(&self, until: Instant) -> Result<Revision, Fault> {
        let before = self.tide.seen();
        let range = RangeRequest { key: self.prefix.key(TICK), ..RangeRequest::default() };
        let RangeResponse { header, kvs, .. } = self.client.range(&range, until).await?;
        self.tide.judge(header.map(|header| (header.cluster_id, revision(header.revision))), before);
        Ok(kvs.first().map(|kv| revision(kv.mod_revision)).unwrap_or_default())
    }

    /// Makes the copy anew.
    pub(super) async fn list(&self, until: Instant) -> Result<(), Fault> {
        let (mut all, mut at, mut key) = (Vec::new(), 0, self.prefix.key(""));
        loop {
            let range = RangeRequest { key, range_end: self.prefix.end(), limit: PAGE, revision: at };
            let RangeResponse { header, kvs, more } = self.client.range(&range, until).await?;
            if let Some(header) = header.filter(|_| at == 0) {
                at = header.revision;
                self.tide.judge(Some((header.cluster_id, revision(at))), self.tide.seen());
            }
            let last = kvs.last().map(|kv| [&*kv.key, &[0]].concat());
            all.extend(kvs);
            match last {
                Some(last) if more => key = last.into(),
                Some(_) | None => break,
            }
        }
        self.copy.replace(&all, revision(at));
        Ok(())
    }

    /// Ends the thread; whoever still waits hears that the store has stopped.
    pub(super) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((stop, thread)) = thread else { return };
        // A thread that has ended by itself hears nothing.
        let _heard = stop.send(()).is_ok();
        if thread.thread().id() != std::thread::current().id() {
            drop(thread.join());
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.close();
    }
}

/// Between two attempts of a transaction.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Etcd elects a leader within about two seconds.
pub(super) const DECIDED_WITHIN: Duration = Duration::from_secs(5);

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Decided {
    Done(Revision),
    Conflict { key: String, found: Option<Stored> },
}

fn at(answer: &TxnResponse) -> Revision {
    answer.header.as_ref().map(|header| revision(header.revision)).unwrap_or_default()
}
