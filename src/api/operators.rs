//! Who may operate this server from elsewhere: people whom an `OpenID` provider knows, or whose certificate is of the operators' own
//! CA, one by one.
//!
//! **Invariants**: nobody who is not written down; a token or certificate that our own rules could mint, or an issuer of jobs could,
//! is none (`config` takes no such issuer, and whatever has a SPIFFE ID is refused); who it is is judged anew at each call, which is
//! on record before it is carried out.

use super::crowd::{Good, Guest};
use super::doors::Operator;
use super::refused::{Class, Refused};
use crate::audit::{Came, Changes, Entry, Ledger};
use crate::clock::Clock;
use crate::crypto::Digest;
use crate::discovery::{DiscoveryError, Fetch, IssuerKeys};
use crate::issuance::RequestId;
use crate::people::{People, PeopleError};
use crate::store::StoreError;
use crate::telemetry::chain;
use crate::tls::{NotOfTheCa, OperatorCa, ShownChain};
use crate::token::{Issuer, IssuerName, Issuers, OperatorToken, TokenError};
use http::{HeaderMap, header};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;

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

/// The CA of operators' certificates, and which of its people may come.
#[derive(Clone, Debug)]
pub struct OperatorCertificates {
    /// By which name the journal knows it.
    pub name: IssuerName,
    /// The CA.
    pub ca: OperatorCa,
    /// Who may come: a name in the certificate, and by which name the journal knows them.
    pub people: BTreeMap<String, String>,
}

/// All who may come from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct OperatorsFrom {
    /// Providers whose tokens count.
    pub issuers: Vec<OperatorIssuer>,
    /// Whose certificates count.
    pub certificates: Option<OperatorCertificates>,
}

/// Why somebody may not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAnOperator {
    /// Names of two people stand in one certificate.
    #[error("the certificate names several people of [operators.certificates.people]")]
    Ambiguous,
    /// A certificate that nobody vouches for.
    #[error(transparent)]
    Certificate(#[from] NotOfTheCa),
    /// Others are judged just now.
    #[error("too many operators are judged at once; try again")]
    Crowded,
    /// The provider's keys are not to be had.
    #[error(transparent)]
    Keys(#[from] DiscoveryError),
    /// The address may be somebody else's.
    #[error("the token does not say email_verified")]
    EmailUnverified,
    /// A claim is not what it must be.
    #[error("the token's {0} is not as [operators.issuer.require] wants it")]
    Lacks(String),
    /// Neither token nor certificate.
    #[error("no operator's token or certificate: give --operator-token-file, or --operator-cert and --operator-key")]
    NoToken,
    /// A person whom nobody wrote down.
    #[error("the token's {0} is nobody's in [operators.issuer.people]")]
    Nobody(String),
    /// The same of a certificate.
    #[error("none of the certificate's names is anybody's in [operators.certificates.people]")]
    Nameless,
    /// How the person is written down is not known.
    #[error("it cannot be recorded who asks")]
    People(#[from] PeopleError),
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
            Self::Certificate(_) => (Class::NotGenuine, "operator_certificate_refused"),
            Self::Crowded => (Class::TooMany, "too_many_requests"),
            Self::Ambiguous | Self::EmailUnverified | Self::Lacks(_) | Self::Nameless | Self::Nobody(_) => {
                (Class::Forbidden, "operator_unknown")
            }
            Self::People(_) | Self::Store(_) => (Class::Unavailable, "store_unavailable"),
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
    certificates: Option<OperatorCertificates>,
    clock: Arc<dyn Clock>,
    keys: IssuerKeys,
    ledger: Ledger,
    people: People,
}

/// Whom we know to ask.
struct Known<'a> {
    issuer: &'a IssuerName,
    /// By which name the journal knows them.
    name: &'a str,
    /// What their token or certificate calls them.
    subject: String,
}

impl Operators {
    /// These.
    pub fn new(
        from: OperatorsFrom,
        (clock, fetch): (Arc<dyn Clock>, Arc<dyn Fetch>),
        (ledger, people): (Ledger, People),
    ) -> Self {
        let OperatorsFrom { issuers, certificates } = from;
        let all: Issuers = issuers.iter().map(|of| Arc::clone(&of.issuer)).collect();
        let keys = IssuerKeys::new(Arc::new(all), Arc::clone(&clock), fetch);
        let by_url = issuers.into_iter().map(|of| (of.issuer.expectations.issuer_url.clone(), of)).collect();
        Self { by_url, certificates, clock, keys, ledger, people }
    }

    /// Who asks this, on record.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        guest: &Guest,
        asked: &str,
    ) -> Result<Operator, NotAnOperator> {
        let Some(_place) = guest.visitor.hold(Good::Verifications, 1) else { return Err(NotAnOperator::Crowded) };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let known = match (shown, &guest.shown, &self.certificates) {
            (Some(text), ..) => self.by_token(text.strip_prefix(BEARER).ok_or(NotAnOperator::NoToken)?).await?,
            (None, Some(chain), Some(certificates)) => certificates.person(chain, self.clock.now())?,
            (None, ..) => return Err(NotAnOperator::NoToken),
        };
        let Known { issuer, name, subject } = known;
        let operator = Operator::from_elsewhere(&issuer.0, name);
        let person = self.people.sealed((issuer, &subject), &subject).await?;
        let subject = Some(&*subject).filter(|_| person.is_none());
        let entry = Came { issuer: &issuer.0, operator: name, subject, person, uid: operator.uid, asked };
        // The disk's reserve is for deeds: on the local socket they need no such record.
        self.ledger.commit_if_room(&Entry::OperatorCame(entry), Changes::default()).await?;
        Ok(operator)
    }

    async fn by_token(&self, text: &str) -> Result<Known<'_>, NotAnOperator> {
        let token = OperatorToken::parse(text)?;
        let of = self.by_url.get(token.issuer()).ok_or(NotAnOperator::UnknownIssuer)?;
        let keys = self.keys.of(&of.issuer, token.kid()).await?;
        let says = token.verify(&keys, &of.issuer.expectations, self.clock.now())?;
        let name = of.person(&says)?;
        let subject = says.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Known { issuer: of.issuer.name(), name, subject })
    }
}

impl OperatorCertificates {
    /// Whom a certificate names, if the CA vouches for it now.
    fn person(&self, shown: &ShownChain, now: OffsetDateTime) -> Result<Known<'_>, NotAnOperator> {
        let names = self.ca.names(shown, now)?;
        let mut known = names.into_iter().filter_map(|name| Some((self.people.get(&name)?, name)));
        let (name, subject) = known.next().ok_or(NotAnOperator::Nameless)?;
        if known.any(|(other, _)| other != name) {
            return Err(NotAnOperator::Ambiguous);
        }
        Ok(Known { issuer: &self.name, name, subject })
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
        let uid = Self::ELSEWHERE | u32::from_be_bytes([a, b, c, d]);
        Self { uid, elsewhere: Some(format!("{name} of {issuer}").into()) }
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
