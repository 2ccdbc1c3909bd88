//! What each consumer takes: one function for each, which says yes, or why not.
//!
//! Limits are those of their own documentation: of the AWS STS and IAM API references, Google's `workloadIdentityPools`
//! REST reference, Microsoft Graph's `federatedIdentityCredential`, and Envoy's defaults.

use super::{ConsumerKind, Unfit};
use crate::bundle::IssuerUrl;
use crate::crypto::JwsAlgorithm;
use crate::identity::SpiffeId;
use crate::svid::AwsSession;
use serde_json::{Map, Value};

/// The name of the claim that names the bearer everywhere.
pub(super) const SUB: &str = "sub";

const AWS_TOKEN_MAX: usize = 20_000;
/// Of issuer, audience and subject alike.
const AWS_TEXT_MAX: usize = 255;
pub(super) const GOOGLE_SUBJECT_MAX: usize = 127;
const GOOGLE_AUDIENCE_MAX: usize = 256;
/// Of issuer, audience and subject alike.
pub(super) const ENTRA_TEXT_MAX: usize = 600;
/// All of a request's headers, `max_request_headers_kb`.
const ENVOY_HEADERS_MAX: usize = 60 * 1024;

/// A JWT-SVID, as far as a consumer may mind.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// `iss`.
    pub issuer: Option<&'a IssuerUrl>,
    /// `alg`.
    pub algorithm: JwsAlgorithm,
    /// `sub`.
    pub spiffe_id: &'a SpiffeId,
    /// `aud`.
    pub audiences: &'a [String],
    /// All others.
    pub claims: &'a Map<String, Value>,
    /// How long it is, signed.
    pub bytes: usize,
}

impl ConsumerKind {
    /// Whether it takes a token whose bearer it knows by this claim.
    ///
    /// # Errors
    /// Why it does not.
    pub fn takes(self, offer: &Offer<'_>, subject: &str) -> Result<(), Unfit> {
        self.takes_issuer(offer.issuer)?;
        self.takes_algorithm(offer.algorithm)?;
        match self {
            Self::Aws => aws(offer),
            Self::Entra => entra(offer),
            Self::Envoy | Self::Istio => mesh(offer),
            Self::Google => google(offer, subject),
            Self::Okta => Err(Unfit::ClientAssertion),
            Self::Spiffe => Ok(()),
            Self::Vault => offer.named_by(subject).map(drop),
        }
    }

    /// Whether it takes tokens of this issuer.
    ///
    /// # Errors
    /// Why it does not.
    pub fn takes_issuer(self, issuer: Option<&IssuerUrl>) -> Result<(), Unfit> {
        if matches!(self, Self::Okta | Self::Spiffe) {
            return Ok(());
        }
        let issuer = issuer.ok_or(Unfit::NoIssuer)?;
        match (self, issuer.port()) {
            (Self::Aws, Some(port)) => Err(Unfit::IssuerPort { port: port.to_owned() }),
            (Self::Aws, None) => issuer_length(issuer, AWS_TEXT_MAX),
            (Self::Entra, _) => issuer_length(issuer, ENTRA_TEXT_MAX),
            (Self::Envoy | Self::Google | Self::Istio | Self::Okta | Self::Spiffe | Self::Vault, _) => Ok(()),
        }
    }

    /// Whether it verifies such signatures.
    ///
    /// # Errors
    /// What it verifies instead.
    pub fn takes_algorithm(self, algorithm: JwsAlgorithm) -> Result<(), Unfit> {
        let is_pss = matches!(algorithm, JwsAlgorithm::Ps256 | JwsAlgorithm::Ps384 | JwsAlgorithm::Ps512);
        let (does, takes) = match self {
            Self::Aws => (!is_pss, "RS256, RS384, RS512, ES256, ES384 and ES512"),
            // What else it takes is told nowhere.
            Self::Entra | Self::Okta => (algorithm == JwsAlgorithm::Rs256, "RS256"),
            Self::Google => (matches!(algorithm, JwsAlgorithm::Es256 | JwsAlgorithm::Rs256), "RS256 and ES256"),
            Self::Envoy | Self::Istio | Self::Spiffe | Self::Vault => (true, "all that a JWT-SVID may be signed by"),
        };
        if does { Ok(()) } else { Err(Unfit::Algorithm { algorithm, takes }) }
    }
}

/// Conditions of a trust policy see `aud` and `sub`; tags and source identity have claims of their own.
fn aws(offer: &Offer<'_>) -> Result<(), Unfit> {
    offer.for_one_of_at_most(AWS_TEXT_MAX)?;
    at_most(SUB, offer.spiffe_id.as_str(), AWS_TEXT_MAX)?;
    offer.no_longer_than(AWS_TOKEN_MAX)?;
    AwsSession::of_claims(offer.claims)?;
    Ok(())
}

/// Issuer, subject and audience are compared whole with those of a credential.
fn entra(offer: &Offer<'_>) -> Result<(), Unfit> {
    offer.for_one_of_at_most(ENTRA_TEXT_MAX)?;
    at_most(SUB, offer.spiffe_id.as_str(), ENTRA_TEXT_MAX)
}

/// `google.subject` is whatever the provider maps to it, and must be short.
fn google(offer: &Offer<'_>, subject: &str) -> Result<(), Unfit> {
    let longest = offer.audiences.iter().map(|audience| audience.chars().count()).max().unwrap_or_default();
    if longest > GOOGLE_AUDIENCE_MAX {
        return Err(Unfit::Audience { actual: longest, most: GOOGLE_AUDIENCE_MAX });
    }
    at_most(subject, offer.named_by(subject)?, GOOGLE_SUBJECT_MAX)
}

/// The token comes in a header.
fn mesh(offer: &Offer<'_>) -> Result<(), Unfit> {
    offer.no_longer_than(ENVOY_HEADERS_MAX)
}

impl Offer<'_> {
    /// The text of the claim that names the bearer.
    fn named_by(&self, claim: &str) -> Result<&str, Unfit> {
        if claim == SUB {
            return Ok(self.spiffe_id.as_str());
        }
        let text = self.claims.get(claim).and_then(Value::as_str);
        text.ok_or_else(|| Unfit::SubjectMissing { claim: claim.to_owned() })
    }

    fn for_one_of_at_most(&self, most: usize) -> Result<(), Unfit> {
        let [audience] = self.audiences else {
            return Err(Unfit::SeveralAudiences { count: self.audiences.len() });
        };
        let actual = audience.chars().count();
        if actual > most { Err(Unfit::Audience { actual, most }) } else { Ok(()) }
    }

    const fn no_longer_than(&self, most: usize) -> Result<(), Unfit> {
        let actual = self.bytes;
        if actual > most { Err(Unfit::Token { actual, most }) } else { Ok(()) }
    }
}

fn issuer_length(issuer: &IssuerUrl, most: usize) -> Result<(), Unfit> {
    let actual = issuer.as_str().len();
    if actual > most { Err(Unfit::IssuerLength { actual, most }) } else { Ok(()) }
}

fn at_most(claim: &str, text: &str, most: usize) -> Result<(), Unfit> {
    let actual = text.len();
    if actual > most { Err(Unfit::Subject { claim: claim.to_owned(), actual, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is changed of a token that all but Okta take.
    #[derive(Clone)]
    struct Token {
        issuer: Option<String>,
        algorithm: JwsAlgorithm,
        path: String,
        audiences: Vec<String>,
        claims: Value,
        bytes: usize,
    }

    impl Token {
        fn usual() -> Self {
            Self {
                issuer: Some("https://ci.example.org".to_owned()),
                algorithm: JwsAlgorithm::Rs256,
                path: "/acme/api/-/environments/production".to_owned(),
                audiences: vec!["https://service.test".to_owned()],
                claims: json!({"workload": "4711.574"}),
                bytes: 900,
            }
        }

        /// Who does not take it, each with the first words of why.
        fn refused_by(&self, subject: &str) -> Vec<(&'static str, String)> {
            let issuer: Option<IssuerUrl> = self.issuer.as_ref().map(|url| url.parse().unwrap());
            let spiffe_id = SpiffeId::parse(&format!("spiffe://ci.example.org{}", self.path)).unwrap();
            let offer = Offer {
                issuer: issuer.as_ref(),
                algorithm: self.algorithm,
                spiffe_id: &spiffe_id,
                audiences: &self.audiences,
                claims: self.claims.as_object().unwrap(),
                bytes: self.bytes,
            };
            let refused = |kind: ConsumerKind| kind.takes(&offer, subject).err();
            let all = ConsumerKind::ALL.into_iter().filter(|kind| *kind != ConsumerKind::Okta);
            all.filter_map(|kind| Some((kind.as_str(), refused(kind)?.to_string()))).collect()
        }
    }

    type Change = fn(&mut Token);

    const READ_ISSUER: &[&str] = &["aws", "entra", "envoy", "google", "istio", "vault"];
    const ROWS: [(&str, Change, &str, &[&str], &str); 22] = [
        ("the usual one", |_| {}, "sub", &[], ""),
        ("no issuer", |t| t.issuer = None, "sub", READ_ISSUER, "tokens say no issuer"),
        ("a port", |t| t.issuer = Some("https://ci.example.org:8444".to_owned()), "sub", &["aws"], "has a port, 8444"),
        ("an issuer of 256", |t| t.issuer = Some(issuer_of(256)), "sub", &["aws"], "the issuer's URL has 256"),
        ("an issuer of 255", |t| t.issuer = Some(issuer_of(255)), "sub", &[], ""),
        ("an issuer of 601", |t| t.issuer = Some(issuer_of(601)), "sub", &["aws", "entra"], "the issuer's URL has 601"),
        ("ES256", |t| t.algorithm = JwsAlgorithm::Es256, "sub", &["entra"], "it does not verify ES256; it takes RS256"),
        ("RS512", |t| t.algorithm = JwsAlgorithm::Rs512, "sub", &["entra", "google"], "it does not verify RS512"),
        (
            "PS256",
            |t| t.algorithm = JwsAlgorithm::Ps256,
            "sub",
            &["aws", "entra", "google"],
            "it does not verify PS256",
        ),
        ("an ID of 128", |t| t.path = path_of(128), "sub", &["google"], "sub has 128 bytes, and it takes at most 127"),
        ("an ID of 127", |t| t.path = path_of(127), "sub", &[], ""),
        ("an ID of 256, a short claim", |t| t.path = path_of(256), "workload", &["aws"], "sub has 256 bytes"),
        ("an ID of 601, a short claim", |t| t.path = path_of(601), "workload", &["aws", "entra"], "sub has 601 bytes"),
        ("a claim that is not there", |_| {}, "nobody", &["google", "vault"], "the token has no text \"nobody\""),
        (
            "a claim of 128",
            |t| t.claims = json!({"workload": "w".repeat(128)}),
            "workload",
            &["google"],
            "workload has 128",
        ),
        (
            "a claim that is no text",
            |t| t.claims = json!({"workload": 7}),
            "workload",
            &["google", "vault"],
            "the token has no text",
        ),
        (
            "two audiences",
            |t| t.audiences.push("b".to_owned()),
            "sub",
            &["aws", "entra"],
            "it takes a token for one audience",
        ),
        (
            "an audience of 256",
            |t| t.audiences = vec!["a".repeat(256)],
            "sub",
            &["aws"],
            "its audience has 256 characters",
        ),
        (
            "an audience of 257",
            |t| t.audiences = vec!["a".repeat(257)],
            "sub",
            &["aws", "google"],
            "its audience has 257",
        ),
        ("20,001 characters", |t| t.bytes = 20_001, "sub", &["aws"], "the token has 20001 characters"),
        ("more than headers hold", |t| t.bytes = 61_441, "sub", &["aws", "envoy", "istio"], "the token has 61441"),
        (
            "a source identity like an ID",
            |t| t.claims = json!({"https://aws.amazon.com/source_identity": "spiffe://ci.example.org/a"}),
            "sub",
            &["aws"],
            "the source identity",
        ),
    ];

    #[test]
    fn each_consumer_says_of_each_token_whether_it_takes_it_and_why_not() {
        for (name, change, subject, who, why) in ROWS {
            let mut token = Token::usual();
            change(&mut token);
            let refused = token.refused_by(subject);
            assert_eq!(refused.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), who, "{name}: {refused:?}");
            assert!(refused.iter().all(|(_, words)| words.contains(why)), "{name}: {refused:?}");
        }
    }

    fn issuer_of(length: usize) -> String {
        let host = "https://ci.example.org/";
        format!("{host}{}", "a".repeat(length - host.len()))
    }

    fn path_of(length: usize) -> String {
        format!("/{}", "a".repeat(length - "spiffe://ci.example.org/".len()))
    }

    #[test]
    fn okta_takes_assertions_of_its_own_clients_only() {
        let (claims, id) = (Map::new(), SpiffeId::parse("spiffe://ci.example.org/a").unwrap());
        let audiences = ["https://corp.okta.test/oauth2/v1/token".to_owned()];
        let (issuer, algorithm) = (None, JwsAlgorithm::Rs256);
        let offer = Offer { issuer, algorithm, spiffe_id: &id, audiences: &audiences, claims: &claims, bytes: 900 };
        assert_eq!(ConsumerKind::Okta.takes(&offer, SUB), Err(Unfit::ClientAssertion));
    }
}
