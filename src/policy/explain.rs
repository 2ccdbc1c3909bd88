//! Why: the same tests as in a decision, each with what it wanted and what it got.

use super::{Condition, Denial, Kind, Policy, Rule, Truth};
use crate::identity::TrustDomain;
use crate::token::Claims;
use serde::Serialize;

/// The whole way through a policy.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Walk {
    /// The refusals, in order, up to the one that spoke.
    pub refusals: Vec<RuleWalk>,
    /// The rules, in order; all of them, also those behind the one that spoke.
    pub rules: Vec<RuleWalk>,
    /// What came out.
    pub verdict: Verdict,
}

/// What came out.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Verdict {
    /// No.
    Denied {
        /// [`Denial::code`].
        code: String,
        /// In words.
        reason: String,
        /// The rule that came nearest, by name, where none matched.
        nearest: Option<String>,
    },
    /// Yes.
    Granted {
        /// By which rule.
        rule: String,
        /// The default ID.
        spiffe_id: String,
        /// Longest life of one SVID, in seconds.
        ttl_seconds: u64,
        /// Whether an X.509-SVID tells of the build, to everybody who sees it.
        build_claims: bool,
    },
}

/// One rule and how it judged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RuleWalk {
    /// Whether it matched as a whole.
    pub matches: bool,
    /// Its name.
    pub name: String,
    /// Whether it only observes.
    pub observe: bool,
    /// Its terms, `when` before `unless`.
    pub terms: Vec<TermWalk>,
}

/// One term and how it judged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TermWalk {
    /// The claim, or the whole condition where the term is one of all, any, not.
    pub claim: String,
    /// What the token says; none where it says nothing, or for a condition of several claims.
    pub got: Option<String>,
    /// Whether the condition holds; null where the token lacks the claim.
    pub holds: Truth,
    /// Whether we put it in, because the rule does not speak of it: see [`Rule::implied_terms`].
    pub implied: bool,
    /// Whether the rule can still match: `when` wants true, `unless` false, and neither an unknown.
    pub passes: bool,
    /// Where it stands.
    pub part: &'static str,
    /// What the rule wants.
    pub wanted: String,
}

impl Policy {
    /// Judges every rule and tells each term.
    pub fn walk(&self, claims: &Claims, trust_domain: &TrustDomain) -> Walk {
        let mut refusals = Vec::new();
        for refusal in self.refusals() {
            let terms = terms(&refusal.when, "when", Truth::True, claims);
            let matches = refusal.matches(claims);
            refusals.push(RuleWalk { matches, name: refusal.name.clone(), observe: false, terms });
            if matches {
                break;
            }
        }
        let rules: Vec<RuleWalk> = self.rules().iter().map(|rule| walk_rule(rule, claims)).collect();
        let outcome = self.choose(claims).and_then(|rule| {
            let default = rule.svids.first().ok_or(Denial::NoRuleMatches)?;
            let id = rule.name(default, claims, trust_domain)?;
            if rule.kinds.contains(&Kind::X509) {
                rule.build_claims_of(claims)?;
            }
            Ok((id, rule))
        });
        let verdict = match outcome {
            Ok((id, rule)) => Verdict::Granted {
                rule: rule.name.clone(),
                spiffe_id: id.to_string(),
                ttl_seconds: rule.ttl.as_secs(),
                build_claims: rule.build_claims.is_some() && rule.kinds.contains(&Kind::X509),
            },
            Err(denial) => Verdict::Denied {
                code: denial.code().to_owned(),
                reason: denial.to_string(),
                nearest: (denial == Denial::NoRuleMatches).then(|| nearest(&rules)).flatten(),
            },
        };
        Walk { refusals, rules, verdict }
    }
}

impl Walk {
    /// What the bearer of the token may see: rules that can concern its own project, and no others.
    #[must_use]
    pub fn for_bearer(self) -> Self {
        let rules: Vec<_> = self.rules.into_iter().filter(RuleWalk::concerns_bearer).collect();
        let refusals = self.refusals.into_iter().filter(RuleWalk::concerns_bearer).collect();
        let verdict = match self.verdict {
            Verdict::Denied { code, reason, nearest: Some(_) } => {
                Verdict::Denied { code, reason, nearest: nearest(&rules) }
            }
            same @ (Verdict::Denied { .. } | Verdict::Granted { .. }) => same,
        };
        Self { refusals, rules, verdict }
    }
}

impl RuleWalk {
    /// Whether nothing in it speaks of somebody else's project: no failing term on whose code it is, and no failing
    /// condition of several claims, in which one may hide.
    fn concerns_bearer(&self) -> bool {
        const WHOSE: [&str; 5] = ["issuer", "namespace_id", "namespace_path", "project_id", "project_path"];
        let of_others = |term: &TermWalk| WHOSE.contains(&term.claim.as_str()) || term.claim == term.wanted;
        self.matches || !self.terms.iter().any(|term| !term.passes && of_others(term))
    }
}

fn walk_rule(rule: &Rule, claims: &Claims) -> RuleWalk {
    let mut all = terms(&rule.when, "when", Truth::True, claims);
    all.extend(terms(&rule.unless, "unless", Truth::False, claims));
    RuleWalk { matches: rule.matches(claims), name: rule.name.clone(), observe: rule.observe, terms: all }
}

/// The rule with the fewest terms that fail; of several, the first. A rule of another issuer is never near.
fn nearest(rules: &[RuleWalk]) -> Option<String> {
    let misses = |rule: &&RuleWalk| rule.terms.iter().filter(|term| !term.passes).count();
    let other_issuer = |rule: &RuleWalk| rule.terms.iter().any(|term| term.claim == "issuer" && !term.passes);
    let near = rules.iter().filter(|rule| !rule.observe && !other_issuer(rule)).min_by_key(misses)?;
    Some(near.name.clone())
}

fn terms(conditions: &[Condition], part: &'static str, wanted: Truth, claims: &Claims) -> Vec<TermWalk> {
    let tell = |term: &Condition| {
        let holds = term.judge(claims);
        let (claim, got, implied, words) = match term {
            Condition::Claim { name, test, implied } => {
                (name.clone(), claims.view(name).map(|value| value.to_string()), *implied, test.to_string())
            }
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {
                (term.to_string(), None, false, term.to_string())
            }
        };
        TermWalk { claim, got, holds, implied, passes: holds == wanted, part, wanted: words }
    };
    conditions.iter().map(tell).collect()
}
