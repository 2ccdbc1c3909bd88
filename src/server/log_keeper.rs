//! What is logged can change while the server runs: its file is looked at, as the policy's is.

use crate::clock::Clock;
use crate::config::load_log_filter;
use crate::stamp::Stamp;
use crate::telemetry::{LogFilter, LogLevel};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Soon enough for whoever saves a file and looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Keeps what is logged equal to what the server's file says of it.
#[derive(Debug)]
pub struct LogKeeper {
    /// The server's file.
    pub file: PathBuf,
    /// What is logged where that says nothing.
    pub otherwise: LogFilter,
    /// What is logged now.
    pub filter: LogFilter,
    /// Changes it.
    pub level: LogLevel,
}

impl LogKeeper {
    /// Keeps it for as long as it is polled.
    pub async fn run(mut self, clock: Arc<dyn Clock>) -> Infallible {
        let mut seen = Stamp::of(&self.file);
        loop {
            clock.wait_until(clock.now() + LOOK_EVERY).await;
            let stamp = Stamp::of(&self.file);
            if seen != stamp {
                seen = stamp;
                self.look();
            }
        }
    }

    fn look(&mut self) {
        match load_log_filter(&self.file) {
            Ok(said) => self.change(said.unwrap_or_else(|| self.otherwise.clone())),
            Err(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "the log's filter stays");
                }
            }
        }
    }

    /// Told under the more talkative of the two.
    fn change(&mut self, new: LogFilter) {
        let old = std::mem::replace(&mut self.filter, new);
        if old == self.filter {
            return;
        }
        let new = &self.filter;
        if tracing::event_enabled!(tracing::Level::INFO) {
            tracing::info!(%old, %new, "another log filter");
            self.level.set(new);
        } else {
            self.level.set(new);
            tracing::info!(%old, %new, "another log filter");
        }
    }
}
