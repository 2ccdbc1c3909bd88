//! What a store promises: one call commits conditions, writes and a journal entry together, or nothing.

use super::ClockError;
use serde_json::value::RawValue;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use time::OffsetDateTime;

/// A pending answer of a store.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Grows with every write to a key: on one machine the journal position of the record that wrote it, in etcd its revision.
pub type Revision = u64;

/// A record's number in the journal, from 1.
pub type Position = u64;

/// The text of a journal entry, one JSON object. The kinds `checkpoint` and `time_accepted` are the store's own.
pub type Entry = Box<RawValue>;

/// A value and when it was written.
#[derive(Clone, Debug)]
pub struct Stored {
    /// JSON text, with the owner's version in it.
    pub value: Box<RawValue>,
    /// Which write it was.
    pub revision: Revision,
}

/// What must hold for a commit to happen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Condition {
    /// The key holds nothing.
    Absent(String),
    /// The key holds something.
    Present(String),
    /// The key was last written by this revision.
    Unchanged(String, Revision),
}

impl Condition {
    /// Whose.
    pub(super) fn key(&self) -> &str {
        let (Self::Absent(key) | Self::Present(key) | Self::Unchanged(key, _)) = self;
        key
    }

    /// Whether it holds for a key of this revision.
    pub(super) fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => found.is_none(),
            Self::Present(_) => found.is_some(),
            Self::Unchanged(_, revision) => found == Some(*revision),
        }
    }
}

/// One change.
#[derive(Clone, Debug)]
pub enum Write {
    /// The key holds this from now on.
    Put(String, Box<RawValue>),
    /// The key holds nothing from now on.
    Delete(String),
}

/// Which room on the disk a commit may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Room {
    /// What is left of it.
    Common,
    /// Also what is kept back for a full disk: for what must not wait until somebody makes room.
    Reserve,
    /// The same, also while the clock is not believed: what only takes away is right at any time.
    AnyTime,
}

/// Conditions, writes and the entry that tells of them.
#[derive(Clone, Debug)]
pub struct Commit {
    /// How much it matters when the disk is full.
    pub room: Room,
    /// All must hold, looked at in order.
    pub conditions: Vec<Condition>,
    /// Done together; of several writes to one key the last counts.
    pub writes: Vec<Write>,
    /// What the journal says of it.
    pub entry: Entry,
    /// Where several replicas share a store and no quorum of it answers: for so long after it last did, conditions alone
    /// may be judged by what this replica knows. What writes never is.
    pub without_quorum: Option<Duration>,
}

/// A key that another replica wrote, and what it holds by now.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The key.
    pub key: String,
    /// Nothing, where it was deleted.
    pub now: Option<Stored>,
}

/// What became of a commit.
#[derive(Clone, Debug)]
pub enum Committed {
    /// Durable at this position.
    Done(Position),
    /// A condition did not hold: nothing was written. The first such condition's key, and what it holds.
    Conflict {
        /// The key.
        key: String,
        /// What it holds now.
        found: Option<Stored>,
    },
}

/// Why a store could not answer. After any of these nothing is half done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The clock cannot be believed: nothing was written, and nothing is until it can.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The clock of this replica is apart from those of others: nothing was written, and nothing is until it is right.
    #[error("{why}")]
    ClocksApart {
        /// From whose.
        why: String,
    },
    /// The index could not be read, or did not take what the journal already holds; then the store stops
    /// and a restart brings the index up to the journal.
    #[error("the index cannot be used")]
    Index(#[source] std::io::Error),
    /// The journal could not be written: nothing happened. Or it could not be synced: the store stops, and only
    /// a restart tells whether the commit is in the journal, whole, or not at all.
    #[error("the journal cannot be written")]
    Journal(#[source] std::io::Error),
    /// The committer has stopped: the process is ending, or an earlier sync did not work and only a restart is safe.
    #[error("the store has stopped")]
    Stopped,
    /// The replicas' store cannot be asked. Where something was to be written, it may have been.
    #[error("the store cannot be reached: {why}")]
    Unreachable {
        /// What was said last.
        why: String,
    },
    /// The replicas' store is another than the journal knows; nothing is written until an operator has reconciled them.
    #[error("{why}")]
    WentBack {
        /// How it differs.
        why: String,
    },
}

/// Keys and values behind a journal.
pub trait Store: Debug + Send + Sync + 'static {
    /// What a key holds.
    ///
    /// # Errors
    /// `Index`.
    fn read(&self, key: &str) -> Result<Option<Stored>, StoreError>;

    /// Everything under a prefix, in key order.
    ///
    /// # Errors
    /// `Index`.
    fn list(&self, prefix: &str) -> Result<Vec<(String, Stored)>, StoreError> {
        self.page(prefix, "", usize::MAX)
    }

    /// The first keys under a prefix that come after one, in key order, and not more than so many.
    ///
    /// # Errors
    /// `Index`.
    fn page(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<(String, Stored)>, StoreError>;

    /// Conditions, writes and entry, together and durable, or nothing. Dropping the answer does not undo it.
    fn commit(&self, commit: Commit) -> Answer<Committed>;

    /// Queues an entry that nobody waits for; it is durable with the next commit or within a second.
    ///
    /// # Errors
    /// `Stopped`.
    fn note(&self, entry: Entry) -> Result<(), StoreError>;

    /// Hears of a time that others vouch for: a genuine token was dated so.
    fn vouch(&self, _at: OffsetDateTime) {}

    /// Whether a record could be dated now.
    ///
    /// # Errors
    /// `Leapt`.
    fn check_clock(&self) -> Result<(), ClockError> {
        Ok(())
    }

    /// Resolves once reads show whatever was committed anywhere before. Where nobody else writes they always do.
    fn caught_up(&self) -> Answer<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Resolves once whoever hears of others' writes has taken in all that reads show.
    fn all_heard(&self) -> Answer<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether work that is enough for one replica to do is this one's. Nothing may rest on it: two may think so.
    fn leads(&self) -> bool {
        true
    }

    /// Whether others write here, too.
    fn is_shared(&self) -> bool {
        false
    }
}
