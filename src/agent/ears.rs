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
    /// Where revocation lists go; none where nobody wants them.
    crls: Option<Gatherer>,
}

impl Ears {
    /// Both sides of it; [`Hearing::run`] does the work.
    pub(super) fn pair(
        link: ServerLink,
        (clock, random): (Arc<dyn Clock>, Random),
        crls: Option<Gatherer>,
    ) -> (Self, Hearing) {
        let (wishes, heeded) = mpsc::unbounded_channel();
        let hearing = Hearing { link, clock, random, wishes: heeded, listeners: BTreeMap::new(), events: None, crls };
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
            let held = Held { bundle_sequence, crls: self.crls.as_ref().map(Gatherer::number) };
            let event = async {
                match &mut self.events {
                    Some(events) => events.next(held).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                Some(wish) = self.wishes.recv() => self.heed(wish),
                kind = event => self.tell(kind),
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
        for listener in self.listeners.values() {
            if listener.told.send(kind.clone()).is_err() {
                tracing::debug!(session = listener.session, "its listener has just left");
            }
        }
    }
}

impl Listener {
    /// Of the bundle that it holds.
    fn sequence(&self) -> u64 {
        match &*self.keeper.borrow() {
            State::Serving(identity) => identity.bundle.sequence,
            State::Waiting | State::Between | State::Withdrawn | State::Stopping => 0,
        }
    }
}
