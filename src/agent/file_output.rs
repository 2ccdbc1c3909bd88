//! Follows the keeper and writes each state as files, then runs the operator's hook.

use super::files::{SvidFiles, withdraw};
use super::keeper::{Identity, KeeperWatch, State};
use super::run::OnStop;
use crate::clock::Clock;
use crate::telemetry::Shutdown;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// A hook that reloads a service has time enough; one that hangs must not keep the next state back.
const HOOK_WITHIN: Duration = Duration::from_secs(30);

/// Files that could not be written are tried again: somebody may have made room.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Where files go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileOutput {
    /// The folder; made if missing.
    pub folder: PathBuf,
    /// A program with its arguments, run after each change; empty for none.
    pub hook: Vec<String>,
}

impl FileOutput {
    /// Writes until shutdown. Files outlive the process, not the identity.
    pub(super) async fn run(self, mut keeper: KeeperWatch, clock: Arc<dyn Clock>, on_stop: OnStop, shutdown: Shutdown) {
        self.follow(&mut keeper, &*clock, shutdown).await;
        if on_stop == OnStop::EndSession
            && let Err(error) = withdraw(&self.folder)
        {
            tracing::error!(%error, folder = %self.folder.display(), "the ended SVID's files cannot be removed");
        }
    }

    async fn follow(&self, keeper: &mut KeeperWatch, clock: &dyn Clock, shutdown: Shutdown) {
        loop {
            let state = keeper.borrow_and_update().clone();
            let done = match &state {
                State::Serving(identity) => self.publish(identity, clock).map(|()| true),
                State::Between | State::Withdrawn => withdraw(&self.folder).map(|()| true),
                State::Waiting | State::Stopping => Ok(false),
            };
            let mut again_at = None;
            match done {
                Ok(true) => self.run_hook().await,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, folder = %self.folder.display(), "the SVID's files cannot be written");
                    again_at = Some(clock.now() + AGAIN_AFTER);
                }
            }
            let again = async {
                match again_at {
                    Some(at) => clock.wait_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.wait() => return,
                () = again => {}
                changed = keeper.changed() => if changed.is_err() { return },
            }
        }
    }

    fn publish(&self, identity: &Identity, clock: &dyn Clock) -> io::Result<()> {
        let mut files = SvidFiles::new();
        for (place, svid) in identity.svids.iter().enumerate() {
            let name = if place == 0 { "" } else { &svid.profile };
            let chain = svid.chain.iter().map(|der| &**der);
            let bundle = identity.bundle.x509_authorities.iter().map(|der| &**der);
            files.add(name, chain, svid.key.pkcs8_der(), bundle);
        }
        files.publish(&self.folder, &clock.now().unix_timestamp_nanos().to_string())
    }

    async fn run_hook(&self) {
        let [program, arguments @ ..] = self.hook.as_slice() else { return };
        let ran = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).status();
        match tokio::time::timeout(HOOK_WITHIN, ran).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(Ok(status)) => tracing::error!(%status, program, "the hook failed"),
            Ok(Err(error)) => tracing::error!(%error, program, "the hook cannot be run"),
            Err(_slow) => tracing::error!(program, "the hook took more than {} s", HOOK_WITHIN.as_secs()),
        }
    }
}
