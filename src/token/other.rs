//! A token of whichever configured issuer made it: GitLab's in one pass, others by the tables of their kinds.

use super::issuer_kind::IssuerKind;
use super::{Issuer, Issuers, TokenError, UnverifiedToken};
use serde_json::{Map, Value};
use std::sync::Arc;

impl Issuers {
    /// Reads a token as its issuer writes them; as GitLab does, where nobody knows the issuer.
    ///
    /// # Errors
    /// See [`UnverifiedToken::parse`].
    pub fn read<'t>(&self, text: &'t str) -> Result<UnverifiedToken<'t>, TokenError> {
        let as_gitlab = UnverifiedToken::parse(text);
        let is_gitlab = |issuer: &Arc<Issuer>| issuer.expectations.kind == IssuerKind::GitLab;
        if self.iter().all(is_gitlab)
            || as_gitlab.as_ref().is_ok_and(|token| self.by_url(token.issuer()).is_some_and(is_gitlab))
        {
            return as_gitlab;
        }
        let Ok(members) = UnverifiedToken::members(text) else { return as_gitlab };
        let Some(issuer) = self.named_in(&members) else { return as_gitlab };
        let expectations = &issuer.expectations;
        match expectations.kind.model() {
            None => as_gitlab,
            Some(model) => {
                let of = (expectations.kind, model, expectations.issuer_url.clone());
                UnverifiedToken::of_other(text, of, &members)
            }
        }
    }

    /// The issuer that a payload names by `iss`. A JWT-SVID may have none: its `sub` says whose keys count (SPIFFE JWT-SVID §4).
    fn named_in(&self, members: &Map<String, Value>) -> Option<&Arc<Issuer>> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let of_domain = || {
            let (trust_domain, _path) = text("sub")?.strip_prefix("spiffe://")?.split_once('/')?;
            self.by_url(&format!("spiffe://{trust_domain}"))
        };
        // Whatever its `iss` says: the keys of one trust domain vouch for no other.
        let is_domain = |issuer: &&Arc<Issuer>| issuer.expectations.kind == IssuerKind::Spiffe;
        text("iss").and_then(|iss| self.by_url(iss)).filter(|issuer| !is_domain(issuer)).or_else(of_domain)
    }
}
