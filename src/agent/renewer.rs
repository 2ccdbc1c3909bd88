//! Opens a session with a token and renews it until it ends; the only one that tells the keeper what to hold.
//!
//! ```text
//!   opening: token ──exchange──▶ becomes the live session; what lived before is let go in silence
//!               └─ refused: dropped; what lives goes on
//!   live: session ──renew, renew, …──▶ ended: struck out of the file, nothing served
//!            └─ server away: the last good SVID stays until its own end
//! ```
//! Both are worked at side by side: a live session is served, watched and renewed until its successor is there.
//! A refusal by the server is final for a token or a session; everything else is tried again.
//! Orders and events may come at any time; a request that is under way goes on (see `attempts`).
//! A session that is over here stays in the file until the server has heard so, and is told before a token is tried.

use super::attempts::{Ending, Live, Opening, Turn};
use super::ears::Ears;
use super::keeper::{Identity, Keeper};
use super::kept::Kept;
use super::link::{LinkError, Refused, ServerLink};
use super::order::Order;
use super::outcome::{LoggedIn, LoggedOut};
use super::renewal;
use super::run::OnStop;
use super::session_file::{KeptEnd, KeptSession};
use super::waiting::{Answer, Waiting};
use crate::clock::Clock;
use crate::crypto::{Digest, Random};
use crate::telemetry::{Shutdown, chain, rfc3339};
use crate::wire::lanyard::{JobEnd, Tainted, event::Kind};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Whoever logs out waits so long for the server; after that the goodbye is said without them.
const GOODBYE_WITHIN: Duration = Duration::from_secs(5);

/// What came of waiting.
enum Happening {
    Opened(Result<Identity, LinkError>),
    Lived(Turn),
    /// The server's word on the end of one of the sessions that have ended here.
    Ended(usize, Result<(), LinkError>),
}

/// See the file's opening words.
pub(super) struct Renewer {
    link: ServerLink,
    ears: Ears,
    kept: Kept,
    keeper: Arc<Keeper>,
    clock: Arc<dyn Clock>,
    random: Random,
    /// No session is begun any more.
    closing: bool,
    opening: Option<Opening>,
    live: Option<Live>,
    endings: Vec<Ending>,
    waiting: Waiting,
}

impl Renewer {
    /// Goes on with the last session of the file, if there is one.
    pub(super) fn new(
        (link, ears): (ServerLink, Ears),
        kept: Kept,
        keeper: Arc<Keeper>,
        clock: Arc<dyn Clock>,
        random: Random,
    ) -> Self {
        let (opening, live, endings, waiting, closing) = (None, None, Vec::new(), Waiting::default(), kept.is_over());
        let mut renewer = Self { link, ears, kept, keeper, clock, random, closing, opening, live, endings, waiting };
        for end in renewer.kept.ending() {
            tracing::info!(session = end.session.id, "the server has not heard of this session's end; telling it");
            renewer.endings.push(renewer.ending(end));
        }
        if let Some(session) = renewer.kept.last() {
            tracing::info!(session = session.id, "going on with the session of a former run");
            renewer.keeper.lapse();
            renewer.live = Some(renewer.begin(session, renewer.clock.now()));
        }
        renewer
    }

    /// Works until shutdown, or until it is closed and the server knows.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, on_stop: OnStop, shutdown: Shutdown) {
        while !(self.closing && self.endings.is_empty()) {
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                Some(order) = orders.recv() => self.obey(order).await,
                happening = self.next() => self.react(happening),
            }
        }
        match on_stop {
            OnStop::EndSession => {
                if let told @ LoggedOut::NotTold { .. } = self.logout(JobEnd::AgentStopped).await {
                    tracing::warn!("{told}; the next agent of this state_dir tells it");
                }
            }
            OnStop::KeepSession => {}
        }
    }

    fn begin(&self, session: KeptSession, renew_at: OffsetDateTime) -> Live {
        Live::new(session, renew_at, (&self.link, &self.ears, &self.keeper, &self.clock))
    }

    fn ending(&self, end: KeptEnd) -> Ending {
        Ending::new(end, self.link.clone(), Arc::clone(&self.clock))
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Close { .. } if self.closing => {}
            Order::Close { why } => {
                self.closing = true;
                if let told @ LoggedOut::NotTold { .. } = self.logout(why).await {
                    tracing::warn!("{told}; the agent keeps trying");
                }
            }
            Order::Login { answer, .. } if self.closing => {
                drop(answer.outcome.send(Err(Refused::ended("its job is over"))));
            }
            Order::Login { token, answer } => self.login(token, answer),
            Order::Logout { why, answer } => {
                let told = self.logout(why).await;
                // Whoever asked may have gone; the session has ended all the same.
                let _gone = answer.send(told);
            }
        }
    }

    /// Begins a session with a token, or joins the one that it has begun already.
    fn login(&mut self, token: Zeroizing<String>, answer: Answer) {
        let digest = Digest::of(token.as_bytes());
        self.waiting.join(answer);
        if self.opening.as_ref().is_none_or(|opening| opening.token != digest) {
            let lives = self.live.as_ref().is_some_and(|live| live.session.token == digest);
            self.opening = (!lives).then(|| Opening::new(token, self.link.clone(), Arc::clone(&self.clock)));
            self.keeper.expect_one();
            self.hurry_endings();
            self.answer_waiting();
        }
    }

    /// Ends everything here, and then tells the server. What it does not hear in time stays in the file.
    async fn logout(&mut self, why: JobEnd) -> LoggedOut {
        self.opening = None;
        let session = self.live.as_ref().map(|live| live.session.id.clone());
        if let Some(live) = &self.live {
            let ends_at = live.ends_at.or(live.session.ends_at);
            let end = KeptEnd { session: KeptSession { ends_at, ..live.session.clone() }, why };
            if let Err(error) = self.kept.end(end.clone()) {
                let (error, session) = (chain(&error), end.session.id.as_str());
                tracing::error!(error, session, "the session's end cannot be kept for a restart");
            }
            self.endings.push(self.ending(end));
        }
        self.end(why.as_str());
        self.hurry_endings();
        let goodbye = async {
            while !self.endings.is_empty() {
                let (place, answer) = Ending::any(&mut self.endings).await;
                self.ended(place, answer)?;
            }
            Ok(())
        };
        let why = match tokio::time::timeout(GOODBYE_WITHIN, goodbye).await {
            Ok(Ok(())) => return LoggedOut::Told { session },
            Ok(Err(why)) => why,
            Err(_slow) => format!("no answer within {} s", GOODBYE_WITHIN.as_secs()),
        };
        let ends_at = self.endings.iter().filter_map(|ending| ending.session.ends_at).max();
        LoggedOut::NotTold { why, ends_at }
    }

    /// Somebody waits for the ends to be told.
    fn hurry_endings(&mut self) {
        let now = self.clock.now();
        self.endings
            .iter_mut()
            .filter(|ending| ending.attempts.failures() > 0)
            .for_each(|ending| ending.attempts.at(now));
    }

    /// The server has heard of a session's end, or knows no such session; or else the reason why not yet.
    fn ended(&mut self, place: usize, answer: Result<(), LinkError>) -> Result<(), String> {
        let now = self.clock.now();
        let Some(ending) = self.endings.get_mut(place) else { return Ok(()) };
        let (why, id) = match answer {
            Ok(()) => (None, ending.session.id.clone()),
            Err(LinkError::Refused(refused)) => {
                tracing::info!(%refused, session = ending.session.id, "the server has no such session to end");
                (None, ending.session.id.clone())
            }
            Err(error) => {
                let again_at = ending.attempts.failed(&self.random);
                let (error, id) = (chain(&error), ending.session.id.clone());
                let again_at = rfc3339(again_at);
                tracing::warn!(error, session = id, again_at, "the server did not hear the session's end");
                (Some(error), id)
            }
        };
        if why.is_none() || ending.session.ends_at.is_some_and(|ends_at| ends_at <= now) {
            self.endings.remove(place);
            if let Err(error) = self.kept.told(&id) {
                tracing::error!(error = chain(&error), session = id, "the ended session is still in its file");
            }
        }
        why.map_or(Ok(()), Err)
    }

    /// Waits for the next thing to do, and does its talking. Changes nothing and holds no
    /// request, so it may be dropped at any point.
    async fn next(&mut self) -> Happening {
        let held = self.keeper.serving();
        let Self { clock, opening, live, endings, .. } = self;
        let ends_are_tried = endings.iter().all(|ending| ending.attempts.failures() > 0);
        let lived = async {
            match live {
                Some(live) => live.next(&**clock, held.as_ref()).await,
                None => std::future::pending().await,
            }
        };
        let opened = async {
            match opening {
                Some(opening) if ends_are_tried => opening.attempts.answered().await,
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            turn = lived => Happening::Lived(turn),
            identity = opened => Happening::Opened(identity),
            (place, answer) = Ending::any(endings) => Happening::Ended(place, answer),
        }
    }

    fn react(&mut self, happening: Happening) {
        match happening {
            Happening::Opened(Ok(identity)) => self.open(identity),
            Happening::Opened(Err(LinkError::Refused(refused))) => self.refuse_token(&refused),
            Happening::Opened(Err(error)) => {
                if let LinkError::Unavailable(setback) = &error {
                    self.waiting.tell(setback);
                }
                if let Some(opening) = &mut self.opening {
                    opening.attempts.failed_by(&error, &self.random);
                }
            }
            Happening::Lived(Turn::Renewed(Ok(identity))) => self.renew(identity),
            Happening::Lived(Turn::Renewed(Err(LinkError::Refused(refused)))) => self.refuse_session(&refused),
            Happening::Lived(Turn::Renewed(Err(error))) => {
                if let Some(live) = &mut self.live {
                    live.renewals.failed_by(&error, &self.random);
                }
            }
            Happening::Lived(Turn::Heard(kind)) => self.hear(kind),
            Happening::Lived(Turn::SvidOver) => {
                tracing::error!("the SVID ran out before the server gave a new one");
                self.keeper.lapse();
            }
            Happening::Lived(Turn::SessionOver) => self.end("its time is over"),
            // Said in the log; it is tried again.
            Happening::Ended(place, answer) => drop(self.ended(place, answer)),
        }
    }

    /// A token has become a session. One that it replaces is let go in silence and runs out with its own token:
    /// a goodbye closes its whole job, and the new session may be of that job.
    fn open(&mut self, identity: Identity) {
        let Some(opening) = self.opening.take() else { return };
        let ends_at = Some(identity.session_ends_at);
        let session = self.kept.session(identity.session.clone(), opening.token, ends_at);
        let former = self.live.take().map(|live| live.session.id);
        if let Err(error) = self.kept.keep(session.clone(), former.as_deref()) {
            tracing::error!(error = chain(&error), "the session cannot be kept; a restart will need the token again");
        }
        let mut live = self.begin(session, self.renew_at(&identity));
        live.ends_at = ends_at;
        self.live = Some(live);
        self.serve(identity);
    }

    fn renew(&mut self, identity: Identity) {
        let renew_at = self.renew_at(&identity);
        if let Some(live) = &mut self.live {
            live.renewals.at(renew_at);
            live.ends_at = Some(identity.session_ends_at);
            if let Err(error) = self.kept.catch_up() {
                tracing::error!(error = chain(&error), "the session still cannot be kept");
            }
            self.serve(identity);
        }
    }

    fn renew_at(&self, identity: &Identity) -> OffsetDateTime {
        let renew_at = renewal::renew_at(self.clock.now(), identity.not_after(), &self.random);
        tracing::info!(
            spiffe_id = identity.svids.first().map(|svid| svid.spiffe_id.as_str()),
            not_after = rfc3339(identity.not_after()),
            renew_at = rfc3339(renew_at),
            session = identity.session,
            "SVID received"
        );
        renew_at
    }

    fn serve(&mut self, identity: Identity) {
        self.keeper.serve(identity);
        self.answer_waiting();
    }

    fn forget(&self, id: &str) {
        if let Err(error) = self.kept.forget(id) {
            tracing::error!(error = chain(&error), session = id, "the ended session is still in its file");
        }
    }

    /// The server will not change its mind about this token; what lives goes on.
    fn refuse_token(&mut self, refused: &Refused) {
        self.opening = None;
        self.waiting.log(refused);
        self.waiting.answer(&Err(refused.clone()));
        if self.live.is_none() {
            self.keeper.withdraw();
        }
    }

    /// The server will not change its mind about this session; a token that is on its way goes on.
    fn refuse_session(&mut self, refused: &Refused) {
        self.waiting.log(refused);
        if self.opening.is_none() {
            self.waiting.answer(&Err(refused.clone()));
        }
        self.end("refused");
    }

    fn hear(&mut self, kind: Kind) {
        let Some(live) = &self.live else { return };
        match kind {
            Kind::Sessions(alive) if !alive.session.contains(&live.session.id) => {
                self.end("the server does not know it any more");
            }
            Kind::SessionEnded(ended) if ended.session == live.session.id => self.end(&ended.reason),
            Kind::Federation(news) if news.session.contains(&live.session.id) => {
                self.keeper.take_federated(news.bundles.unwrap_or_default());
            }
            Kind::Sessions(_) | Kind::SessionEnded(_) | Kind::Crls(_) | Kind::CrlsOff(_) | Kind::Federation(_) => {}
            Kind::Bundle(json) => self.keeper.take_bundle(&json),
            Kind::Tainted(tainted) => self.renew_soon(&tainted),
        }
    }

    /// What a tainted key signed is renewed within the time that the server names, at one's own moment: all agents hear it
    /// at once.
    fn renew_soon(&mut self, tainted: &Tainted) {
        self.keeper.distrust(&tainted.kid);
        let held = self.keeper.serving().filter(|held| held.is_signed_by(&tainted.signer));
        if let (Some(live), Some(held)) = (&mut self.live, held) {
            let renew_at = self.clock.now() + self.random.jitter(Duration::from_secs(tainted.within_seconds.into()));
            let at = rfc3339(renew_at);
            tracing::warn!(
                renew_at = at,
                session = held.session,
                "the key that signed the SVID is tainted; renewing it"
            );
            live.renewals.at(renew_at);
        }
    }

    /// The session is forgotten, and nothing is served until a token that is on its way has become another one.
    fn end(&mut self, reason: &str) {
        if let Some(live) = self.live.take() {
            tracing::info!(session = live.session.id, reason, "session ended");
            self.forget(&live.session.id);
        }
        if self.opening.is_some() {
            self.keeper.withdraw_for_another();
            return;
        }
        self.waiting.answer(&Err(Refused::ended(reason)));
        self.keeper.withdraw();
    }

    /// Tells those who logged in, once there is something to tell.
    fn answer_waiting(&mut self) {
        let Some(identity) = self.keeper.serving() else { return };
        let (None, Some(svid)) = (&self.opening, identity.svids.first()) else { return };
        let logged_in = LoggedIn {
            spiffe_id: svid.spiffe_id.as_str().to_owned(),
            not_after: svid.not_after,
            session: identity.session.clone(),
        };
        self.waiting.answer(&Ok(logged_in));
    }
}
