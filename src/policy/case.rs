//! A case kept beside the rules: some job's claims, what it asks for, and what the policy must say to it.

use super::{Answers, Policy, Ruling, Wish};
use crate::identity::TrustDomain;
use crate::token::Claims;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// One case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Case {
    /// Unique among the cases of a file.
    pub name: String,
    /// Who asks.
    pub claims: Claims,
    /// What other systems say of it.
    pub facts: Answers,
    /// For what.
    pub wish: Wish,
    /// What the policy must say.
    pub expected: Expected,
    /// The rule that must say it, where it matters.
    pub rule: Option<String>,
}

/// What a policy must say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Yes.
    Granted {
        /// The ID, or only its path.
        id: String,
        /// Longest life of one SVID, where it matters.
        ttl: Option<Duration>,
    },
    /// No, with this code.
    Refused {
        /// [`super::Denial::code`].
        code: String,
    },
}

/// What became of a case.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Judged {
    /// The case's name.
    pub case: String,
    /// What it expects.
    pub wanted: String,
    /// What the policy says.
    pub got: Ruling,
    /// What differs; empty where the case holds.
    pub differs: Vec<&'static str>,
    /// The first term that decided.
    pub decided_by: Option<String>,
}

impl Judged {
    /// Whether the case holds.
    pub fn holds(&self) -> bool {
        self.differs.is_empty()
    }
}

impl Case {
    /// Asks a policy.
    pub fn judge(&self, policy: &Policy, trust_domain: &TrustDomain) -> Judged {
        let got = policy.rule_on((&self.claims, &self.facts), &self.wish, trust_domain);
        let mut differs = match (&self.expected, &got) {
            (Expected::Granted { id, ttl }, Ruling::Granted { spiffe_id, ttl_seconds, .. }) => {
                let path =
                    spiffe_id.strip_prefix("spiffe://").and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)));
                let same_id = spiffe_id == id || path == Some(id);
                let same_ttl = ttl.is_none_or(|ttl| ttl.as_secs() == *ttl_seconds);
                [(!same_id).then_some("id"), (!same_ttl).then_some("ttl")].into_iter().flatten().collect()
            }
            (Expected::Refused { code }, Ruling::Denied { code: said, .. }) if code == said => Vec::new(),
            (Expected::Refused { .. }, Ruling::Denied { .. }) => vec!["code"],
            (Expected::Granted { .. }, Ruling::Denied { .. }) | (Expected::Refused { .. }, Ruling::Granted { .. }) => {
                vec!["outcome"]
            }
        };
        if self.rule.as_deref().is_some_and(|rule| got.rule() != Some(rule)) {
            differs.push("rule");
        }
        let decided_by = policy.deciding_term((&self.claims, trust_domain), &got, self.rule.as_deref());
        Judged { case: self.name.clone(), wanted: self.wanted(), got, differs, decided_by }
    }

    fn wanted(&self) -> String {
        let rule = self.rule.as_ref().map(|rule| format!(" by {rule:?}")).unwrap_or_default();
        format!("{}{rule}", self.expected)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted { id, ttl: None } => f.write_str(id),
            Self::Granted { id, ttl: Some(ttl) } => write!(f, "{id} for {} s", ttl.as_secs()),
            Self::Refused { code } => f.write_str(code),
        }
    }
}
