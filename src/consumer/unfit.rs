//! Why a consumer does not take a JWT-SVID.

use crate::crypto::JwsAlgorithm;
use crate::svid::AwsSessionError;

/// What of a token a consumer does not take.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Signed by what it does not verify.
    #[error("it does not verify {algorithm}; it takes {takes}")]
    Algorithm {
        /// Signed by what.
        algorithm: JwsAlgorithm,
        /// What would do.
        takes: &'static str,
    },
    /// One token for those who want it signed in different ways.
    #[error("the audiences want one token signed by {0} and by {1}; ask once for each")]
    Algorithms(JwsAlgorithm, JwsAlgorithm),
    /// An audience that is longer than it reads.
    #[error("its audience has {actual} characters, and it takes at most {most}")]
    Audience {
        /// How many it has.
        actual: usize,
        /// How many would do.
        most: usize,
    },
    /// What we say to AWS beside the subject.
    #[error(transparent)]
    AwsSession(#[from] AwsSessionError),
    /// It takes assertions of its own clients only.
    #[error("iss and sub must both be the id of its client, and a JWT-SVID's sub is a SPIFFE ID")]
    ClientAssertion,
    /// The issuer's URL is longer than it reads.
    #[error("the issuer's URL has {actual} characters, and it takes at most {most}")]
    IssuerLength {
        /// How many it has.
        actual: usize,
        /// How many would do.
        most: usize,
    },
    /// It reads discovery documents at port 443 only.
    #[error("the issuer's URL has a port, {port}, and it takes none: serve its documents at 443")]
    IssuerPort {
        /// Which.
        port: String,
    },
    /// Tokens say no issuer.
    #[error("tokens say no issuer: write [jwt] issuer = \"https://…\"")]
    NoIssuer,
    /// More than one audience.
    #[error("it takes a token for one audience, and this is for {count}")]
    SeveralAudiences {
        /// How many.
        count: usize,
    },
    /// The claim that names the bearer is longer than it reads.
    #[error("{claim} has {actual} bytes, and it takes at most {most}")]
    Subject {
        /// Which claim.
        claim: String,
        /// How many it has.
        actual: usize,
        /// How many would do.
        most: usize,
    },
    /// The claim that names the bearer is not there.
    #[error("the token has no text {claim:?}, by which it names the bearer: add it to the rule's claims")]
    SubjectMissing {
        /// Which claim.
        claim: String,
    },
    /// Longer than it reads.
    #[error("the token has {actual} characters, and it takes at most {most}")]
    Token {
        /// How many it has.
        actual: usize,
        /// How many would do.
        most: usize,
    },
}
