//! What would become of whoever brings a token, looked at and not touched: for those who only want to know.

use super::keeper::{Sessions, live};
use super::{Facets, SessionError, SessionId};
use crate::token::Claims;
use std::sync::Arc;
use time::OffsetDateTime;

impl Sessions {
    /// Whether a key has used the token, whose session lives; only that key gets more with it.
    ///
    /// # Errors
    /// Why nobody gets anything with it: `Ended`, `Restored`, and `Banned` as one would be to whom this rule grants and for whom
    /// these keys sign.
    pub fn foretell(
        &self,
        claims: &Claims,
        (rule, signers): (&str, &[Arc<str>]),
        now: OffsetDateTime,
    ) -> Result<bool, SessionError> {
        self.not_closed(claims)?;
        self.not_lost(claims)?;
        self.bans.judge(&Facets::of(claims).granted(rule, signers), now)?;
        let kept = self.record(&SessionId::of(claims))?;
        kept.map(|(record, revision)| live(&record, revision, now)).transpose().map(|standing| standing.is_some())
    }
}
