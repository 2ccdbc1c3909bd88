//! The one stream of events that an agent has at the server, and whoever listens to it: every live session of its key.
//!
//! The server tells of the sessions that the stream named when it was opened, so a further listener means a new stream.
//! Each listener hears everything and takes what is its own.

use super::crls::Gatherer;
use super::events::ServerEvents;
use super::keeper::{KeeperWatch, State};
use super::link::{Held, ServerLink};
use crate::clock::Clock;
use crate::crypto::Random;
use crate::telemetry::Shutdown;
use crate::wire::lanyard::event::Kind;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// Where one asks to listen; clones are the same. What waits here is bounded by the sessions that an agent holds.
#[derive(Clone, Debug)]
pub(super) struct Ears {
    wishes: UnboundedSender<Wish>,
    listeners: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Wish {
    Listen(u64, Listener),
    Leave(u64),
}

#[derive(Debug)]
struct Listener {
    session: String,
    keeper: KeeperWatch,
    told: UnboundedSender<Kind>,
}

/// One listener's ear; dropping it stops listening.
#[derive(Debug)]
pub(super) struct Ear {
    number: u64,
    heard: UnboundedReceiver<Kind>,
    wishes: UnboundedSender<Wish>,
}

/// See the file's words.
pub(super) struct Hearing {
    link: ServerLink,
    clock: Arc<dyn Clock>,
    random: Random,
    wishes: UnboundedReceiver<Wish>,
    listeners: BTreeMap<u64, Listener>,
    events: Option<ServerEvents>,
    /// What is being said of a bundle that all sessions hold.
    said: Option<Said>,
    /// Where revocation lists go; none where nobody wants them.
    crls: Option<Gatherer>,
}

/// An acknowledgement on its way.
type Said = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Ears {
    /// Both sides of it; [`Hearing::run`] does the work.
    pub(super) fn pair(
        link: ServerLink,
        (clock, random): (Arc<dyn Clock>, Random),
        crls: Option<Gatherer>,
    ) -> (Self, Hearing) {
        let (wishes, heeded) = mpsc::unbounded_channel();
        let listeners = BTreeMap::new();
        let hearing = Hearing { link, clock, random, wishes: heeded, listeners, events: None, said: None, crls };
        (Self { wishes, listeners: Arc::default() }, hearing)
    }

    /// Listens for a session whose bundle is in that keeper, beginning with what is now.
    pub(super) fn listen(&self, session: String, keeper: KeeperWatch) -> Ear {
        let (told, heard) = mpsc::unbounded_channel();
        let number = self.listeners.fetch_add(1, Ordering::Relaxed);
        if self.wishes.send(Wish::Listen(number, Listener { session, keeper, told })).is_err() {
            tracing::debug!("the agent stops; nobody listens any more");
        }
        Ear { number, heard, wishes: self.wishes.clone() }
    }
}

impl Ear {
    /// The next event; dropping the future loses none.
    pub(super) async fn next(&mut self) -> Kind {
        match self.heard.recv().await {
            Some(kind) => kind,
            // The agent stops.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if self.wishes.send(Wish::Leave(self.number)).is_err() {
            tracing::debug!("the agent stops; nobody listens any more");
        }
    }
}

impl Hearing {
    /// Listens until shutdown.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        loop {
            let bundle_sequence = self.listeners.values().map(Listener::sequence).min().unwrap_or(0);
            let federated = self.listeners.values().filter(|one| one.is_federated()).map(|one| one.session.clone());
            let (crls, federated) = (self.crls.as_ref().map(Gatherer::number), federated.collect());
            let held = Held { bundle_sequence, crls, federated };
            let event = async {
                match &mut self.events {
                    Some(events) => events.next(&held).await,
                    None => std::future::pending().await,
                }
            };
            let said = async {
                match &mut self.said {
                    Some(said) => said.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                Some(wish) = self.wishes.recv() => self.heed(wish),
                kind = event => self.tell(kind),
                () = said => self.said = None,
            }
        }
    }

    fn heed(&mut self, first: Wish) {
        let mut more = false;
        let mut next = Some(first);
        while let Some(wish) = next {
            match wish {
                Wish::Listen(number, listener) => {
                    self.listeners.insert(number, listener);
                    more = true;
                }
                Wish::Leave(number) => drop(self.listeners.remove(&number)),
            }
            next = self.wishes.try_recv().ok();
        }
        if more {
            let sessions = self.listeners.values().map(|listener| listener.session.clone()).collect();
            let (link, clock, random) = (self.link.clone(), Arc::clone(&self.clock), self.random.clone());
            self.events = Some(ServerEvents::new(link, sessions, clock, random));
        }
        if self.listeners.is_empty() {
            self.events = None;
        }
    }

    fn tell(&mut self, kind: Kind) {
        let left = match &mut self.crls {
            Some(crls) => crls.hear(kind),
            None => Some(kind),
        };
        let Some(kind) = left else { return };
        if let Kind::Bundle(_) = kind {
            self.said = self.acknowledgement();
        }
        for listener in self.listeners.values() {
            if listener.told.send(kind.clone()).is_err() {
                tracing::debug!(session = listener.session, "its listener has just left");
            }
        }
    }
}

impl Hearing {
    /// Waits until every session has taken the bundle that was just told, and says so. Where it does not come through, the
    /// next renewal says the same.
    fn acknowledgement(&self) -> Option<Said> {
        let session = self.listeners.values().next()?.session.clone();
        let held = self.listeners.values().map(Listener::sequence).min()?;
        let mut keepers: Vec<_> = self.listeners.values().map(|listener| listener.keeper.clone()).collect();
        let link = self.link.clone();
        Some(Box::pin(async move {
            let mut taken = Vec::new();
            for keeper in &mut keepers {
                // A keeper that is gone has nothing to be waited for.
                taken.extend(keeper.wait_for(|state| sequence(state) != held).await.map(|state| sequence(&state)).ok());
            }
            let Some(least) = taken.into_iter().min() else { return };
            if let Err(error) = link.acknowledge(session, least).await {
                tracing::debug!(%error, "the server has not heard which bundle is in use; it will with the next renewal");
            }
        }))
    }
}

/// Of the bundle that is held.
fn sequence(state: &State) -> u64 {
    match state {
        State::Serving(identity) => identity.bundle.sequence,
        State::Waiting | State::Between | State::Lapsed | State::Withdrawn | State::Stopping => 0,
    }
}

impl Listener {
    /// Of the bundle that it holds.
    fn sequence(&self) -> u64 {
        sequence(&self.keeper.borrow())
    }

    /// Whether it holds bundles of other trust domains.
    fn is_federated(&self) -> bool {
        matches!(&*self.keeper.borrow(), State::Serving(identity) if !identity.federated.bundles().is_empty())
    }
}
