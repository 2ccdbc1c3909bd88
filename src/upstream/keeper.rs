//! Asks the authority above ours when it is told to, and looks at the roots; what it hears goes to whoever keeps the keys.

use super::{Certified, RootsFile, Upstream, UpstreamError, UpstreamRoot, Wanted};
use crate::clock::Clock;
use crate::stamp::Stamp;
use crate::telemetry::{Shutdown, chain};
use rustls_pki_types::CertificateDer;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::mpsc;

/// Soon enough for whoever changes a file and looks; rare enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is heard of the authority above ours.
#[derive(Debug)]
pub enum Heard {
    /// An answer, or why there is none.
    Answer(Result<Certified, UpstreamError>),
    /// The roots are others than before.
    Roots(Vec<UpstreamRoot>),
}

/// The ends that whoever keeps the keys holds.
#[derive(Debug)]
pub struct UpstreamEnds {
    /// Where to ask.
    pub asks: mpsc::Sender<Wanted>,
    /// What is heard.
    pub heard: mpsc::Receiver<Heard>,
    /// What it is, for log and operators.
    pub kind: &'static str,
}

/// See the file's words.
#[derive(Debug)]
pub struct UpstreamKeeper {
    upstream: Arc<dyn Upstream>,
    roots_file: RootsFile,
    roots: Vec<UpstreamRoot>,
    least: Duration,
    asks: mpsc::Receiver<Wanted>,
    heard: mpsc::Sender<Heard>,
}

/// What came, as it came, and what was asked for.
type Answered = Result<(Vec<CertificateDer<'static>>, Wanted), UpstreamError>;
type UnderWay = Pin<Box<dyn Future<Output = Answered> + Send>>;

impl UpstreamKeeper {
    /// With the roots as they were read last; `least` is for how long an answer must be of use.
    pub fn new(
        upstream: Arc<dyn Upstream>,
        (roots_file, roots): (RootsFile, Vec<UpstreamRoot>),
        least: Duration,
    ) -> (Self, UpstreamEnds) {
        // One question at a time.
        let ((asks, asked), (told, heard)) = (mpsc::channel(1), mpsc::channel(1));
        let ends = UpstreamEnds { asks, heard, kind: upstream.kind() };
        (Self { upstream, roots_file, roots, least, asks: asked, heard: told }, ends)
    }

    /// Runs until shutdown.
    pub async fn run(mut self, clock: Arc<dyn Clock>, shutdown: Shutdown) {
        // Not looked at before: the file may have changed since it was read at start.
        let (mut seen, mut under_way) = (None, None::<UnderWay>);
        loop {
            let stamp = Stamp::of(self.roots_file.path());
            if seen.as_ref() != Some(&stamp) {
                seen = Some(stamp);
                self.look(&*clock).await;
            }
            let answered = tokio::select! {
                () = shutdown.wait() => return,
                () = clock.wait_until(clock.now() + LOOK_EVERY) => continue,
                Some(wanted) = self.asks.recv(), if under_way.is_none() => {
                    under_way = Some(Box::pin(ask(Arc::clone(&self.upstream), wanted, Arc::clone(&clock))));
                    continue;
                }
                answered = done(&mut under_way) => answered,
            };
            under_way = None;
            let answer = answered.and_then(|(chain, wanted)| self.judge(chain, &wanted, clock.now()));
            self.tell(Heard::Answer(answer)).await;
        }
    }

    /// By the roots of now: somebody may have added the one that was missing.
    fn judge(
        &self,
        chain: Vec<CertificateDer<'static>>,
        wanted: &Wanted,
        now: OffsetDateTime,
    ) -> Result<Certified, UpstreamError> {
        Ok(Certified::of(chain, wanted, &self.roots, (now, self.least))?)
    }

    async fn look(&mut self, clock: &dyn Clock) {
        match self.roots_file.read(clock.now()) {
            Ok(roots) if roots == self.roots => {}
            Ok(roots) => {
                self.roots.clone_from(&roots);
                self.tell(Heard::Roots(roots)).await;
            }
            Err(fault) => tracing::error!(
                fault = chain(&fault),
                remedy = fault.remedy(),
                "the upstream's roots were not read again; the former ones stay"
            ),
        }
    }

    /// Without whoever keeps the keys the server ends anyway.
    async fn tell(&self, heard: Heard) {
        if self.heard.send(heard).await.is_err() {
            tracing::debug!("nobody keeps the keys any more");
        }
    }
}

/// Asks and waits, but not for ever.
async fn ask(upstream: Arc<dyn Upstream>, wanted: Wanted, clock: Arc<dyn Clock>) -> Answered {
    let (within, asked_at) = (upstream.within(), clock.now());
    let chain = tokio::select! {
        chain = upstream.certify(&wanted, asked_at) => chain?,
        () = clock.wait_until(asked_at + within) => return Err(UpstreamError::TimedOut { within }),
    };
    Ok((chain, wanted))
}

/// The first intermediate, before there is anybody who waits: asked once.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn ask_once(
    upstream: Arc<dyn Upstream>,
    wanted: Wanted,
    roots: &[UpstreamRoot],
    (clock, least): (Arc<dyn Clock>, Duration),
) -> Result<Certified, UpstreamError> {
    let (chain, wanted) = ask(upstream, wanted, Arc::clone(&clock)).await?;
    Ok(Certified::of(chain, &wanted, roots, (clock.now(), least))?)
}

async fn done(under_way: &mut Option<UnderWay>) -> Answered {
    match under_way {
        Some(under_way) => under_way.await,
        None => std::future::pending().await,
    }
}
