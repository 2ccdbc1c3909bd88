//! What kept the server from granting anything this time; it is asked again.

use crate::telemetry::chain;
use crate::tls::{CertificateFault, TlsError};
use std::error::Error as StdError;
use std::time::Duration;
use tonic::Status;

/// Metadata of every answer of the server's own that is no grant: its stable code.
pub(super) const CODE: &str = "lanyard-code";
/// Metadata of an answer that asks to wait.
pub(super) const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// A server that says more does not know how long our SVIDs live.
const AGAIN_IN_MAX: Duration = Duration::from_secs(60);

/// See the file's words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Setback {
    /// The server was there, and could not.
    #[error("the server answered that it cannot now: {why}")]
    Busy {
        /// In its words.
        why: String,
        /// When it wants to be asked again, if it said so.
        again_in: Option<Duration>,
    },
    /// Whoever was there did not prove to be the server.
    #[error("the server is not believed: {why}")]
    NotBelieved {
        /// In the TLS library's words, and what is trusted.
        why: String,
        /// What is wrong with the certificate.
        fault: CertificateFault,
    },
    /// Nothing answered.
    #[error("the server is not reachable: {why}")]
    Unreachable {
        /// What the system or the library says.
        why: String,
    },
}

impl Setback {
    /// Reads a status that is no refusal.
    pub(super) fn of(status: &Status) -> Self {
        // The status's own words only say that there was a cause, where it has one.
        let cause = StdError::source(status);
        let why = cause.map_or_else(|| status.message().to_owned(), chain);
        match cause.and_then(fault_within) {
            Some(fault) => Self::NotBelieved { why, fault },
            None if status.metadata().contains_key(CODE) => Self::Busy { why, again_in: again_in(status) },
            None => Self::Unreachable { why },
        }
    }

    pub(super) const fn again_in(&self) -> Option<Duration> {
        if let Self::Busy { again_in, .. } = self { *again_in } else { None }
    }
}

/// What was wrong with the other side's certificate, if that is among the causes.
fn fault_within(cause: &(dyn StdError + 'static)) -> Option<CertificateFault> {
    let tls = cause.downcast_ref::<TlsError>().and_then(TlsError::certificate_fault);
    tls.or_else(|| fault_within(cause.source()?))
}

/// What gRPC calls pushback (gRFC A6); no longer than makes sense.
fn again_in(status: &Status) -> Option<Duration> {
    let said = status.metadata().get(PUSHBACK)?.to_str().ok()?.parse().ok();
    said.map(|millis| Duration::from_millis(millis).min(AGAIN_IN_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn a_busy_server_says_when_it_wants_to_be_asked_again() {
        let said = |text: &'static str| {
            let mut status = Status::new(Code::ResourceExhausted, "x");
            status.metadata_mut().insert(CODE, "too_many".parse().unwrap());
            status.metadata_mut().insert(PUSHBACK, text.parse().unwrap());
            Setback::of(&status).again_in().map(|span| span.as_millis())
        };
        assert_eq!(["1000", "0", "9999999", "-1", "soon"].map(said), [Some(1000), Some(0), Some(60_000), None, None]);
    }

    #[test]
    fn a_server_that_answers_is_reachable() {
        let mut answered = Status::new(Code::Unavailable, "nothing can be recorded at the moment");
        answered.metadata_mut().insert(CODE, "store_unavailable".parse().unwrap());
        for (status, told) in [
            (answered, "the server answered that it cannot now: nothing can be recorded at the moment"),
            (Status::new(Code::DeadlineExceeded, "Timeout expired"), "the server is not reachable: Timeout expired"),
        ] {
            assert_eq!(Setback::of(&status).to_string(), told);
        }
    }
}
