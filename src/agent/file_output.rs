//! Follows what is shown and writes each state as files, then runs the operator's hook.

use super::crls::{Crls, CrlsWatch};
use super::files::{SvidFiles, withdraw};
use super::keeper::{Identity, State};
use super::layout::Layout;
use super::memory::on_memory;
use super::run::OnStop;
use super::shown::Shown;
use super::token_source::TOKEN_VARIABLE;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::telemetry::Shutdown;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// How often a hook is run for one change, until it succeeds: a service that restarts just then is there the next time.
const HOOK_TRIES: u32 = 3;

/// Between two tries.
const HOOK_AGAIN: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(4) };

/// Files that could not be written are tried again: somebody may have made room.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Where files go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileOutput {
    /// The folder; made if missing.
    pub folder: PathBuf,
    /// Which sets of files.
    pub layouts: Vec<Layout>,
    /// Whether the revocation lists are written too; then nothing is written without them.
    pub crl: bool,
    /// A program with its arguments, run after each change; empty for none.
    pub hook: Vec<String>,
    /// A hook that takes longer is ended.
    pub hook_within: Duration,
}

impl FileOutput {
    /// A hook that reloads a service has time enough; one that hangs must not keep the next state back for long.
    pub const HOOK_WITHIN: Duration = Duration::from_secs(30);

    /// The layout `pem` and no hook.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, layouts: vec![Layout::Pem], crl: false, hook: Vec::new(), hook_within: Self::HOOK_WITHIN }
    }

    /// Writes until shutdown. Files outlive the process, not the identity.
    pub(super) async fn run(
        self,
        (shown, crls): (Shown, CrlsWatch),
        clock: Arc<dyn Clock>,
        on_stop: OnStop,
        shutdown: Shutdown,
    ) {
        let mut sources = Sources { shown, crls };
        tokio::select! {
            () = shutdown.wait() => {}
            () = self.follow(&mut sources, &*clock) => {}
        }
        if on_stop == OnStop::EndSession
            && let Err(error) = withdraw(&self.folder)
        {
            tracing::error!(%error, folder = %self.folder.display(), "the ended SVID's files cannot be removed");
        }
    }

    pub(super) fn warn_of_disk(&self) {
        let folder = self.folder.display();
        match std::fs::create_dir_all(&self.folder) {
            Ok(()) if on_memory(&self.folder) => {}
            Ok(()) => {
                tracing::warn!(%folder, "the SVID's keys are kept on a disk; a tmpfs would forget them with the machine");
            }
            Err(error) => tracing::error!(%error, %folder, "the folder for the SVID's files cannot be made"),
        }
    }

    /// Until nothing comes any more; may be dropped while a hook runs, which then ends. Files are written in this task and not
    /// beside it: a write that outlived it would leave a key behind.
    async fn follow(&self, sources: &mut Sources, clock: &dyn Clock) {
        loop {
            let (state, crls) = sources.now();
            let done = match &state {
                State::Serving(_) if self.crl && crls.is_none() => {
                    tracing::info!("the SVID's files wait for the server's revocation lists");
                    Ok(false)
                }
                State::Serving(identity) => self.publish(identity, crls.as_deref(), clock).map(|()| true),
                State::Between | State::Withdrawn => withdraw(&self.folder).map(|()| true),
                State::Waiting | State::Lapsed | State::Stopping => Ok(false),
            };
            let mut again_at = None;
            match done {
                Ok(true) => self.run_hook(&sources.shown, clock).await,
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
                () = again => {}
                goes_on = sources.changed() => if !goes_on { return },
            }
        }
    }

    fn publish(&self, identity: &Identity, crls: Option<&Crls>, clock: &dyn Clock) -> io::Result<()> {
        let mut files = SvidFiles::with(&self.layouts);
        let roots = || identity.bundle.x509_authorities.iter().map(|der| &**der);
        for (place, svid) in identity.svids.iter().enumerate() {
            let name = if place == 0 { "" } else { &svid.profile };
            files.add(name, svid.chain.iter().map(|der| &**der), svid.key.pkcs8_der(), roots());
        }
        for bundle in identity.bundles() {
            let roots: Vec<&[u8]> = bundle.x509_authorities.iter().map(|der| &**der).collect();
            files.add_bundle(bundle.trust_domain.as_str(), &roots);
        }
        if let Some(crls) = crls {
            files.add_crls(&crls.pem);
        }
        files.publish(&self.folder, &clock.now().unix_timestamp_nanos().to_string())
    }

    /// Tells the reader of the files, until it has heard; the next change is told anew.
    async fn run_hook(&self, shown: &Shown, clock: &dyn Clock) {
        for tried in 1..=HOOK_TRIES {
            if self.hook_succeeds().await || tried == HOOK_TRIES {
                return;
            }
            let again_at = clock.now() + HOOK_AGAIN.after(tried);
            let mut change = shown.clone();
            tokio::select! {
                () = clock.wait_until(again_at) => {}
                _anew = change.changed() => return,
            }
        }
    }

    async fn hook_succeeds(&self) -> bool {
        let [program, arguments @ ..] = self.hook.as_slice() else { return true };
        let mut hook = Command::new(program);
        // The job's token is nothing that a reader of files needs.
        hook.args(arguments).env_remove(TOKEN_VARIABLE).stdin(Stdio::null()).process_group(0);
        let ran = async {
            let mut hook = hook.spawn()?;
            let mut all = Group(hook.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
            let status = hook.wait().await;
            all.0 = None;
            status
        };
        match tokio::time::timeout(self.hook_within, ran).await {
            Ok(Ok(status)) if status.success() => return true,
            Ok(Ok(status)) => tracing::error!(%status, program, "the hook failed"),
            Ok(Err(error)) => tracing::error!(%error, program, "the hook cannot be run"),
            Err(_slow) => tracing::error!(program, "the hook took more than {} s", self.hook_within.as_secs()),
        }
        false
    }
}

/// What the files are made of.
struct Sources {
    shown: Shown,
    crls: CrlsWatch,
}

impl Sources {
    fn now(&mut self) -> (State, Option<Arc<Crls>>) {
        let crls = self.crls.borrow_and_update().clone();
        (self.shown.look(), crls)
    }

    /// Waits for a change; false when none comes any more.
    async fn changed(&mut self) -> bool {
        let crls = async {
            // There are none where they are not wanted.
            if self.crls.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            changed = self.shown.changed() => changed,
            () = crls => true,
        }
    }
}

/// A hook with all that it has started, ended with this; none once it has ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0
            && let Err(error) = kill_process_group(leader, Signal::KILL)
        {
            tracing::debug!(%error, "the hook had gone already");
        }
    }
}
