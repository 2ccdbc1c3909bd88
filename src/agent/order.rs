//! What a renewer is asked to do, by the doors and by whoever sees that its job is over.

use super::outcome::LoggedOut;
use super::waiting::Answer;
use crate::wire::lanyard::JobEnd;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// See the file's words.
#[derive(Debug)]
pub(super) enum Order {
    /// The job is over: its session ends, and so does the renewer once the server knows.
    Close { why: JobEnd },
    /// A token, and who waits for what becomes of it.
    Login { token: Zeroizing<String>, answer: Answer },
    /// The session ends; another may follow.
    Logout { why: JobEnd, answer: oneshot::Sender<LoggedOut> },
}
