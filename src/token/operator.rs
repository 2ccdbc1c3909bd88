//! A token of somebody who operates a server: an `OpenID` provider's word about a person, judged as strictly as a job's.

use super::error::TokenError;
use super::issuer_kind::IssuerKind;
use super::keys::KeySet;
use super::parse::UnverifiedToken;
use super::verify::{Expectations, check_age, check_audience, check_times, is_svid};
use serde_json::{Map, Value};
use std::fmt;
use time::OffsetDateTime;

/// One that nobody has vouched for.
pub struct OperatorToken<'a> {
    token: UnverifiedToken<'a>,
    members: Map<String, Value>,
}

impl<'a> OperatorToken<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// See [`UnverifiedToken::parse`].
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        let members = UnverifiedToken::members(text)?;
        let issuer = members.get("iss").and_then(Value::as_str).ok_or(TokenError::ClaimMissing { name: "iss" })?;
        let kind = IssuerKind::Operators;
        let model = kind.model().ok_or(TokenError::ClaimMissing { name: "iss" })?;
        let token = UnverifiedToken::of_other(text, (kind, model, issuer.to_owned()), &members)?;
        Ok(Self { token, members })
    }

    /// The exact `iss`.
    pub fn issuer(&self) -> &str {
        self.token.issuer()
    }

    /// The name of the key that is said to have signed it.
    pub fn kid(&self) -> &str {
        self.token.kid()
    }

    /// All that it says, if the named key signed it for us and it is in its time, young enough, and nobody's SVID.
    ///
    /// # Errors
    /// `IssuerWrong`, `AlgorithmRefused`, `KeyUnknown`, `Signature`, then what the claims have wrong.
    pub fn verify(
        self,
        keys: &KeySet,
        expected: &Expectations,
        now: OffsetDateTime,
    ) -> Result<Map<String, Value>, TokenError> {
        let Self { token, members } = self;
        token.check_genuine(keys, expected)?;
        let mut payload = token.payload;
        check_audience(&mut payload, expected)?;
        let (issued_at, _expires_at) = check_times(&mut payload, expected.leeway, now)?;
        check_age(issued_at, expected.max_token_age, now)?;
        let subject = members.get("sub").and_then(Value::as_str).ok_or(TokenError::ClaimMissing { name: "sub" })?;
        if is_svid(subject) { Err(TokenError::Svid) } else { Ok(members) }
    }
}

impl fmt::Debug for OperatorToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.token.fmt(f)
    }
}
