//! Keys in a token of a security module, by PKCS#11. All that a module is asked goes through one thread of its own: its
//! calls block, its sessions belong to who opened them, and its logins count for the whole process.

use super::place::{Place, Waiting};
use super::token::{Sessions, Token};
use super::wrap::Wrap;
use super::{Label, PlaceFault};
use crate::crypto::PublicKey;
use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// Modules across a network need some hundred milliseconds; one that hangs must not hold up its caller for long.
const WITHIN: Duration = Duration::from_secs(10);
/// As many questions may wait in front of one that hangs.
const JOBS_MAX: usize = 8;

type Job = Box<dyn FnOnce(&mut Sessions) + Send>;

/// A module, and the thread that speaks to it; clones are the same.
#[derive(Clone)]
pub(super) struct Module {
    path: PathBuf,
    jobs: Arc<Mutex<Option<SyncSender<Job>>>>,
}

impl Module {
    /// It is loaded when it is first asked.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, jobs: Arc::default() }
    }

    /// Has the thread do something, unless the caller has gone before its turn.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Sessions) -> Result<T, PlaceFault> + Send + 'static,
    ) -> Result<T, PlaceFault> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |sessions| {
            if !answer.is_closed() {
                drop(answer.send(work(sessions)));
            }
        });
        let silent = || PlaceFault::Silent { within: WITHIN };
        if !self.hand_over(job) {
            return Err(silent());
        }
        let answered = tokio::time::timeout(WITHIN, answered).await.map_err(|_late| silent())?;
        answered.map_err(|_thread_gone| silent())?
    }

    /// Begins the thread where there is none, or where it has died.
    fn hand_over(&self, mut job: Job) -> bool {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        for _attempt in ["with the thread there is", "with a new one"] {
            if let Some(there) = &*jobs {
                match there.try_send(job) {
                    Ok(()) => return true,
                    Err(std::sync::mpsc::TrySendError::Full(_)) => return false,
                    Err(std::sync::mpsc::TrySendError::Disconnected(back)) => job = back,
                }
            }
            let (sender, receiver) = sync_channel(JOBS_MAX);
            let path = self.path.clone();
            let began = thread::Builder::new().name("pkcs11".into()).spawn(move || serve(&receiver, path));
            *jobs = began.is_ok().then_some(sender);
        }
        false
    }
}

fn serve(jobs: &Receiver<Job>, module: PathBuf) {
    let mut sessions = Sessions::with(module);
    while let Ok(job) = jobs.recv() {
        job(&mut sessions);
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.path.display())
    }
}

/// A token of a module.
#[derive(Debug)]
pub(super) struct Pkcs11 {
    module: Module,
    token: Token,
}

impl Pkcs11 {
    pub(super) const fn new(module: Module, label: String, pin_file: PathBuf) -> Self {
        Self { module, token: Token { label, pin_file } }
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Sessions, &Token) -> Result<T, PlaceFault> + Send + 'static,
    ) -> Waiting<'_, T> {
        let token = self.token.clone();
        Box::pin(self.module.ask(move |sessions| work(sessions, &token)))
    }
}

impl Place for Pkcs11 {
    fn make<'a>(&'a self, label: &'a Label) -> Waiting<'a, PublicKey> {
        let label = label.clone();
        self.ask(move |sessions, token| sessions.make(token, &label))
    }

    fn find<'a>(&'a self, label: &'a Label) -> Waiting<'a, Option<PublicKey>> {
        let label = label.clone();
        self.ask(move |sessions, token| sessions.find(token, &label))
    }

    fn sign<'a>(&'a self, label: &'a Label, message: &'a [u8]) -> Waiting<'a, Vec<u8>> {
        let (label, message) = (label.clone(), message.to_vec());
        self.ask(move |sessions, token| sessions.sign(token, &label, &message))
    }

    fn list(&self) -> Waiting<'_, Vec<String>> {
        self.ask(Sessions::list)
    }

    fn delete<'a>(&'a self, label: &'a Label) -> Waiting<'a, ()> {
        let label = label.clone();
        self.ask(move |sessions, token| sessions.delete(token, &label))
    }
}

impl Wrap for Pkcs11 {
    fn wrap<'a>(&'a self, label: &'a Label, secret: &'a [u8]) -> Waiting<'a, Vec<u8>> {
        let (label, secret) = (label.clone(), Zeroizing::new(secret.to_vec()));
        self.ask(move |sessions, token| sessions.wrap(token, &label, &secret))
    }

    fn open<'a>(&'a self, label: &'a Label, wrapped: &'a [u8]) -> Waiting<'a, Zeroizing<Vec<u8>>> {
        let (label, wrapped) = (label.clone(), wrapped.to_vec());
        self.ask(move |sessions, token| sessions.unwrap_key(token, &label, &wrapped))
    }
}
