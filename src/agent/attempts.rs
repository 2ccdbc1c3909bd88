//! What a renewer asks of the server: again until it is answered, and never twice at a time.
//!
//! A request that is under way is kept here, not in whoever waits for it: turning to something else drops nothing.

use super::ears::{Ear, Ears};
use super::keeper::{Identity, Keeper};
use super::link::{Granted, LinkError, ServerLink};
use super::renewal;
use super::session_file::{KeptEnd, KeptSession};
use crate::clock::Clock;
use crate::crypto::{Digest, Random};
use crate::telemetry::{chain, rfc3339};
use crate::wire::lanyard::event::Kind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// A request and its answer.
type UnderWay<T> = Pin<Box<dyn Future<Output = Result<T, LinkError>> + Send>>;

/// One request, made when its time comes and again after each failure.
pub(super) struct Attempts<T> {
    ask: Box<dyn Fn() -> UnderWay<T> + Send>,
    clock: Arc<dyn Clock>,
    failures: u32,
    /// What the server asked for in its last answer.
    again_in: Option<Duration>,
    under_way: UnderWay<T>,
}

impl<T: 'static> Attempts<T> {
    pub(super) fn new(
        at: OffsetDateTime,
        clock: Arc<dyn Clock>,
        ask: impl Fn() -> UnderWay<T> + Send + 'static,
    ) -> Self {
        let under_way = later(at, &clock, ask());
        Self { ask: Box::new(ask), clock, failures: 0, again_in: None, under_way }
    }

    /// Asks at this time; what was asked before is forgotten.
    pub(super) fn at(&mut self, at: OffsetDateTime) {
        self.failures = 0;
        self.under_way = later(at, &self.clock, (self.ask)());
    }

    /// Asks again, later each time, and no sooner than the server wants; gives back when.
    pub(super) fn failed(&mut self, random: &Random) -> OffsetDateTime {
        self.failures = self.failures.saturating_add(1);
        let again_at = self.clock.now() + renewal::retry_no_sooner(self.failures, self.again_in, random);
        self.under_way = later(again_at, &self.clock, (self.ask)());
        again_at
    }

    /// The same, and tells the log why.
    pub(super) fn failed_by(&mut self, error: &LinkError, random: &Random) {
        let again_at = self.failed(random);
        tracing::warn!(error = chain(error), again_at = rfc3339(again_at), "no SVID from the server");
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// The answer, once; then say `at` or `failed`, or let go.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, LinkError>> {
        let answer = self.under_way.as_mut().poll(cx);
        if let Poll::Ready(Err(LinkError::Unavailable(setback))) = &answer {
            self.again_in = setback.again_in();
        }
        answer
    }

    /// The same for those who await it; dropping this future drops no request.
    pub(super) async fn answered(&mut self) -> Result<T, LinkError> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

fn later<T: 'static>(at: OffsetDateTime, clock: &Arc<dyn Clock>, asked: UnderWay<T>) -> UnderWay<T> {
    let wait = clock.wait_until(at);
    Box::pin(async move {
        wait.await;
        asked.await
    })
}

/// A token that the server has not answered yet.
pub(super) struct Opening {
    pub(super) token: Digest,
    pub(super) attempts: Attempts<Identity>,
}

impl Opening {
    pub(super) fn new(token: Zeroizing<String>, link: ServerLink, clock: Arc<dyn Clock>) -> Self {
        let digest = Digest::of(token.as_bytes());
        let token = Arc::new(token);
        let attempts = Attempts::new(clock.now(), clock, move || {
            let (link, token) = (link.clone(), Arc::clone(&token));
            Box::pin(async move { complete(&link, link.exchange(&token).await?).await })
        });
        Self { token: digest, attempts }
    }
}

/// A session that is over here, and of whose end the server has not heard.
pub(super) struct Ending {
    pub(super) session: KeptSession,
    pub(super) attempts: Attempts<()>,
}

impl Ending {
    pub(super) fn new(KeptEnd { session, why }: KeptEnd, link: ServerLink, clock: Arc<dyn Clock>) -> Self {
        let id = session.id.clone();
        let attempts = Attempts::new(clock.now(), clock, move || {
            let (link, id) = (link.clone(), id.clone());
            Box::pin(async move { link.end(&id, why).await })
        });
        Self { session, attempts }
    }

    /// The first of them to be answered, and its place; never if there is none.
    pub(super) async fn any(endings: &mut [Self]) -> (usize, Result<(), LinkError>) {
        std::future::poll_fn(|cx| {
            let mut answers = endings.iter_mut().map(|ending| ending.attempts.poll(cx)).enumerate();
            let answer = answers.find_map(|(place, answer)| match answer {
                Poll::Ready(answer) => Some((place, answer)),
                Poll::Pending => None,
            });
            answer.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// A session that is served, watched and renewed.
pub(super) struct Live {
    pub(super) session: KeptSession,
    pub(super) renewals: Attempts<Identity>,
    /// Known from the first answer on.
    pub(super) ends_at: Option<OffsetDateTime>,
    pub(super) ear: Ear,
}

/// What a live session has come to.
pub(super) enum Turn {
    Renewed(Result<Identity, LinkError>),
    Heard(Kind),
    SvidOver,
    SessionOver,
}

impl Live {
    pub(super) fn new(
        session: KeptSession,
        renew_at: OffsetDateTime,
        (link, ears, keeper, clock): (&ServerLink, &Ears, &Arc<Keeper>, &Arc<dyn Clock>),
    ) -> Self {
        let ear = ears.listen(session.id.clone(), keeper.watch());
        let (id, link, keeper) = (session.id.clone(), link.clone(), Arc::clone(keeper));
        let renewals = Attempts::new(renew_at, Arc::clone(clock), move || {
            let (id, link, keeper) = (id.clone(), link.clone(), Arc::clone(&keeper));
            Box::pin(async move {
                let sequence = keeper.serving().map_or(0, |identity| identity.bundle.sequence);
                complete(&link, link.renew(&id, "", sequence).await?).await
            })
        });
        Self { session, renewals, ends_at: None, ear }
    }

    /// Waits for the next thing to do, and does its talking; `held` is what is served.
    pub(super) async fn next(&mut self, clock: &dyn Clock, held: Option<&Identity>) -> Turn {
        tokio::select! {
            // The last SVID often ends with its session, and the session's end says more.
            biased;
            () = until(clock, self.ends_at) => Turn::SessionOver,
            () = until(clock, held.map(Identity::not_after)) => Turn::SvidOver,
            event = self.ear.next() => Turn::Heard(event),
            fetched = self.renewals.answered() => Turn::Renewed(fetched),
        }
    }
}

/// Fetches the rule's other SVIDs once the first is there: workloads get all of them together.
async fn complete(link: &ServerLink, first: Granted) -> Result<Identity, LinkError> {
    let mut last = first;
    let (session, others) = (last.session.clone(), std::mem::take(&mut last.profiles));
    let mut svids = Vec::with_capacity(others.len().max(1));
    for profile in others.iter().skip(1) {
        let more = link.renew(&session, profile, last.bundle.sequence).await?;
        svids.push(std::mem::replace(&mut last, more).svid);
    }
    let (bundle, federated, session_ends_at) = (Arc::new(last.bundle), last.federated, last.session_ends_at);
    svids.push(last.svid);
    Ok(Identity { session, svids: svids.into(), bundle, federated, session_ends_at, distrusted: Arc::default() })
}

async fn until(clock: &dyn Clock, at: Option<OffsetDateTime>) {
    match at {
        Some(at) => clock.wait_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn seven(
        count: &Arc<AtomicU32>,
        gate: &Arc<tokio::sync::Notify>,
    ) -> impl Future<Output = Result<u8, LinkError>> + use<> {
        let (count, gate) = (Arc::clone(count), Arc::clone(gate));
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            Ok(7)
        }
    }

    #[tokio::test]
    async fn a_request_under_way_survives_whoever_waited_for_it() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(OffsetDateTime::UNIX_EPOCH));
        let (asked, answer) = (Arc::new(AtomicU32::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (count, gate) = (Arc::clone(&asked), Arc::clone(&answer));
        let mut attempts = Attempts::new(clock.now(), clock, move || Box::pin(seven(&count, &gate)));
        for _ in 0..3 {
            tokio::select! {
                biased;
                _ = attempts.answered() => panic!("nobody has answered"),
                () = std::future::ready(()) => {}
            }
        }
        answer.notify_one();
        assert_eq!(attempts.answered().await.unwrap(), 7);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
