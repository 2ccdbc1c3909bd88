//! The consumers that a configuration declares, found by the audience of a token.

use super::{ConsumerKind, Offer, Unfit};
use crate::bundle::IssuerUrl;
use crate::crypto::JwsAlgorithm;
use std::time::Duration;

/// One who takes our JWT-SVIDs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Consumer {
    /// What operators call it.
    pub name: String,
    /// What it is.
    pub kind: ConsumerKind,
    /// Whom tokens for it are for; nobody else's.
    pub audiences: Vec<String>,
    /// What its tokens are signed by.
    pub algorithm: JwsAlgorithm,
    /// The claim by which it names the bearer.
    pub subject: String,
    /// How long it goes on with keys that it has read.
    pub keeps_keys_for: Duration,
}

/// All of them, and the issuer that every token names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Consumers {
    /// `iss`, below which our keys are to be found.
    pub issuer: Option<IssuerUrl>,
    /// Each with audiences of its own.
    pub declared: Vec<Consumer>,
}

/// A consumer would not take a token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{consumer} would not take this JWT-SVID: {unfit}")]
pub struct NotTaken {
    /// Who, as operators call it.
    pub consumer: String,
    /// Why.
    pub unfit: Unfit,
}

impl Consumers {
    /// What a token for these audiences is signed by: what they ask for, ES256 where nobody asks.
    ///
    /// # Errors
    /// When two ask for different things.
    pub fn algorithm(&self, audiences: &[String]) -> Result<JwsAlgorithm, NotTaken> {
        let mut asked = self.of(audiences);
        let Some(first) = asked.next() else { return Ok(JwsAlgorithm::Es256) };
        let other = asked.find(|other| other.algorithm != first.algorithm);
        other.map_or(Ok(first.algorithm), |other| {
            let unfit = Unfit::Algorithms(first.algorithm, other.algorithm);
            Err(NotTaken { consumer: other.name.clone(), unfit })
        })
    }

    /// Whether all whom a token is for take it, as far as we know them.
    ///
    /// # Errors
    /// Who does not, and why.
    pub fn take(&self, offer: &Offer<'_>) -> Result<(), NotTaken> {
        self.of(offer.audiences).try_for_each(|consumer| {
            let verdict = consumer.kind.takes(offer, &consumer.subject);
            verdict.map_err(|unfit| NotTaken { consumer: consumer.name.clone(), unfit })
        })
    }

    /// Whether anybody's tokens are signed so.
    pub fn ask_for(&self, algorithm: JwsAlgorithm) -> bool {
        self.declared.iter().any(|consumer| consumer.algorithm == algorithm)
    }

    /// How long the slowest of them goes on with keys that it has read.
    pub fn keep_keys_for(&self) -> Duration {
        self.declared.iter().map(|consumer| consumer.keeps_keys_for).max().unwrap_or_default()
    }

    fn of(&self, audiences: &[String]) -> impl Iterator<Item = &Consumer> {
        self.declared.iter().filter(|consumer| consumer.audiences.iter().any(|name| audiences.contains(name)))
    }
}
