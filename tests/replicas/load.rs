//! Jobs that ask all replicas at once, and what they were told: the promises are held against that.

use crate::agent::{Agent, Way};
use crate::callers::{now, serial};
use crate::issuer::FakeIssuer;
use lanyard::crypto::Random;
use lanyard::wire::lanyard::X509Answer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Who does not hear by then asks another replica.
const PATIENCE: Duration = Duration::from_secs(8);
/// So that a test machine has time for the servers, too.
const PAUSE: Duration = Duration::from_millis(100);

/// What was told to jobs.
#[derive(Default)]
pub(crate) struct Told {
    /// Sessions, and whose they are.
    pub(crate) sessions: Vec<(Arc<Caller>, String)>,
    pub(crate) serials: BTreeSet<String>,
    /// By session: which replicas said so, when, and with which serial number.
    pub(crate) origins: BTreeMap<String, Vec<String>>,
    /// What must never be told.
    pub(crate) broken: Vec<String>,
    pub(crate) unavailable: usize,
}

/// One agent, which each time connects anew: there are more of them than a process may have files.
pub(crate) struct Caller {
    agent: Agent,
    ways: Arc<Vec<Way>>,
}

/// What all callers share.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) issuer: Arc<FakeIssuer>,
    pub(crate) ways: Arc<Vec<Way>>,
    pub(crate) stop: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
}

impl Caller {
    fn new(ways: &Arc<Vec<Way>>) -> Arc<Self> {
        Arc::new(Self { agent: Agent::new(), ways: Arc::clone(ways) })
    }

    async fn exchange(&self, replica: usize, token: &str) -> Result<X509Answer, String> {
        let asked = timeout(PATIENCE, self.agent.exchange(self.ways[replica].clone(), token));
        asked.await.unwrap_or_else(|_late| Err("no answer".to_owned()))
    }

    pub(crate) async fn renew(&self, replica: usize, session: &str) -> Result<X509Answer, String> {
        let asked = timeout(PATIENCE, self.agent.renew(self.ways[replica].clone(), session));
        asked.await.unwrap_or_else(|_late| Err("no answer".to_owned()))
    }
}

impl Load {
    pub(crate) fn new(issuer: Arc<FakeIssuer>, ways: Vec<Way>) -> Self {
        Self { issuer, ways: Arc::new(ways), stop: Arc::default(), told: Arc::default() }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One identity, from whoever answers there; whether somebody did.
    pub(crate) async fn one(&self, replica: usize) -> bool {
        let (caller, token) = (Caller::new(&self.ways), self.issuer.token(now()));
        let answer = caller.exchange(replica, &token).await;
        self.note((&caller, replica), answer).is_some()
    }

    /// Two keys with one token, again and again; and renewals of what was given before.
    pub(crate) async fn run(self, seed: u64) {
        let chance = Random::seeded(seed);
        while !self.stop.load(Ordering::Relaxed) {
            let (token, pair) = (self.issuer.token(now()), [Caller::new(&self.ways), Caller::new(&self.ways)]);
            let mut holds = [false; 2];
            for _attempt in 0..2 {
                let [first, second] = self.ask_both(&pair, (&token, &chance)).await;
                holds = [holds[0] | first, holds[1] | second];
            }
            if holds == [true, true] {
                self.told().broken.push("one token was admitted for two keys".to_owned());
            }
            self.renew_some(&chance).await;
            sleep(PAUSE).await;
        }
    }

    /// Two who ask at once with one token, wherever chance says; which of them were given something.
    async fn ask_both(&self, pair: &[Arc<Caller>; 2], (token, chance): (&str, &Random)) -> [bool; 2] {
        let at = [pick(chance, self.ways.len()), pick(chance, self.ways.len())];
        let both = tokio::join!(pair[0].exchange(at[0], token), pair[1].exchange(at[1], token));
        [self.note((&pair[0], at[0]), both.0).is_some(), self.note((&pair[1], at[1]), both.1).is_some()]
    }

    async fn renew_some(&self, chance: &Random) {
        let known = {
            let told = self.told();
            let place = pick(chance, told.sessions.len().max(1));
            told.sessions.get(place).map(|(caller, session)| (Arc::clone(caller), session.clone()))
        };
        let Some((caller, session)) = known else { return };
        let answer = caller.renew(pick(chance, self.ways.len()), &session).await;
        if let Err(code) = &answer
            && code.starts_with("session_")
        {
            self.told().broken.push(format!("session {session} was lost: {code}"));
        }
        if let Ok(answer) = answer {
            self.told().serials.insert(serial(&answer.certificate_chain[0]));
        }
    }

    fn note(&self, (caller, replica): (&Arc<Caller>, usize), answer: Result<X509Answer, String>) -> Option<()> {
        let mut told = self.told();
        match answer {
            Ok(answer) => {
                let serial = serial(&answer.certificate_chain[0]);
                let origin = format!("{serial} by {replica} at {}", now());
                told.origins.entry(answer.session.clone()).or_default().push(origin);
                told.serials.insert(serial);
                told.sessions.push((Arc::clone(caller), answer.session));
                Some(())
            }
            Err(code) => {
                told.unavailable += usize::from(code != "token_replayed");
                None
            }
        }
    }
}

/// One of so many.
pub(crate) fn pick(chance: &Random, count: usize) -> usize {
    usize::try_from(u64::from_be_bytes(chance.bytes()) % u64::try_from(count).unwrap()).unwrap()
}
