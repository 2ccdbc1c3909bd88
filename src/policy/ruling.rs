//! What a policy would say to claims and a wish: for cases kept beside the rules, and for requests of the past. Uses the
//! same steps as the road, and lets no grant out.

use super::{Answer, Answers, Condition, Denial, Policy, Rule, SHOWN_FACTS, Seen, Truth, Verdict, Wish};
use crate::identity::TrustDomain;
use crate::token::{ClaimView, Claims};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Yes or no, with what tells it from another.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Ruling {
    /// Yes.
    Granted {
        /// By which rule.
        rule: String,
        /// The identity.
        spiffe_id: String,
        /// Longest life of one SVID, in seconds.
        ttl_seconds: u64,
    },
    /// No.
    Denied {
        /// [`super::Denial::code`].
        code: String,
        /// The rule that said it, if one did.
        rule: Option<String>,
        /// In words.
        reason: String,
    },
}

impl Ruling {
    /// The rule that spoke, if one did.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Granted { rule, .. } => Some(rule),
            Self::Denied { rule, .. } => rule.as_deref(),
        }
    }
}

/// The identity, or the code of the no.
impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted { spiffe_id, .. } => f.write_str(spiffe_id),
            Self::Denied { code, .. } => f.write_str(code),
        }
    }
}

impl Policy {
    /// What it would say, where other systems said this of the job.
    pub fn rule_on(&self, (claims, facts): (&Claims, &Answers), wish: &Wish, trust_domain: &TrustDomain) -> Ruling {
        let heard = self.choose(claims).and_then(|rule| rule.hear(facts.clone()));
        match heard.and_then(|heard| heard.rule.grant_to((claims, &heard.facts), wish, trust_domain)) {
            Ok(grant) => Ruling::Granted {
                rule: grant.rule().to_owned(),
                spiffe_id: grant.spiffe_id().to_string(),
                ttl_seconds: grant.ttl().as_secs(),
            },
            Err(denial) => Ruling::Denied {
                code: denial.code().to_owned(),
                rule: denial.rule().map(str::to_owned),
                reason: denial.to_string(),
            },
        }
    }

    /// Whether its ruling on such claims rests on facts that nobody was asked for.
    pub fn waits_for_facts(&self, claims: &Claims, facts: &Answers) -> bool {
        let heard = self.choose(claims).and_then(|rule| rule.hear(facts.clone()));
        matches!(heard, Err(Denial::FactUnavailable(unmet)) if unmet.is_unasked())
    }

    /// The first term that decided a ruling: of the rule that was `expected` to speak, the first that fails; of a refusal
    /// that spoke, its first; where none spoke, the first that fails in the nearest rule. In words.
    pub fn deciding_term(
        &self,
        (claims, trust_domain): (&Claims, &TrustDomain),
        ruling: &Ruling,
        expected: Option<&str>,
    ) -> Option<String> {
        let expected = expected.filter(|name| ruling.rule() != Some(*name));
        if let Some(rule) = expected.and_then(|name| self.named(name)) {
            let instead = || ruling.rule().map(|spoke| format!("rule {spoke:?} stands before {:?}", rule.name));
            return failing(rule, claims).or_else(instead);
        }
        match ruling {
            Ruling::Granted { rule, .. } => {
                let rule = self.named(rule)?;
                // Terms that we put in ourselves, and whose token it is, tell nobody why this rule is the one.
                let telling = rule.when.iter().find(|term| !is_plain(term)).or_else(|| rule.when.iter().next())?;
                Some(tell(&rule.name, "when", telling, claims))
            }
            Ruling::Denied { rule: None, .. } => {
                let Verdict::Denied { nearest: Some(nearest), .. } = self.walk(claims, trust_domain).verdict else {
                    return None;
                };
                failing(self.named(&nearest)?, claims)
            }
            Ruling::Denied { rule: Some(rule), reason, .. } => {
                let refusal = self.refusals().iter().find(|refusal| refusal.name == *rule);
                let first = refusal.and_then(|refusal| {
                    refusal.when.iter().find(|term| !is_plain(term)).or_else(|| refusal.when.iter().next())
                });
                Some(first.map_or_else(|| reason.clone(), |term| tell(rule, "when", term, claims)))
            }
        }
    }

    /// Whether any rule or template reads this claim.
    pub fn reads(&self, claim: &str) -> bool {
        let of_rules = self.rules().iter().flat_map(|rule| rule.when.iter().chain(&rule.unless));
        let mut conditions = of_rules.chain(self.refusals().iter().flat_map(|refusal| &refusal.when));
        conditions.any(|condition| condition.tests().iter().any(|(name, ..)| *name == claim))
            || self
                .rules()
                .iter()
                .flat_map(|rule| &rule.gives.svids)
                .any(|svid| svid.id.holes().any(|hole| hole == claim))
            || self.rules().iter().any(|rule| rule.gives.claims.holes().any(|hole| hole == claim))
    }

    fn named(&self, name: &str) -> Option<&Arc<Rule>> {
        self.rules().iter().find(|rule| rule.name == name)
    }
}

/// The first term that keeps a rule from matching.
fn failing(rule: &Rule, claims: &Claims) -> Option<String> {
    let whose = (rule.issuer != claims.issuer)
        .then(|| format!("{:?}: the issuer wants to be {}, is {}", rule.name, rule.issuer, claims.issuer));
    let mut parts = [("when", &rule.when, Truth::True), ("unless", &rule.unless, Truth::False)].into_iter();
    whose.or_else(|| {
        parts.find_map(|(part, terms, wanted)| {
            let term = terms.iter().find(|term| term.judge(claims) != wanted)?;
            Some(tell(&rule.name, part, term, claims))
        })
    })
}

impl Rule {
    /// What it would say, were it not only on trial: the identity, or the code of its no. Nobody is asked for what it needs.
    pub fn would(self: &Arc<Self>, claims: &Claims, wish: &Wish, trust_domain: &TrustDomain) -> String {
        let assumed = SHOWN_FACTS.iter().map(|(shown, _)| ((*shown).into(), Answer::Is(Seen::Count(1)))).collect();
        match self.grant_to((claims, &assumed), wish, trust_domain) {
            Ok(grant) if self.needs.is_empty() => grant.spiffe_id().to_string(),
            Ok(grant) => format!("{}, if it hears {} as it needs it", grant.spiffe_id(), self.facts().join(", ")),
            Err(denial) => denial.code().to_owned(),
        }
    }
}

fn is_plain(term: &Condition) -> bool {
    matches!(term, Condition::Claim { name, implied, .. } if *implied || name == "issuer")
}

fn tell(rule: &str, part: &str, term: &Condition, claims: &Claims) -> String {
    match term {
        Condition::Claim { name, test, .. } => {
            let got = claims.view(name).map_or_else(|| "nothing".to_owned(), shown);
            format!("{rule:?}: {part} {name} is {test}; the job has {got}")
        }
        Condition::All(_) | Condition::Any(_) | Condition::Not(_) => format!("{rule:?}: {part} {term}"),
    }
}

/// A value as a line of a table can hold it.
fn shown(value: ClaimView<'_>) -> String {
    const CHARACTERS_MAX: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
