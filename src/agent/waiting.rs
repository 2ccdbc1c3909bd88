//! Those who have logged in and wait for what comes of it.

use super::link::Refused;
use super::outcome::LoggedIn;
use super::setback::Setback;
use tokio::sync::{oneshot, watch};

/// Where one of them hears.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: oneshot::Sender<Result<LoggedIn, Refused>>,
    /// And what stands in the way meanwhile.
    pub(super) setback: watch::Sender<Option<Setback>>,
}

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
            let _gone = waiting.outcome.send(outcome.clone());
        }
    }

    /// It did not work yet.
    pub(super) fn tell(&self, setback: &Setback) {
        for waiting in &self.0 {
            waiting.setback.send_replace(Some(setback.clone()));
        }
    }

    /// Writes a refusal down: whoever waits hears it from us; without one, the log is the only place.
    pub(super) fn log(&self, refused: &Refused) {
        if self.0.iter().all(|waiting| waiting.outcome.is_closed()) {
            tracing::error!(code = refused.code, request_id = refused.request_id, "refused: {}", refused.say);
        } else {
            tracing::info!(code = refused.code, request_id = refused.request_id, "refused: {}", refused.say);
        }
    }
}
