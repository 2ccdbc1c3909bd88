//! Why: the same tests as in a decision, each with what it wanted and what it got.

use super::{Answers, Condition, Denial, Kind, NeedWalk, Policy, Rule, Terms, Test, Truth};
use crate::identity::TrustDomain;
use crate::token::Claims;
use serde::Serialize;
use std::sync::Arc;

/// The whole way through a policy.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Walk {
    /// The refusals, in order, up to the one that spoke.
    pub refusals: Vec<RuleWalk>,
    /// The rules, in order; all of them, also those behind the one that spoke.
    pub rules: Vec<RuleWalk>,
    /// What came out.
    pub verdict: Verdict,
    /// Whether a key has used the token already: only that one gets more with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub used: bool,
    /// Why not, as the bearer may read it.
    #[serde(skip)]
    to_bearer: Option<String>,
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
        /// The facts that the rule needs too, where nobody was asked for them: only then is it a yes.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        not_asked: Vec<String>,
    },
}

/// One rule and how it judged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RuleWalk {
    /// Whether it matched as a whole.
    pub matches: bool,
    /// How many of its terms keep it from matching.
    pub misses: usize,
    /// Its name.
    pub name: String,
    /// What it needs to hear from other systems; they are asked only for the rule that speaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeedWalk>,
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
    /// What the token says; none where it says nothing. For a condition of several claims, what it says of each.
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
    /// What stands in place of what it wants, where that may name somebody else's project though the term passes.
    #[serde(skip)]
    in_place: Option<&'static str>,
    /// Whether what it rests on is known; false only where a journal did not keep it.
    pub recorded: bool,
    /// The claims it speaks of.
    #[serde(skip)]
    rests_on: Vec<String>,
}

/// What stands in place of other projects' names.
const NOT_SHOWN: &str = "(names other projects)";
/// The claims that say whose code it is.
const WHOSE: [&str; 5] = ["issuer", "namespace_id", "namespace_path", "project_id", "project_path"];
/// Those that say whose code runs, where that is another's.
const WHOSE_JOB: [&str; 4] = ["job_namespace_id", "job_namespace_path", "job_project_id", "job_project_path"];

impl Policy {
    /// Judges every rule and tells each term; asks nobody else.
    pub fn walk(&self, claims: &Claims, trust_domain: &TrustDomain) -> Walk {
        self.walk_hearing(claims, &Answers::NONE, trust_domain)
    }

    /// The same, with what other systems said to what the rule that speaks needs.
    pub fn walk_hearing(&self, claims: &Claims, facts: &Answers, trust_domain: &TrustDomain) -> Walk {
        let mut refusals = Vec::new();
        for refusal in self.refusals() {
            let terms = terms(&refusal.when, "when", Truth::True, claims);
            let matches = refusal.matches(claims);
            refusals.push(RuleWalk::new(&refusal.name, matches, false, terms));
            if matches {
                break;
            }
        }
        let chosen = self.choose(claims);
        let not_asked = Answers::NONE;
        let walked = |rule: &Arc<Rule>| {
            let speaks = chosen.as_ref().is_ok_and(|chosen| Arc::ptr_eq(chosen, rule));
            walk_rule(rule, claims, if speaks { facts } else { &not_asked })
        };
        let rules: Vec<RuleWalk> = self.rules().iter().map(walked).collect();
        let outcome = chosen.and_then(|rule| granted(&rule, claims, facts, trust_domain));
        let (verdict, to_bearer) = match outcome {
            Ok(granted) => (granted, None),
            Err(denial) => {
                let nearest = (denial == Denial::NoRuleMatches).then(|| nearest(&rules)).flatten();
                let (code, reason) = (denial.code().to_owned(), denial.to_string());
                (Verdict::Denied { code, reason, nearest }, Some(denial.to_bearer()))
            }
        };
        Walk { refusals, rules, verdict, used: false, to_bearer }
    }
}

/// What the rule that speaks gives. Where it waits for facts that nobody was asked for, what it gives if they are so.
fn granted(rule: &Arc<Rule>, claims: &Claims, facts: &Answers, trust_domain: &TrustDomain) -> Result<Verdict, Denial> {
    let not_asked = match Arc::clone(rule).hear(facts.clone()) {
        Ok(_heard) => Vec::new(),
        Err(Denial::FactUnavailable(unmet)) if unmet.is_unasked() => {
            rule.facts().into_iter().filter(|fact| facts.of(fact).is_none()).map(str::to_owned).collect()
        }
        Err(denial) => return Err(denial),
    };
    let default = rule.gives.svids.first().ok_or(Denial::NoRuleMatches)?;
    let id = rule.name(default, claims, trust_domain)?;
    let as_x509 = rule.gives.kinds.contains(&Kind::X509);
    if as_x509 {
        rule.build_claims_of(claims)?;
    }
    Ok(Verdict::Granted {
        rule: rule.name.clone(),
        spiffe_id: id.to_string(),
        ttl_seconds: rule.gives.ttl.as_secs(),
        build_claims: rule.gives.build_claims.is_some() && as_x509,
        not_asked,
    })
}

impl Walk {
    /// What the bearer of the token may see: rules that can concern its own project, and no others; of those, no
    /// name of another project.
    #[must_use]
    pub fn for_bearer(self) -> Self {
        let shown = |rules: Vec<RuleWalk>| -> Vec<_> {
            rules.into_iter().filter(RuleWalk::concerns_bearer).map(RuleWalk::for_bearer).collect()
        };
        let (refusals, rules) = (shown(self.refusals), shown(self.rules));
        let verdict = match self.verdict {
            Verdict::Denied { code, reason, nearest: near } => {
                let reason = self.to_bearer.clone().unwrap_or(reason);
                Verdict::Denied { code, reason, nearest: near.and_then(|_| nearest(&rules)) }
            }
            granted @ Verdict::Granted { .. } => granted,
        };
        Self { refusals, rules, verdict, ..self }
    }

    /// The same walk, of a token that is used or not.
    #[must_use]
    pub fn of_token(self, used: bool) -> Self {
        Self { used, ..self }
    }

    /// The same walk, with what was decided when it was asked: by the policy of that time, or for a reason beside policy.
    #[must_use]
    pub fn as_decided(self, verdict: Verdict) -> Self {
        let verdict = match verdict {
            Verdict::Denied { code, reason, .. } if code == Denial::NoRuleMatches.code() => {
                Verdict::Denied { code, reason, nearest: nearest(&self.rules) }
            }
            same @ (Verdict::Denied { .. } | Verdict::Granted { .. }) => same,
        };
        Self { verdict, ..self }
    }

    /// The same walk, where only these claims are known: a term that rests on another says nothing, and neither does its rule.
    #[must_use]
    pub fn knowing_only(mut self, is_known: impl Fn(&str) -> bool) -> Self {
        for rule in self.refusals.iter_mut().chain(&mut self.rules) {
            rule.forget(&is_known);
        }
        self
    }
}

impl RuleWalk {
    fn new(name: &str, matches: bool, observe: bool, terms: Vec<TermWalk>) -> Self {
        let misses = terms.iter().filter(|term| !term.passes).count();
        Self { matches, misses, name: name.to_owned(), needs: Vec::new(), observe, terms }
    }

    /// Whether nothing in it speaks of somebody else's project: no failing term on whose code it is, and no failing
    /// condition of several claims, in which one may hide.
    fn concerns_bearer(&self) -> bool {
        let of_others = |term: &TermWalk| WHOSE.contains(&term.claim.as_str()) || term.claim == term.wanted;
        self.matches || !self.terms.iter().any(|term| !term.passes && of_others(term))
    }

    fn for_bearer(mut self) -> Self {
        for term in &mut self.terms {
            let Some(instead) = term.in_place else { continue };
            if term.claim == term.wanted {
                instead.clone_into(&mut term.claim);
            }
            instead.clone_into(&mut term.wanted);
        }
        self.needs = self.needs.into_iter().map(NeedWalk::for_bearer).collect();
        self
    }

    fn forget(&mut self, is_known: impl Fn(&str) -> bool) {
        for term in self.terms.iter_mut().filter(|term| !term.rests_on.iter().all(|name| is_known(name))) {
            (term.got, term.holds, term.passes, term.recorded) = (None, Truth::Unknown, false, false);
        }
        self.misses = self.terms.iter().filter(|term| !term.passes && term.recorded).count();
        self.matches = self.matches && self.terms.iter().all(|term| term.passes);
    }
}

fn walk_rule(rule: &Rule, claims: &Claims, facts: &Answers) -> RuleWalk {
    let mut all = terms(&rule.when, "when", Truth::True, claims);
    all.extend(terms(&rule.unless, "unless", Truth::False, claims));
    let walked = RuleWalk::new(&rule.name, rule.matches(claims), rule.observe, all);
    RuleWalk { needs: NeedWalk::all(rule, facts), ..walked }
}

/// The rule with the fewest terms that fail; of several, the first. A rule of another issuer is never near.
fn nearest(rules: &[RuleWalk]) -> Option<String> {
    let other_issuer = |rule: &RuleWalk| rule.terms.iter().any(|term| term.claim == "issuer" && !term.passes);
    let near = rules.iter().filter(|rule| !rule.observe && !other_issuer(rule)).min_by_key(|rule| rule.misses)?;
    Some(near.name.clone())
}

fn terms(conditions: &Terms, part: &'static str, wanted: Truth, claims: &Claims) -> Vec<TermWalk> {
    conditions.iter().map(|term| TermWalk::new(term, (part, wanted), claims)).collect()
}

impl TermWalk {
    fn new(term: &Condition, (part, wanted): (&'static str, Truth), claims: &Claims) -> Self {
        let holds = term.judge(claims);
        let text = |name: &str| claims.view(name).map(|value| value.to_string());
        let mut rests_on: Vec<String> = Vec::new();
        for (name, ..) in term.tests() {
            if !rests_on.iter().any(|known| known == name) {
                rests_on.push(name.to_owned());
            }
        }
        let is_whose = |name: &str| WHOSE.contains(&name) || WHOSE_JOB.contains(&name);
        let (claim, got, implied, words, closed) = match term {
            Condition::Claim { name, test, implied } => {
                let closed = part != "when" || matches!(test, Test::OneOf { list: None, .. });
                (name.clone(), text(name), *implied, test.to_string(), closed)
            }
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {
                let each = |name: &String| format!("{name} = {}", text(name).unwrap_or_else(|| "nothing".to_owned()));
                let got = rests_on.iter().map(each).collect::<Vec<_>>().join(", ");
                (term.to_string(), Some(got), false, term.to_string(), true)
            }
        };
        let in_place = (closed && rests_on.iter().any(|name| is_whose(name))).then_some(NOT_SHOWN);
        let passes = holds == wanted;
        Self { claim, got, holds, implied, in_place, part, passes, recorded: true, rests_on, wanted: words }
    }
}
