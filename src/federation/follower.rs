//! Keeps one trust domain's bundle equal to its source.

use super::config_map::ConfigMapError;
use super::looked::Seen;
use super::poller::Poller;
use super::turns::Turn;
use super::{ConfigMapKey, Federation, Source};
use crate::backoff::Backoff;
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::identity::TrustDomain;
use crate::stamp::Stamp;
use crate::telemetry::{Shutdown, chain};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Soon enough for a root that is rotated with any care, and rare enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// An API that is away is asked again after a second, then twice that, and so on up to 32 seconds.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(32) };
/// One more than is read of any form: enough to see that it is too much.
const BYTES_READ_MAX: u64 = (1 << 20) + 1;

/// See the file's words.
#[derive(Debug)]
pub struct Follower {
    federation: Federation,
    trust_domain: TrustDomain,
    source: Source,
    turn: Turn,
    seen: Option<Stamp>,
}

impl Follower {
    pub(super) fn new(federation: Federation, (trust_domain, source): (TrustDomain, Source), turn: Turn) -> Self {
        Self { federation, trust_domain, source, turn, seen: None }
    }

    /// Looks once, where that waits for nobody: what lies on this machine is there before the first job comes.
    pub async fn begin(&mut self, clock: &dyn Clock) {
        if let Source::File { path } = &self.source {
            let path = path.clone();
            self.look(path, clock).await;
        }
    }

    /// Follows until shutdown, or until it is over.
    pub async fn run(mut self, clock: Arc<dyn Clock>, shutdown: Shutdown) {
        let following = async {
            match self.source.clone() {
                Source::ConfigMap(of) => self.watch(&of, &*clock).await,
                Source::Endpoint(endpoint) => {
                    let Self { federation, trust_domain, source, turn, .. } = self;
                    Poller::new(federation, (trust_domain, source, endpoint), turn).run(Arc::clone(&clock)).await;
                }
                Source::File { path } => loop {
                    clock.wait_until(clock.now() + LOOK_EVERY).await;
                    self.look(path.clone(), &*clock).await;
                },
                Source::Operator => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.wait() => {}
            () = following => {}
        }
    }

    /// Lists, and watches until that is over, again and again.
    async fn watch(&self, of: &ConfigMapKey, clock: &dyn Clock) {
        let mut failures = 0;
        loop {
            if let Err(fault) = self.watch_once(of, (clock, &mut failures)).await {
                failures += 1;
                self.tell(Err(fault.told()), clock).await;
            }
            clock.wait_until(clock.now() + AGAIN.doubled(failures)).await;
        }
    }

    async fn watch_once(
        &self,
        of: &ConfigMapKey,
        (clock, failures): (&dyn Clock, &mut u32),
    ) -> Result<(), ConfigMapError> {
        let (text, mut watched) = of.list().await?;
        *failures = 0;
        let mut text = Some(text);
        while let Some(shown) = text {
            let read = |text: Vec<u8>| Bundle::read(self.trust_domain.clone(), &text).map_err(|odd| chain(&odd));
            self.tell(shown.and_then(read), clock).await;
            text = watched.next().await?;
        }
        Ok(())
    }

    async fn tell(&self, found: Result<Bundle, String>, clock: &dyn Clock) -> bool {
        let of = (&self.trust_domain, &self.source);
        let told = self.federation.looked(of, found.map(Seen::from), clock.now()).await;
        told.inspect_err(|fault| {
            let (trust_domain, why) = (&self.trust_domain, chain(fault));
            tracing::error!(%trust_domain, why, "a foreign bundle cannot be recorded");
        })
        .is_ok()
    }

    /// Reads the file where it is another than before.
    async fn look(&mut self, path: PathBuf, clock: &dyn Clock) {
        let stamp = Stamp::of(&path);
        if self.seen.as_ref() == Some(&stamp) {
            return;
        }
        let trust_domain = self.trust_domain.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || read(trust_domain, &path)).await else { return };
        if self.tell(found, clock).await {
            self.seen = Some(stamp);
        }
    }
}

fn read(trust_domain: TrustDomain, path: &Path) -> Result<Bundle, String> {
    let text = read_bounded(path).map_err(|error| format!("it cannot be read: {error}"))?;
    Bundle::read(trust_domain, &text).map_err(|odd| chain(&odd))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(BYTES_READ_MAX).read_to_end(&mut text)?;
    Ok(text)
}
