//! How a process's parts learn that it is time to stop.

use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Hears that it is time to stop. Clones hear the same.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Says that it is time to stop; dropping it says so too, so that a lost owner stops what it owned.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl Shutdown {
    /// A trigger and what hears it.
    pub fn pair() -> (ShutdownTrigger, Self) {
        let (trigger, heard) = watch::channel(false);
        (ShutdownTrigger(trigger), Self(heard))
    }

    /// Resolves when it is time to stop; at once if that has been said already.
    pub async fn wait(&self) {
        // An error means that the trigger is gone, which says the same.
        let _ended = self.0.clone().wait_for(|stop| *stop).await.is_err();
    }

    /// Whether it is time to stop.
    pub fn is_due(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl ShutdownTrigger {
    /// Says that it is time to stop.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }

    /// Resolves at SIGINT or SIGTERM, with the signal's name. The second one of a kind ends nothing more. SIGHUP, which
    /// administrators take for "reload", ends nothing; a server's keeper of the policy hears it too.
    ///
    /// # Errors
    /// When the operating system does not let us listen.
    pub async fn signalled() -> io::Result<&'static str> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok("SIGINT"),
                _ = terminate.recv() => return Ok("SIGTERM"),
                _ = hangup.recv() => tracing::info!("SIGHUP: a server reads its policy again; of its configuration it follows the log's filter, all else is read at start"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_of_the_end_also_those_who_ask_late() {
        let (trigger, shutdown) = Shutdown::pair();
        let early = shutdown.clone();
        assert!(!early.is_due());
        trigger.pull();
        early.wait().await;
        shutdown.clone().wait().await;
        assert!(shutdown.is_due());
    }

    #[tokio::test]
    async fn a_lost_trigger_stops_what_it_owned() {
        let (trigger, shutdown) = Shutdown::pair();
        drop(trigger);
        shutdown.wait().await;
        assert!(shutdown.is_due());
    }
}
