//! What an agent hears while it lives: its live sessions and the bundle first, then every change, never history.

use super::crl_parts::CrlParts;
use super::foreign_news::ForeignNews;
use crate::api::desk::Desk;
use crate::api::limits::SESSIONS_WATCHED_MAX;
use crate::api::refused::{Class, Refused};
use crate::authority::{Published, TaintedKeys};
use crate::issuance::Refusal;
use crate::session::{Ended, Listening, SessionId};
use crate::wire::lanyard::{Event, LiveSessions, SessionEnded, Tainted, event::Kind};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::Status;

/// A hundred thousand renewals in this time are as many a second as an exchange storm has.
const RENEW_WITHIN_SECONDS: u32 = 20;

type Turn = Pin<Box<dyn Future<Output = (Option<Watcher>, Result<Kind, Status>)> + Send>>;

/// The events of one agent; ends with an error status and never with OK, which some clients take for good.
pub(in crate::api) struct Events(Option<Turn>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

struct Watcher {
    desk: Arc<Desk>,
    /// Listening begins before the present is told, so that nothing falls between.
    ends: Listening,
    /// The sessions that the agent said it holds.
    held: Vec<SessionId>,
    /// The bundle that it said it holds.
    holds: u64,
    bundles: watch::Receiver<Arc<Published>>,
    tainted: watch::Receiver<Arc<TaintedKeys>>,
    foreign: ForeignNews,
    crls: Option<CrlParts>,
    due: VecDeque<Due>,
}

/// What an agent says that it holds already.
pub(super) struct Holds {
    pub(super) bundle_sequence: u64,
    /// The number of its revocation lists; none where it wants none.
    pub(super) crls: Option<u64>,
    /// The sessions for which it has bundles of other trust domains.
    pub(super) federated: Vec<SessionId>,
}

/// What is to be said before anything is waited for.
enum Due {
    Sessions,
    Bundle,
    Foreign,
    Tainted,
    /// Just this.
    Said(Kind),
    /// Nothing more: no session of this key lives.
    Farewell,
}

impl Events {
    /// The events for the agent with this session key, which has these sessions.
    pub(super) fn of(desk: Arc<Desk>, (ends, held): (Listening, Vec<SessionId>), holds: Holds) -> Self {
        let Holds { bundle_sequence, crls, federated } = holds;
        let mut bundles = desk.published.clone();
        let mut due = VecDeque::from([Due::Sessions]);
        if bundles.borrow_and_update().bundle.sequence != bundle_sequence {
            due.push_back(Due::Bundle);
        }
        let foreign = ForeignNews::of(&desk, federated.into_iter().take(SESSIONS_WATCHED_MAX));
        if foreign.can_be() {
            due.push_back(Due::Foreign);
        }
        let mut tainted = desk.issuance.authorities.tainted();
        if !tainted.borrow_and_update().is_empty() {
            due.push_back(Due::Tainted);
        }
        let crls = crls.map(|held| CrlParts::of(&desk, held)).transpose().unwrap_or_else(|none| {
            due.push_back(Due::Said(none));
            None
        });
        let holds = bundle_sequence;
        Self(Some(Box::pin(Watcher { desk, ends, held, holds, bundles, tainted, foreign, crls, due }.next())))
    }
}

impl Stream for Events {
    type Item = Result<Event, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(turn) = &mut self.0 else { return Poll::Ready(None) };
        let Poll::Ready((watcher, said)) = turn.as_mut().poll(context) else { return Poll::Pending };
        self.0 = watcher.map(|watcher| -> Turn { Box::pin(watcher.next()) });
        Poll::Ready(Some(said.map(|kind| Event { kind: Some(kind) })))
    }
}

impl Watcher {
    async fn next(mut self) -> (Option<Self>, Result<Kind, Status>) {
        match self.event().await {
            Ok(kind) => (Some(self), Ok(kind)),
            Err(status) => (None, Err(status)),
        }
    }

    async fn event(&mut self) -> Result<Kind, Status> {
        loop {
            match self.due.pop_front() {
                Some(Due::Sessions) => return self.sessions().await,
                Some(Due::Bundle) => return Ok(Kind::Bundle(self.bundles.borrow_and_update().json.clone())),
                Some(Due::Tainted) => return Ok(renewed_soon(&self.tainted.borrow_and_update())),
                Some(Due::Foreign) => self.foreign_news()?,
                Some(Due::Said(kind)) => return Ok(kind),
                Some(Due::Farewell) => return Err(self.farewell()),
                None => {}
            }
            if !self.due.is_empty() {
                continue;
            }
            let part = async {
                match &mut self.crls {
                    Some(crls) => crls.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Large sets are last: whoever has ended must hear it first.
                biased;
                () = self.desk.shutdown.wait() => return Err(Status::unavailable("the server is stopping")),
                changed = self.bundles.changed() => match changed {
                    Ok(()) => self.due.push_back(Due::Bundle),
                    Err(_gone) => return Err(Status::unavailable("the server is stopping")),
                },
                changed = self.foreign.changed() => match changed {
                    Ok(()) => self.due.push_back(Due::Foreign),
                    Err(_gone) => return Err(Status::unavailable("the server is stopping")),
                },
                changed = self.tainted.changed() => match changed {
                    Ok(()) if self.tainted.borrow().is_empty() => self.tainted.mark_unchanged(),
                    Ok(()) => self.due.push_back(Due::Tainted),
                    Err(_gone) => return Err(Status::unavailable("the server is stopping")),
                },
                ended = self.ends.next() => match ended {
                    Some(ended) => return Ok(told(&ended)),
                    // Too slow to hear of each end: the whole present says it too.
                    None => self.due.push_back(Due::Sessions),
                },
                part = part => return Ok(part),
            }
        }
    }

    /// Which of its sessions live. A key without any hears that and no more: its agent learns of an end that it missed,
    /// and a stranger holds no stream.
    async fn sessions(&mut self) -> Result<Kind, Status> {
        let (sessions, now) = (&self.desk.issuance.sessions, self.desk.issuance.now());
        let mut live = Vec::new();
        for id in &self.held {
            let lives = sessions.lives(id, self.ends.owner(), now).await;
            if lives.map_err(|error| self.refused(&error.into()))? {
                live.push(*id);
            }
        }
        // None comes back to life.
        self.held.clone_from(&live);
        if live.is_empty() {
            self.due = VecDeque::from([Due::Farewell]);
        } else {
            // Once: what it says later comes as acknowledgements and with renewals.
            self.desk.holds(self.ends.owner(), std::mem::take(&mut self.holds));
        }
        Ok(Kind::Sessions(LiveSessions { session: live.iter().map(ToString::to_string).collect() }))
    }

    /// What is new of other trust domains is said next.
    fn foreign_news(&mut self) -> Result<(), Status> {
        let news = self.foreign.take(&self.desk, &self.held).map_err(|fault| self.refused(&fault.into()))?;
        news.into_iter().rev().for_each(|kind| self.due.push_front(Due::Said(kind)));
        Ok(())
    }

    fn refused(&self, refusal: &Refusal) -> Status {
        Refused::of(refusal, &self.desk.request_id()).into_status()
    }

    fn farewell(&self) -> Status {
        let detail = "no session that was named lives and belongs to this connection's key";
        Refused::new(Class::Forbidden, "session_unknown", detail, &self.desk.request_id()).into_status()
    }
}

fn renewed_soon(tainted: &TaintedKeys) -> Kind {
    let signer = tainted.intermediates.iter().map(ToString::to_string).collect();
    Kind::Tainted(Tainted { signer, within_seconds: RENEW_WITHIN_SECONDS, kid: tainted.kids.clone() })
}

fn told(ended: &Ended) -> Kind {
    Kind::SessionEnded(SessionEnded { session: ended.session.to_string(), reason: ended.reason.as_str().to_owned() })
}
