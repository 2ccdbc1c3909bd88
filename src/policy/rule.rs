//! One rule: whom it is for, what identity it grants, and within which limits.

use super::{Condition, ExtraClaims, Need, Terms, Truth};
use crate::identity::{IdTemplate, TrustDomain};
use crate::token::{Claims, IssuerName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A document that a rule may grant.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A JWT-SVID.
    Jwt,
    /// An X.509-SVID.
    X509,
}

/// One SVID of a rule.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ProfileTemplate {
    /// Its name among the rule's SVIDs; none where it is the only one.
    pub profile: Option<String>,
    /// The SPIFFE ID.
    pub id: IdTemplate,
}

/// A rule that grants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// What it grants; shared with other rules that grant the same.
    pub gives: Arc<Gives>,
    /// Whose tokens it is for; also a term of `when`.
    pub issuer: IssuerName,
    /// Unique in its policy.
    pub name: String,
    /// What other systems must say.
    pub needs: Vec<Need>,
    /// Whether it only records what it would do.
    pub observe: bool,
    /// Why it is fine that a glob over paths decides, where it is.
    pub path_only: Option<String>,
    /// Terms of which none may hold; each must be known.
    pub unless: Terms,
    /// Terms that all must hold.
    pub when: Terms,
}

/// What a rule grants to whom it is for, and within which limits.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Gives {
    /// What a JWT-SVID of this rule may be for; none by default.
    pub audiences: Vec<String>,
    /// The URL of the issuer's GitLab, where X.509-SVIDs tell of the build with Fulcio's extensions; none where not.
    pub build_claims: Option<String>,
    /// What JWT-SVIDs of this rule say beside what all do.
    pub claims: ExtraClaims,
    /// Which other trust domains' workloads it shall be able to talk to: it gets their bundles.
    pub federates_with: Vec<TrustDomain>,
    /// Whether a token alone, bound to no key, buys a JWT-SVID.
    pub jwt_without_key: bool,
    /// Which documents it grants.
    pub kinds: Vec<Kind>,
    /// How long a session of this rule may last.
    pub max_session: Option<Duration>,
    /// Whether one JWT-SVID may be for several audiences.
    pub multi_audience: bool,
    /// What it grants, the default first; never empty.
    pub svids: Vec<ProfileTemplate>,
    /// Words for whoever reads the journal.
    pub tags: Vec<String>,
    /// Longest life of one SVID.
    pub ttl: Duration,
}

impl Rule {
    /// Whether it is for these claims.
    pub fn matches(&self, claims: &Claims) -> bool {
        self.issuer == claims.issuer
            && self.when.iter().all(|term| term.judge(claims) == Truth::True)
            && self.unless.iter().all(|term| term.judge(claims) == Truth::False)
    }

    /// The terms that `when` has beside those written. No rule is for a fork's code, which anybody can send as a merge
    /// request; `environment` says that the job deploys, and a job deploys only by starting it, and not for a merge
    /// request. A rule that speaks of one of these itself is taken at its word; of forks it speaks by `fork` or by
    /// whose code it is (`job_project_id`, `job_project_path`), not by `merge_request`.
    pub fn implied_terms(when: &[Condition], unless: &[Condition]) -> Vec<Condition> {
        let in_when: Vec<_> = when.iter().flat_map(Condition::tests).collect();
        let in_unless: Vec<_> = unless.iter().flat_map(Condition::tests).collect();
        let says = |names: &[&str]| in_when.iter().chain(&in_unless).any(|(name, ..)| names.contains(name));
        let mut implied = Vec::new();
        let mut imply = |name: &str, test| implied.push(Condition::unwritten(name, test));
        if !says(&["fork", "job_project_id", "job_project_path"]) {
            imply("fork", super::Test::Bool(false));
        }
        if !in_when.iter().any(|(name, _, positive)| *name == "environment" && *positive) {
            return implied;
        }
        if !says(&["environment_action"]) {
            imply("environment_action", super::Test::Text("start".to_owned()));
        }
        // A source ruled out in `unless` leaves merge requests in; only one demanded in `when` speaks of them.
        let source_demanded = in_when.iter().any(|(name, _, positive)| *name == "pipeline_source" && *positive);
        if !says(&["merge_request"]) && !source_demanded {
            imply("merge_request", super::Test::Bool(false));
        }
        implied
    }

    /// Whether a term of `when` that stands by itself fixes the claim to exact ids.
    pub fn pins(&self, claim: &str) -> bool {
        self.pinned(claim).next().is_some()
    }

    /// The project that it is for, where a term of `when` that stands by itself demands one.
    pub fn only_project(&self) -> Option<u64> {
        self.pinned("project_id").find_map(|ids| ids.first().copied().filter(|one| ids.iter().all(|id| id == one)))
    }

    /// The values that a term of `when` that stands by itself fixes a claim to.
    pub fn fixed(&self, claim: &str) -> Option<BTreeSet<String>> {
        self.when.iter().find_map(|term| match term {
            Condition::Claim { name, test, .. } if name == claim => test.values(),
            Condition::All(_) | Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => None,
        })
    }

    fn pinned(&self, claim: &str) -> impl Iterator<Item = Vec<u64>> {
        self.when.iter().filter_map(move |term| match term {
            Condition::Claim { name, test, .. } if name == claim => test.ids(),
            Condition::All(_) | Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => None,
        })
    }
}

/// A rule that refuses, before any that grants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusalRule {
    /// Unique in its policy.
    pub name: String,
    /// What the refused job reads.
    pub say: String,
    /// Terms that all must hold.
    pub when: Terms,
}

impl RefusalRule {
    /// Whether it is for these claims.
    pub fn matches(&self, claims: &Claims) -> bool {
        self.when.iter().all(|term| term.judge(claims) == Truth::True)
    }
}
