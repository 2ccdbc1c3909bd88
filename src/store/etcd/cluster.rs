//! etcd as a replica sees it before it has a journal: connected, copied, followed by a thread of its own.

use super::client::{Client, EtcdLogin};
use super::clocks::{CLOCKS, ClockStand, Clocks};
use super::copy::Copy;
use super::decide::{DECIDED_WITHIN, Decided, Wish};
use super::error::{EtcdError, Fault};
use super::follower::Follower;
use super::hearing::Hearing;
use super::lead::Lead;
use super::mark::intent_key;
use super::proto::{KeyValue, RangeRequest, RangeResponse};
use super::request::{Prefix, json, revision, ticks_of};
use super::tide::Tide;
use crate::clock::Clock;
use crate::store::{Condition, Revision, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::transport::Channel;

/// How long a start waits for a quorum.
const START_WITHIN: Duration = Duration::from_secs(20);
/// Keys of one page of a listing.
const PAGE: i64 = 1000;
/// How the names of replicas' own records begin.
pub(super) const REPLICAS: &str = "~replica/";
/// Where the sealed keys are.
pub(super) const KEYRING: &str = "~keyring";

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
    /// What the others must know of those who talk to it.
    #[serde(default)]
    pub more: serde_json::Value,
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
    pub(super) clocks: Clocks,
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
    pub fn connect(
        settings: EtcdSettings,
        process: &str,
        (channels, clock): (Channels, Arc<dyn Clock>),
    ) -> Result<Arc<Self>, EtcdError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(EtcdError::Thread)?;
        let channels = {
            let _inside = runtime.enter();
            channels()
        };
        let EtcdSettings { prefix, replica, login } = settings;
        let prefix = Prefix(prefix);
        let copy = Copy::new((replica.clone(), process.to_owned()), prefix.clone());
        let (tide, clocks) = (Tide::new(Arc::clone(&clock)), Clocks::new(clock, &replica, process));
        let etcd = Arc::new(Self {
            client: Client::new(channels, login),
            copy,
            prefix,
            replica,
            lead: Lead::default(),
            tide,
            clocks,
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
            let asked = etcd.tide.moment();
            let listed = etcd.list(Instant::now() + START_WITHIN).await;
            etcd.tide.confirm(asked);
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

    /// The other replicas that run; one that was killed counts until its lease has ended.
    pub fn others_that_run(&self) -> BTreeSet<String> {
        let clocks = self.copy.own(CLOCKS).into_iter();
        let names = clocks.filter_map(|(key, _)| key.strip_prefix(CLOCKS).map(str::to_owned));
        names.filter(|name| name != self.replica()).collect()
    }

    /// What others write from now on, and what a new listing shows; for the one who keeps something of it in memory.
    pub fn hearing(self: &Arc<Self>) -> Hearing {
        Hearing::of(Arc::clone(self))
    }

    /// What this replica is called.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// It, among all processes.
    pub(super) fn writer(&self) -> String {
        format!("{}/{}", self.replica, self.process())
    }

    /// Where the intent of a transaction of this process stands.
    pub(super) fn own_intent(&self, n: u64) -> String {
        intent_key(&self.replica, (self.process(), n))
    }

    /// How its clock stands against the others'.
    pub fn clocks(&self) -> ClockStand {
        self.clocks.stand().borrow().clone()
    }

    /// Which process of it this is.
    pub fn process(&self) -> &str {
        &self.copy.process
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
        let mut written = self.copy.keyring();
        loop {
            if !known.contains(&self.copy.own_revision(KEYRING)) {
                return;
            }
            if written.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Whether work that is enough for one replica to do is this one's.
    pub fn leads(&self) -> bool {
        self.lead.is_ours()
    }

    /// Puts the sealed keys where there are none, or in the place of those of a revision, and tells no journal. The new
    /// revision; none where somebody was first.
    ///
    /// # Errors
    /// `Away`: it may have been done all the same.
    pub async fn put_keyring(
        self: &Arc<Self>,
        sealed: Box<RawValue>,
        was: Option<Revision>,
    ) -> Result<Option<Revision>, EtcdError> {
        let (condition, write) = Self::keyring_change(sealed, was);
        let wish = Wish::of(vec![condition], vec![write]);
        Ok(match self.decide(wish, DECIDED_WITHIN).await? {
            Decided::Done { revision, .. } => Some(revision),
            Decided::Conflict { .. } => None,
        })
    }

    /// What replaces the sealed keys by these, as long as they are of this revision.
    pub fn keyring_change(sealed: Box<RawValue>, was: Option<Revision>) -> (Condition, Write) {
        let key = KEYRING.to_owned();
        let condition = was.map_or(Condition::Absent(key.clone()), |was| Condition::Unchanged(key.clone(), was));
        (condition, Write::Put(key, sealed))
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

    /// Makes the copy anew.
    pub(super) async fn list(&self, until: Instant) -> Result<(), Fault> {
        let before = self.tide.ticks();
        let range = RangeRequest { key: self.prefix.key(""), range_end: self.prefix.end(), ..RangeRequest::default() };
        let (at, all) = self.all_of(range, until).await?;
        self.tide.hold(&ticks_of(&self.prefix, &all), &before);
        self.copy.replace(&all, at);
        for (key, kept) in self.copy.own(CLOCKS) {
            if let Ok(reading) = serde_json::from_str(kept.value.get()) {
                self.clocks.find(key.trim_start_matches(CLOCKS), reading);
            }
        }
        Ok(())
    }

    /// Reads a range, page by page, as it was at one revision.
    pub(super) async fn all_of(
        &self,
        mut range: RangeRequest,
        until: Instant,
    ) -> Result<(Revision, Vec<KeyValue>), Fault> {
        let (mut all, seen) = (Vec::new(), self.tide.seen());
        range.limit = PAGE;
        loop {
            let RangeResponse { header, kvs, more } = self.client.range(&range, until).await?;
            if let Some(header) = header.filter(|_| range.revision == 0) {
                range.revision = header.revision;
                self.tide.judge(Some((header.cluster_id, revision(header.revision))), seen);
            }
            let last = kvs.last().map(|kv| [&*kv.key, &[0]].concat());
            all.extend(kvs);
            match last {
                Some(last) if more => range.key = last.into(),
                Some(_) | None => return Ok((revision(range.revision), all)),
            }
        }
    }

    /// Ends the thread, which holds it till then; whoever still waits hears that the store has stopped.
    pub fn close(&self) {
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
