//! Policy's no: an answer, not a fault.

use super::{ExtraFillError, Unmet};
use crate::identity::FillError;
use crate::svid::{BuildClaim, BuildClaimError};

/// Why the bearer may not be what was wished for. Each says what to change.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denial {
    /// The rule has other audiences, or the request names none.
    #[error(
        "rule {rule:?} grants no JWT-SVID for audience {asked:?}; it has: {granted}. Ask for one of these, or have it added to the rule's audiences"
    )]
    AudienceNotGranted {
        /// The rule.
        rule: String,
        /// The audience.
        asked: String,
        /// What the rule has, with commas, or `none`.
        granted: String,
    },
    /// A claim cannot stand in the certificate, and the rule wants it there.
    #[error("rule {rule:?} cannot put this job's build claims into a certificate: {}: {source}", claim.as_str())]
    BuildClaimDoesNotFit {
        /// The rule.
        rule: String,
        /// Which.
        claim: BuildClaim,
        /// Why.
        source: BuildClaimError,
    },
    /// A claim that the rule wants in its JWT-SVIDs cannot be written for this job.
    #[error("rule {rule:?} cannot write the claim {claim:?} for this job: {source}")]
    ClaimDoesNotFit {
        /// The rule.
        rule: String,
        /// Which claim of the JWT-SVID.
        claim: String,
        /// Why.
        source: ExtraFillError,
    },
    /// Another system could not be asked for what the rule needs.
    #[error("{0}")]
    FactUnavailable(Box<Unmet>),
    /// The claims do not make an ID by the rule's template.
    #[error("rule {rule:?} cannot name this job: {source}")]
    IdDoesNotFit {
        /// The rule.
        rule: String,
        /// Why.
        source: FillError,
    },
    /// A token without a key, and the rule does not say that this is enough.
    #[error(
        "rule {rule:?} gives JWT-SVIDs to sessions only; connect with a session key (as lanyard exec does), or set jwt_without_key in the rule"
    )]
    JwtNeedsKey {
        /// The rule.
        rule: String,
    },
    /// The rule grants no such document.
    #[error("rule {rule:?} grants no {kind}; add it to the rule's kinds")]
    KindNotGranted {
        /// The rule.
        rule: String,
        /// In words.
        kind: &'static str,
    },
    /// Another system says that it is not as the rule needs it.
    #[error("{0}")]
    NeedFailed(Box<Unmet>),
    /// No rule is for these claims.
    #[error("no rule matches this job; lanyard explain shows each rule and the term that failed")]
    NoRuleMatches,
    /// The rule has no SVID of this name.
    #[error("rule {rule:?} has no profile {asked:?}; it has: {known}")]
    ProfileUnknown {
        /// The rule.
        rule: String,
        /// The profile.
        asked: String,
        /// What the rule has, with commas, or `none`.
        known: String,
    },
    /// A refusal came first.
    #[error("{say}")]
    RefusedByRule {
        /// The refusal's name.
        rule: String,
        /// In its own words.
        say: String,
    },
    /// Several audiences at once, and the rule does not say that they may share a token; or more than it has.
    #[error(
        "{asked} audiences were asked for, more than rule {rule:?} gives one JWT-SVID; ask once for each, or set multi_audience in the rule"
    )]
    TooManyAudiences {
        /// The rule.
        rule: String,
        /// How many.
        asked: usize,
    },
}

impl Denial {
    /// The stable code that scripts may rely on.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AudienceNotGranted { .. } => "audience_not_granted",
            Self::BuildClaimDoesNotFit { .. } => "build_claim_does_not_fit",
            Self::ClaimDoesNotFit { .. } => "claim_does_not_fit",
            Self::FactUnavailable(_) => "fact_unavailable",
            Self::IdDoesNotFit { .. } => "id_does_not_fit",
            Self::JwtNeedsKey { .. } => "jwt_needs_key",
            Self::KindNotGranted { .. } => "kind_not_granted",
            Self::NeedFailed(_) => "need_failed",
            Self::NoRuleMatches => "no_rule_matches",
            Self::ProfileUnknown { .. } => "profile_unknown",
            Self::RefusedByRule { .. } => "refused_by_rule",
            Self::TooManyAudiences { .. } => "too_many_audiences",
        }
    }

    /// The rule that spoke, if one did.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::NoRuleMatches => None,
            Self::FactUnavailable(unmet) | Self::NeedFailed(unmet) => Some(&unmet.rule),
            Self::AudienceNotGranted { rule, .. }
            | Self::BuildClaimDoesNotFit { rule, .. }
            | Self::ClaimDoesNotFit { rule, .. }
            | Self::IdDoesNotFit { rule, .. }
            | Self::JwtNeedsKey { rule }
            | Self::KindNotGranted { rule, .. }
            | Self::ProfileUnknown { rule, .. }
            | Self::RefusedByRule { rule, .. }
            | Self::TooManyAudiences { rule, .. } => Some(rule),
        }
    }

    /// The need that was not met, where that is why.
    pub fn unmet(&self) -> Option<&Unmet> {
        match self {
            Self::FactUnavailable(unmet) | Self::NeedFailed(unmet) => Some(unmet),
            Self::AudienceNotGranted { .. }
            | Self::BuildClaimDoesNotFit { .. }
            | Self::ClaimDoesNotFit { .. }
            | Self::IdDoesNotFit { .. }
            | Self::JwtNeedsKey { .. }
            | Self::KindNotGranted { .. }
            | Self::NoRuleMatches
            | Self::ProfileUnknown { .. }
            | Self::RefusedByRule { .. }
            | Self::TooManyAudiences { .. } => None,
        }
    }

    /// What its bearer may read: which facts other systems were asked for, never what was wanted nor what they said.
    pub fn to_bearer(&self) -> String {
        let Some(Unmet { rule, rests_on, retry_after, .. }) = self.unmet() else { return self.to_string() };
        let facts = rests_on.join(", ");
        if matches!(self, Self::NeedFailed(_)) {
            let who = "whoever runs Lanyard sees why by the request's id";
            return format!("rule {rule:?} needs {facts}, and it is not as the rule wants it; {who}");
        }
        let when = retry_after.map_or_else(String::new, |seconds| format!(" in {seconds} s"));
        format!("rule {rule:?} needs {facts}, which cannot be asked for at the moment; try again{when}")
    }
}
