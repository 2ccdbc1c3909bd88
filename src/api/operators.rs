//! Who may operate this server from elsewhere: people whom an `OpenID` provider knows, one by one.
//!
//! **Invariants**: nobody who is not written down; a token that our own rules could mint, or an issuer of jobs could, is none
//! (`config` takes no such issuer); each call is on record before it is carried out.

use super::doors::Operator;
use super::refused::{Class, Refused};
use crate::audit::{Came, Changes, Entry, Ledger};
use crate::clock::Clock;
use crate::crypto::Digest;
use crate::discovery::{DiscoveryError, Fetch, IssuerKeys};
use crate::issuance::RequestId;
use crate::store::StoreError;
use crate::telemetry::chain;
use crate::token::{Issuer, Issuers, OperatorToken, TokenError};
use http::{HeaderMap, header};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a token is shown (RFC 6750 §2.1).
const BEARER: &str = "Bearer ";
/// A text of several words (RFC 8693 §4.2).
const SCOPE: &str = "scope";
/// A person's address, which counts only where the provider has seen that it is theirs (`OpenID` Connect Core §5.1).
const EMAIL: &str = "email";

/// A provider, and which of its people may come.
#[derive(Clone, Debug)]
pub struct OperatorIssuer {
    /// On what terms its tokens count.
    pub issuer: Arc<Issuer>,
    /// The claim that says who it is.
    pub claim: String,
    /// What else a token must say, by claim.
    pub require: BTreeMap<String, String>,
    /// Who may come: the claim's value, and by which name the journal knows them.
    pub people: BTreeMap<String, String>,
}

/// Why somebody may not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAnOperator {
    /// The provider's keys are not to be had.
    #[error(transparent)]
    Keys(#[from] DiscoveryError),
    /// The address may be somebody else's.
    #[error("the token does not say email_verified")]
    EmailUnverified,
    /// A claim is not what it must be.
    #[error("the token's {0} is not as [operators.issuer.require] wants it")]
    Lacks(String),
    /// No token.
    #[error("no operator's token: send one as authorization: Bearer, or give --operator-token-file")]
    NoToken,
    /// A person whom nobody wrote down.
    #[error("the token's {0} is nobody's in [operators.issuer.people]")]
    Nobody(String),
    /// What is not recorded does not happen.
    #[error("it cannot be recorded who asks")]
    Store(#[from] StoreError),
    /// No token for us.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody's.
    #[error("no [[operators.issuer]] has the token's iss")]
    UnknownIssuer,
}

impl NotAnOperator {
    /// What they hear. That nobody wrote them down is said to them alone whose token is genuine.
    pub(super) fn refused(&self, id: &RequestId) -> Refused {
        let why = chain(self);
        let (class, code) = match self {
            Self::Keys(_) => (Class::Unavailable, "issuer_unavailable"),
            Self::NoToken | Self::Token(_) | Self::UnknownIssuer => (Class::NotGenuine, "operator_token_refused"),
            Self::EmailUnverified | Self::Lacks(_) | Self::Nobody(_) => (Class::Forbidden, "operator_unknown"),
            Self::Store(_) => (Class::Unavailable, "store_unavailable"),
        };
        if class == Class::Forbidden {
            // A provider of ours told who it is: that is worth a look.
            tracing::warn!(request_id = %id, why, "somebody was turned away from the admin port");
        } else {
            tracing::debug!(request_id = %id, why, "a stranger was turned away from the admin port");
        }
        Refused::new(class, code, why, id)
    }
}

/// See the file's opening words.
#[derive(Debug)]
pub struct Operators {
    by_url: BTreeMap<String, OperatorIssuer>,
    clock: Arc<dyn Clock>,
    keys: IssuerKeys,
    ledger: Ledger,
}

impl Operators {
    /// Those of these providers.
    pub fn new(issuers: Vec<OperatorIssuer>, (clock, fetch): (Arc<dyn Clock>, Arc<dyn Fetch>), ledger: Ledger) -> Self {
        let all: Issuers = issuers.iter().map(|of| Arc::clone(&of.issuer)).collect();
        let keys = IssuerKeys::new(Arc::new(all), Arc::clone(&clock), fetch);
        let by_url = issuers.into_iter().map(|of| (of.issuer.expectations.issuer_url.clone(), of)).collect();
        Self { by_url, clock, keys, ledger }
    }

    /// Who asks this, on record.
    pub(super) async fn admit(&self, headers: &HeaderMap, asked: &str) -> Result<Operator, NotAnOperator> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let text = shown.and_then(|text| text.strip_prefix(BEARER)).ok_or(NotAnOperator::NoToken)?;
        let token = OperatorToken::parse(text)?;
        let of = self.by_url.get(token.issuer()).ok_or(NotAnOperator::UnknownIssuer)?;
        let keys = self.keys.of(&of.issuer, token.kid()).await?;
        let says = token.verify(&keys, &of.issuer.expectations, self.clock.now())?;
        let name = of.person(&says)?;
        let issuer = &*of.issuer.name().0;
        let operator = Operator::from_elsewhere(issuer, name);
        let entry = Entry::OperatorCame(Came { issuer, operator: name, uid: operator.uid, asked });
        // The disk's reserve is for deeds: on the local socket they need no such record.
        self.ledger.commit_if_room(&entry, Changes::default()).await?;
        Ok(operator)
    }
}

impl OperatorIssuer {
    /// By which name we know the one of whom a token tells.
    fn person(&self, says: &Map<String, Value>) -> Result<&str, NotAnOperator> {
        if let Some((claim, _)) = self.require.iter().find(|(claim, wanted)| !holds(says, claim, wanted)) {
            return Err(NotAnOperator::Lacks(claim.clone()));
        }
        if self.claim == EMAIL && says.get("email_verified") != Some(&Value::Bool(true)) {
            return Err(NotAnOperator::EmailUnverified);
        }
        let person = says.get(&self.claim).and_then(Value::as_str).and_then(|value| self.people.get(value));
        person.map(String::as_str).ok_or_else(|| NotAnOperator::Nobody(self.claim.clone()))
    }
}

fn holds(says: &Map<String, Value>, claim: &str, wanted: &str) -> bool {
    match says.get(claim) {
        Some(Value::String(text)) if claim == SCOPE => text.split(' ').any(|word| word == wanted),
        Some(Value::String(text)) => text == wanted,
        Some(Value::Array(each)) => each.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    }
}

impl Operator {
    /// Where the numbers of people from elsewhere begin: no system gives its users these.
    const ELSEWHERE: u32 = 1 << 31;

    /// A number that is the same each time, and no user's of this machine: the journal says whose it is.
    fn from_elsewhere(issuer: &str, name: &str) -> Self {
        let digest = Digest::of_parts(&[issuer.as_bytes(), name.as_bytes()]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        Self { uid: Self::ELSEWHERE | u32::from_be_bytes([a, b, c, d]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_holds_what_is_wanted_of_it_and_nothing_that_is_like_it() {
        let says = json!({"scope": "openid lanyard.admin", "groups": ["a", "operators"], "hd": "corp.example", "n": 7});
        let says = says.as_object().unwrap();
        for (claim, wanted, is_held) in [
            ("scope", "lanyard.admin", true),
            ("scope", "lanyard", false),
            ("groups", "operators", true),
            ("groups", "a operators", false),
            ("hd", "corp.example", true),
            ("hd", "corp", false),
            ("n", "7", false),
            ("gone", "", false),
        ] {
            assert_eq!(holds(says, claim, wanted), is_held, "{claim} {wanted}");
        }
    }

    #[test]
    fn people_from_elsewhere_have_numbers_of_their_own() {
        let [ada, bob, other] = [("okta", "ada"), ("okta", "bob"), ("google", "ada")]
            .map(|(issuer, name)| Operator::from_elsewhere(issuer, name).uid);
        assert!(ada != bob && ada != other && [ada, bob, other].iter().all(|uid| *uid >= Operator::ELSEWHERE));
    }
}
