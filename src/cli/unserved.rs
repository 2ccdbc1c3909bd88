//! Why `exec` never started its command: nobody gave it an identity in time.

use super::login::{self, Problem};
use super::remote::ServerArgs;
use super::{doctor, render};
use crate::agent::{Refused, Setback};
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::watch;

/// A certificate that is not believed is another one only where somebody is replacing it just now.
const DISBELIEF_LASTS: Duration = Duration::from_secs(3);

/// See the file's words.
#[derive(Debug)]
pub(super) enum Unserved {
    /// Nothing came within these seconds.
    Late { what: &'static str, seconds: u64, why: String },
    /// Whoever answers does not prove to be the server.
    NotBelieved(Setback),
    /// The server said no.
    Refused(Refused),
    /// We were told to stop.
    Stopped(ExitCode),
}

impl Unserved {
    /// Whether the server has said that no session came of it; a later answer to what is unknown could still be one.
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status < 500)
    }

    /// Says why, and gives the exit code.
    pub(super) fn tell(self, server: &ServerArgs) -> ExitCode {
        match self {
            Self::Late { what, seconds, why } => {
                render::aside(&format!("no {what} within {seconds} s: {why}"));
                ExitCode::from(3)
            }
            Self::NotBelieved(setback) => {
                render::aside(&setback.to_string());
                render::aside(&remedy(&setback, server));
                ExitCode::from(3)
            }
            Self::Refused(Refused { code, say: detail, request_id, audience, status: _ }) => {
                login::tell(&Problem { code, detail, request_id, audience })
            }
            Self::Stopped(code) => code,
        }
    }
}

/// What stood in the way last.
pub(super) fn last_reason(setbacks: &watch::Receiver<Option<Setback>>) -> String {
    setbacks.borrow().as_ref().map_or_else(|| "the server has not answered yet".to_owned(), ToString::to_string)
}

/// Resolves when the server is not believed, and still is not a little later.
pub(super) async fn not_believed(mut setbacks: watch::Receiver<Option<Setback>>) -> Unserved {
    let disbelief = |last: &Option<Setback>| matches!(last, Some(Setback::NotBelieved { .. }));
    loop {
        if setbacks.wait_for(disbelief).await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(DISBELIEF_LASTS).await;
        let last = setbacks.borrow().clone();
        if let Some(setback @ Setback::NotBelieved { .. }) = last {
            return Unserved::NotBelieved(setback);
        }
    }
}

fn remedy(setback: &Setback, server: &ServerArgs) -> String {
    let (Setback::NotBelieved { fault, .. }, Ok(url), Ok(trust)) = (setback, server.url(), server.trust()) else {
        return String::new();
    };
    format!(
        "believed was what {} names: {}. The CA is named by --server-ca FILE (LANYARD_SERVER_CA) or --server-ca-sha256 HEX \
         (LANYARD_SERVER_CA_SHA256)",
        server.trust_named_by(),
        doctor::distrusted(&url, &trust, Some(*fault))
    )
}
