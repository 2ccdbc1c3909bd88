//! Between the callers and the committer, both ways, so that neither side wakes the other more often than it must:
//! a wake-up costs as much as the work itself.
//!
//! A note wakes nobody unless the committer sleeps with nothing to do. The answers of a batch are handed out together, on
//! the callers' own threads: the committer wakes one of those and not each caller.

use super::point::Point;
use super::{Commit, Committed, Entry, StoreError};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::warn;

/// Notes kept while the disk is full; more of them would say the same.
const NOTES_MAX: usize = 4096;

/// What callers send.
#[derive(Debug)]
pub(super) enum Message {
    Close,
    Commit(Commit, Reply),
    /// There is a note, and the committer slept.
    Noted,
    /// Somebody has seen the clock leap.
    Doubted,
    /// Somebody asks how far the journal is.
    Where(oneshot::Sender<Point>),
}

/// What a caller is told.
pub(super) type Outcome = Result<Committed, StoreError>;

/// Where a caller waits.
#[derive(Debug)]
pub(super) struct Reply {
    sender: oneshot::Sender<Outcome>,
    /// The runtime that it runs on, if any.
    home: Option<Handle>,
}

/// Answers of a batch under way. Whoever waits for one that is dropped hears that the store has stopped.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<Pending>);

/// Answers that are true by now; dropping them hands them out.
#[derive(Debug)]
struct Decided(Answers);

#[derive(Debug)]
struct Pending {
    reply: Reply,
    outcome: Outcome,
    /// The commit, if it may be tried again.
    again: Option<Commit>,
}

/// The callers' end.
#[derive(Debug)]
pub(super) struct Queue {
    messages: Sender<Message>,
    notes: Arc<Mutex<Notes>>,
}

/// The committer's end.
#[derive(Debug)]
pub(super) struct Incoming {
    messages: Receiver<Message>,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    waiting: Vec<Entry>,
    committer: Committing,
}

/// What the committer is at, for those who bring a note.
#[derive(Debug, Default, Eq, PartialEq)]
enum Committing {
    /// Looks at the notes by itself, soon.
    Awake,
    #[default]
    Asleep,
    Gone,
}

/// Both ends.
pub(super) fn queue() -> (Queue, Incoming) {
    let (sender, receiver) = channel();
    let notes = Arc::<Mutex<Notes>>::default();
    let incoming = Incoming { messages: receiver, notes: Arc::clone(&notes) };
    (Queue { messages: sender, notes }, incoming)
}

impl Queue {
    /// Queues a commit; resolves when it is decided and durable.
    pub(super) fn commit(&self, commit: Commit) -> impl Future<Output = Outcome> + Send + use<> {
        let (reply, answered) = Reply::new();
        // When the committer is gone the message is dropped, and with it `reply`.
        drop(self.messages.send(Message::Commit(commit, reply)));
        answered
    }

    /// Queues an entry that nobody waits for.
    pub(super) fn note(&self, entry: Entry) -> Result<(), StoreError> {
        let mut notes = locked(&self.notes);
        if notes.committer == Committing::Gone {
            return Err(StoreError::Stopped);
        }
        if notes.waiting.len() >= NOTES_MAX {
            warn!("a note is lost: the journal takes none now");
            return Ok(());
        }
        notes.waiting.push(entry);
        if notes.committer == Committing::Asleep {
            notes.committer = Committing::Awake;
            drop(notes);
            drop(self.messages.send(Message::Noted));
        }
        Ok(())
    }

    /// Has the committer look at the clock.
    pub(super) fn doubt(&self) {
        drop(self.messages.send(Message::Doubted));
    }

    /// How far the journal is on the medium, between two batches.
    pub(super) fn point(&self) -> impl Future<Output = Result<Point, StoreError>> + Send + use<> {
        let (reply, answered) = oneshot::channel();
        drop(self.messages.send(Message::Where(reply)));
        async { answered.await.map_err(|_gone| StoreError::Stopped) }
    }

    /// Asks the committer to write what is queued and end.
    pub(super) fn close(&self) {
        // A committer that has stopped by itself takes no message.
        drop(self.messages.send(Message::Close));
    }
}

impl Reply {
    /// Where the caller waits from now on; where it is dropped, he hears that the store has stopped.
    pub(super) fn new() -> (Self, impl Future<Output = Outcome> + Send + use<>) {
        let (sender, answered) = oneshot::channel();
        let reply = Self { sender, home: Handle::try_current().ok() };
        (reply, async { answered.await.unwrap_or(Err(StoreError::Stopped)) })
    }
}

impl Incoming {
    /// The next message, waiting for it.
    pub(super) fn next(&self, at_most: Option<Duration>) -> Result<Message, RecvTimeoutError> {
        match at_most {
            Some(most) => self.messages.recv_timeout(most),
            None => self.messages.recv().map_err(|_closed| RecvTimeoutError::Disconnected),
        }
    }

    /// The next message, if there is one.
    pub(super) fn waiting(&self) -> Result<Message, TryRecvError> {
        self.messages.try_recv()
    }

    /// Adds the notes to those that could not be written yet.
    pub(super) fn take_notes(&self, kept: &mut Vec<Entry>) {
        let mut notes = locked(&self.notes);
        if notes.committer == Committing::Asleep {
            notes.committer = Committing::Awake;
        }
        kept.append(&mut notes.waiting);
        drop(notes);
        if kept.len() > NOTES_MAX {
            warn!(lost = kept.len() - NOTES_MAX, "notes are lost: the journal takes none now");
            kept.truncate(NOTES_MAX);
        }
    }

    /// Takes no more notes.
    pub(super) fn close(&self) {
        locked(&self.notes).committer = Committing::Gone;
    }

    /// Whether the committer may sleep until it gets a message: no, when there are notes.
    pub(super) fn may_sleep(&self) -> bool {
        let mut notes = locked(&self.notes);
        if notes.waiting.is_empty() {
            notes.committer = Committing::Asleep;
        }
        notes.committer == Committing::Asleep
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.close();
    }
}

impl Answers {
    /// Hands them out: what they say is true. Callers on one runtime are woken there, by one task.
    pub(super) fn hand_out(&mut self) {
        let mut left = std::mem::take(&mut self.0);
        while let Some(home) = left.iter().find_map(|pending| pending.reply.home.clone()) {
            let is_there = |pending: &Pending| pending.reply.home.as_ref().is_some_and(|other| other.id() == home.id());
            let (there, others) = left.into_iter().partition(is_there);
            Decided(Self(there)).hand_out(&home);
            left = others;
        }
        drop(Decided(Self(left)));
    }

    /// One more, with the commit if it may be tried again.
    pub(super) fn push(&mut self, reply: Reply, outcome: Outcome, again: Option<Commit>) {
        self.0.push(Pending { reply, outcome, again });
    }

    /// All become this error.
    pub(super) fn fail(&mut self, error: impl Fn() -> StoreError) {
        for pending in &mut self.0 {
            pending.outcome = Err(error());
        }
    }

    /// Takes back those that may be tried again.
    pub(super) fn take_back(&mut self, commits: &mut Vec<(Commit, Reply)>) {
        for Pending { reply, outcome, again } in std::mem::take(&mut self.0) {
            match again {
                Some(commit) => commits.push((commit, reply)),
                None => self.push(reply, outcome, None),
            }
        }
    }
}

impl Decided {
    /// On the callers' runtime, unless there is one of them only. Where that has come to its end the task is dropped, and
    /// so handed out too.
    fn hand_out(self, home: &Handle) {
        if self.0.0.len() > 1 {
            drop(home.spawn(async move { drop(self) }));
        }
    }
}

impl Drop for Decided {
    fn drop(&mut self) {
        for pending in self.0.0.drain(..) {
            // A caller that has gone does not need the answer.
            drop(pending.reply.sender.send(pending.outcome));
        }
    }
}

/// A caller that panicked left whole notes behind: each push is one step.
fn locked(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Room;
    use super::*;
    use serde_json::value::RawValue;

    fn commit() -> Commit {
        Commit {
            room: Room::Common,
            conditions: Vec::new(),
            writes: Vec::new(),
            entry: RawValue::NULL.to_owned(),
            without_quorum: None,
        }
    }

    #[tokio::test]
    async fn every_caller_is_answered_whoever_looks_first_or_has_gone() {
        let (queue, incoming) = queue();
        let mut callers: Vec<_> = (0..8).map(|_| queue.commit(commit())).collect();
        let mut answers = Answers::default();
        while let Ok(Message::Commit(_, reply)) = incoming.waiting() {
            answers.push(reply, Ok(Committed::Done(1)), None);
        }
        drop(callers.remove(3));
        std::thread::spawn(move || answers.hand_out()).join().unwrap();
        for caller in callers {
            assert!(matches!(caller.await, Ok(Committed::Done(_))));
        }
    }

    #[tokio::test]
    async fn what_was_not_yet_true_is_told_to_nobody() {
        let (queue, incoming) = queue();
        let caller = queue.commit(commit());
        let mut answers = Answers::default();
        while let Ok(Message::Commit(_, reply)) = incoming.waiting() {
            answers.push(reply, Ok(Committed::Done(1)), None);
        }
        drop(answers); // as when the committer panics before its page is written
        assert!(matches!(caller.await, Err(StoreError::Stopped)));
    }

    #[test]
    fn a_note_wakes_a_sleeping_committer_once_and_is_refused_by_one_that_is_gone() {
        let (queue, incoming) = queue();
        assert!(incoming.may_sleep());
        for _ in 0..3 {
            queue.note(RawValue::NULL.to_owned()).unwrap();
        }
        assert!(matches!(incoming.waiting(), Ok(Message::Noted)));
        assert!(incoming.waiting().is_err());
        assert!(!incoming.may_sleep());
        let mut notes = Vec::new();
        incoming.take_notes(&mut notes);
        assert_eq!(notes.len(), 3);
        drop(incoming);
        assert!(matches!(queue.note(RawValue::NULL.to_owned()), Err(StoreError::Stopped)));
    }
}
