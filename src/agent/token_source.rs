//! Where the CI system hands out tokens.

use super::order::Order;
use super::waiting::Answer;
use crate::clock::Clock;
use crate::crypto::Digest;
use crate::telemetry::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

/// How often a file is looked at: works in Kubernetes' symlink swaps too.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the server reads at most (settled number: token ≤ 96 KiB), and one byte to notice more.
const TOKEN_BYTES_MAX: u64 = 96 * 1024;

/// Where GitLab puts the token when the job's `id_tokens` entry has this name.
pub const TOKEN_VARIABLE: &str = "LANYARD_ID_TOKEN";

/// Where the agent gets the job's token from.
#[derive(Clone, Eq, PartialEq)]
pub enum TokenSource {
    /// A file that something else writes, now or later.
    File(PathBuf),
    /// The token itself, as from `$LANYARD_ID_TOKEN`.
    Given(Zeroizing<String>),
    /// `lanyard login` brings it.
    Login,
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Given(_) => f.write_str("Given"),
            Self::Login => f.write_str("Login"),
        }
    }
}

impl TokenSource {
    /// Logs in with each new token, until shutdown.
    pub(super) async fn run(self, orders: mpsc::Sender<Order>, clock: Arc<dyn Clock>, shutdown: Shutdown) {
        let follow = async {
            match self {
                Self::File(path) => follow(&path, &orders, &*clock).await,
                Self::Given(token) => log_in(&orders, token).await,
                Self::Login => {}
            }
            shutdown.wait().await;
        };
        tokio::select! {
            () = shutdown.wait() => {}
            () = follow => {}
        }
    }
}

async fn follow(path: &Path, orders: &mpsc::Sender<Order>, clock: &dyn Clock) {
    let mut last = None;
    loop {
        match read(path).await {
            Ok(token) if token.is_empty() => {}
            Ok(token) => {
                let digest = Digest::of(token.as_bytes());
                if last.replace(digest) != Some(digest) {
                    log_in(orders, token).await;
                }
            }
            Err(error) => tracing::debug!(%error, path = %path.display(), "no token in the file yet"),
        }
        clock.wait_until(clock.now() + LOOK_EVERY).await;
    }
}

async fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    tokio::fs::File::open(path).await?.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text).await?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// What comes of it is logged by the renewer.
async fn log_in(orders: &mpsc::Sender<Order>, token: Zeroizing<String>) {
    let (outcome, _unread) = oneshot::channel();
    let answer = Answer { outcome, setback: watch::Sender::new(None) };
    if orders.send(Order::Login { token, answer }).await.is_err() {
        tracing::debug!("the agent stops; no login");
    }
}
