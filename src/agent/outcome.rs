//! What came of a login and of a logout, for whoever asked.

use crate::telemetry::rfc3339;
use time::OffsetDateTime;

/// What a login gave: the first SVID is in hand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoggedIn {
    /// Who the workload is.
    pub spiffe_id: String,
    /// When the SVID ends.
    pub not_after: OffsetDateTime,
    /// The session, as the server names it.
    pub session: String,
}

/// What a logout came to. The identity is gone here in any case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoggedOut {
    /// The server knows, or there was nothing to tell.
    Told {
        /// The session that has ended; none where there was none.
        session: Option<String>,
    },
    /// The server could not be told; the agent goes on trying while it runs, and when it is started again.
    NotTold {
        /// Why.
        why: String,
        /// When the session ends by itself.
        ends_at: Option<OffsetDateTime>,
    },
}

impl std::fmt::Display for LoggedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Told { .. } => f.write_str("the session has ended"),
            Self::NotTold { why, .. } => {
                write!(f, "the identity is gone here, but the server could not be told ({why})")
            }
        }
    }
}

impl LoggedOut {
    /// When the session ends if nobody tells the server.
    pub fn ends_by_itself(&self) -> String {
        let ends_at = match self {
            Self::NotTold { ends_at: Some(ends_at), .. } => Some(rfc3339(*ends_at)),
            Self::Told { .. } | Self::NotTold { .. } => None,
        };
        format!("the session ends by itself at {}", ends_at.as_deref().unwrap_or("its token's end"))
    }
}
