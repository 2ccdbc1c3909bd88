//! Keeps one target equal to the bundle that is published.

use super::target::{Outcome, Target, Watch};
use crate::authority::{Holders, Published};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::crypto::Random;
use crate::telemetry::{Shutdown, chain};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What does not work, or is changed by somebody again and again, is tried after two seconds, then twice that, and so on up
/// to a minute.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };

/// See the file's words.
#[derive(Debug)]
pub struct Publisher {
    name: String,
    target: Target,
    holders: Holders,
    random: Random,
    /// What was last written, or found written.
    last: Option<u64>,
    /// How often in a row it did not work, or did not last.
    setbacks: u32,
}

impl Publisher {
    /// Writes nothing yet; tells `holders` what it wrote, by the target's name.
    pub fn new(target: Target, holders: Holders, random: Random) -> Self {
        Self { name: target.to_string(), target, holders, random, last: None, setbacks: 0 }
    }

    /// Writes each bundle that is published, until shutdown.
    pub async fn run(
        mut self,
        mut published: watch::Receiver<Arc<Published>>,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) {
        let publishing = async {
            loop {
                let now = Arc::clone(&published.borrow_and_update());
                let written = self.write(&now, &*clock).await;
                tokio::select! {
                    () = self.rest(&written, &*clock) => {}
                    // Without the rotator there is nothing new.
                    changed = published.changed() => if changed.is_err() { std::future::pending().await },
                }
            }
        };
        tokio::select! {
            () = shutdown.wait() => {}
            () = publishing => {}
        }
    }

    /// Until there may be something to do though nothing new is published.
    async fn rest(&self, written: &Result<Watch, Option<Duration>>, clock: &dyn Clock) {
        let pause = match written {
            Ok(watch) => {
                watch.disturbed(clock).await;
                self.pause()
            }
            Err(wait) => wait.unwrap_or_default().max(self.pause()),
        };
        clock.wait_until(clock.now() + pause).await;
    }

    fn pause(&self) -> Duration {
        AGAIN.doubled(self.setbacks)
    }

    /// Whether somebody may have read there what we did not write: what stood there while it could not be reached is not known.
    const fn was_another(&self, outcome: &Outcome, wrote: bool) -> bool {
        match outcome {
            Outcome::AsItWas => false,
            Outcome::Restored(_) => true,
            Outcome::Unseen(_) => self.setbacks > 0,
            Outcome::Written => wrote || self.setbacks > 0,
        }
    }

    /// What will tell that it holds something else; how long to wait at least, where it could not be written.
    async fn write(&mut self, published: &Published, clock: &dyn Clock) -> Result<Watch, Option<Duration>> {
        let (name, sequence) = (&self.name, published.bundle.sequence);
        let wrote = self.last == Some(sequence);
        match self.target.put(published, wrote, (clock, &self.random)).await {
            Ok((outcome, watch)) => {
                if self.was_another(&outcome, wrote) {
                    self.holders.did_not_last(name);
                }
                let is_news = self.holders.wrote(name, (sequence, outcome.doubt()), clock.now());
                self.last = Some(sequence);
                self.succeeded(outcome, (sequence, is_news));
                Ok(watch)
            }
            Err(fault) => {
                self.setbacks += 1;
                let why = format!("{}; {}", chain(&fault), fault.remedy());
                if self.holders.not_written(name, why.clone()) {
                    tracing::error!(publisher = name, sequence, why, "the trust bundle cannot be written");
                }
                Err(fault.wait())
            }
        }
    }

    /// Only what somebody undoes again and again is a setback.
    fn succeeded(&mut self, outcome: Outcome, (sequence, is_news): (u64, bool)) {
        let publisher = &self.name;
        self.setbacks = if matches!(outcome, Outcome::Restored(_)) { self.setbacks + 1 } else { 0 };
        match outcome {
            Outcome::Restored(why) => {
                tracing::warn!(publisher, sequence, why, "the trust bundle is written again");
            }
            Outcome::Unseen(why) if is_news => {
                tracing::warn!(publisher, sequence, why, "the trust bundle is written, and not verifiable");
            }
            Outcome::Written => tracing::info!(publisher, sequence, "the trust bundle is written"),
            Outcome::AsItWas | Outcome::Unseen(_) => {}
        }
    }
}
