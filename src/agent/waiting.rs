//! Those who have logged in and wait for what comes of it.

use super::link::Refused;
use super::outcome::LoggedIn;
use tokio::sync::oneshot;

/// Where one of them hears.
pub(super) type Answer = oneshot::Sender<Result<LoggedIn, Refused>>;

/// See the file's words.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<Answer>);

impl Waiting {
    pub(super) fn join(&mut self, answer: Answer) {
        self.0.push(answer);
    }

    /// Tells all of them, and forgets them. Whoever asked may have gone.
    pub(super) fn answer(&mut self, outcome: &Result<LoggedIn, Refused>) {
        for waiting in self.0.drain(..) {
            let _gone = waiting.send(outcome.clone());
        }
    }

    /// Writes a refusal down: whoever waits hears it from us; without one, the log is the only place.
    pub(super) fn log(&self, refused: &Refused) {
        if self.0.iter().all(oneshot::Sender::is_closed) {
            tracing::error!(code = refused.code, request_id = refused.request_id, "refused: {}", refused.say);
        } else {
            tracing::info!(code = refused.code, request_id = refused.request_id, "refused: {}", refused.say);
        }
    }
}
