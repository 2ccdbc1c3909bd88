//! How the doors ask for the policy to be read again: by a message to whoever keeps it.

use crate::crypto::Digest;
use tokio::sync::{mpsc, oneshot};

/// Somebody wants the policy to be read again.
#[derive(Debug)]
pub struct Reload {
    /// The operator's user id.
    pub uid: u32,
    /// Where the outcome goes.
    pub answer: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// A policy was read; it decides from now on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reloaded {
    /// Of the policy that decided before.
    pub old: Digest,
    /// Of the one that decides now; the same where nothing has changed.
    pub new: Digest,
    /// How many rules it has.
    pub rules: usize,
    /// How many refusals.
    pub refusals: usize,
    /// What loads but should be known.
    pub warnings: Vec<String>,
}

/// Why the policy stays the one that it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotReloaded {
    /// The files have problems.
    #[error("the policy has problems: {}", .0.join("; "))]
    Problems(Vec<String>),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// The change cannot be recorded, so it does not happen.
    #[error("the change cannot be recorded")]
    Unrecorded,
}

/// Takes wishes for a reload to the keeper of the policy.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Reload>);

impl Reloads {
    /// The doors' end, and the keeper's. One wish waits; more wait at the door.
    pub fn pair() -> (Self, mpsc::Receiver<Reload>) {
        let (ask, asked) = mpsc::channel(1);
        (Self(ask), asked)
    }

    /// Asks, and waits for the outcome.
    pub(super) async fn ask(&self, uid: u32) -> Result<Reloaded, NotReloaded> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Reload { uid, answer }).await.map_err(|_gone| NotReloaded::Stopped)?;
        answered.await.unwrap_or(Err(NotReloaded::Stopped))
    }
}
