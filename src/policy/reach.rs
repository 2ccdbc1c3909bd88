//! Rules that no job can reach: their own terms contradict each other, or an earlier rule takes all that they match.

use super::{Condition, RefusalRule, Rule, Test};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

/// Two terms of a rule that cannot both be met.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contradiction {
    /// A claim that both rest on.
    pub claim: String,
    /// One, in words.
    pub first: String,
    /// The other.
    pub second: String,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} contradicts {}", self.first, self.second)
    }
}

impl Rule {
    /// Two of its terms that contradict each other, if it has such.
    pub fn contradiction(&self) -> Option<Contradiction> {
        Contradiction::find(&self.when, &self.unless)
    }
}

impl Contradiction {
    /// Two terms that contradict each other, of those that all must hold and those of which none may.
    pub fn find<'t, T: Copy + IntoIterator<Item = &'t Condition>>(when: T, unless: T) -> Option<Self> {
        let terms: Vec<&Condition> = when.into_iter().flat_map(parts).collect();
        let more: Vec<(&Condition, Condition)> =
            terms.iter().flat_map(|term| consequences(term).into_iter().map(|follows| (*term, follows))).collect();
        let told = terms.iter().map(|term| (*term, *term)).chain(more.iter().map(|(term, follows)| (*term, follows)));
        let told: Vec<_> = told.collect();
        for (at, (said, first)) in told.iter().enumerate() {
            let later = told.iter().skip(at + 1).find(|(_, second)| first.excludes(second));
            if let Some((second, _)) = later {
                return Some(Self::of(said, second.to_string()));
            }
            if let Some(unless) = unless.into_iter().find(|unless| first.implies(unless)) {
                return Some(Self::of(said, format!("unless {unless}")));
            }
        }
        None
    }

    fn of(first: &Condition, second: String) -> Self {
        let claim = first.tests().first().map(|(name, ..)| (*name).to_owned()).unwrap_or_default();
        Self { claim, first: first.to_string(), second }
    }
}

/// The terms of which each must hold.
fn parts(term: &Condition) -> Vec<&Condition> {
    match term {
        Condition::All(all) => all.iter().flat_map(parts).collect(),
        Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => vec![term],
    }
}

/// What GitLab's claims say of each other.
fn consequences(term: &Condition) -> Vec<Condition> {
    let Condition::Claim { name, test, .. } = term else { return Vec::new() };
    let claim = Condition::unwritten;
    let text = |text: &str| Test::Text(text.to_owned());
    match (name.as_str(), test) {
        ("fork", Test::Bool(true)) => vec![claim("merge_request", Test::Bool(true))],
        ("merge_request", Test::Bool(true)) => {
            let tests = [text("merge_request_event"), text("external_pull_request_event")].into();
            vec![claim("pipeline_source", Test::OneOf { list: None, tests }), claim("ref_type", text("branch"))]
        }
        ("pipeline_source", Test::Text(source)) => {
            let is = matches!(source.as_str(), "merge_request_event" | "external_pull_request_event");
            let of_own_code = (!is).then(|| claim("fork", Test::Bool(false)));
            of_own_code.into_iter().chain([claim("merge_request", Test::Bool(is))]).collect()
        }
        ("project_path", Test::Text(path)) => {
            path.rsplit_once('/').map(|(space, _)| claim("namespace_path", text(space))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// A rule that never decides, because an earlier one does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Covered {
    /// The rule that is never reached.
    pub rule: String,
    /// The one that takes all that it matches.
    pub by: String,
    /// Whether that one refuses.
    pub refused: bool,
}

/// Claims by which rules are told apart at once; a rule that fixes none of them is held against all later ones.
const KEYS: [&str; 4] = ["project_id", "project_path", "namespace_id", "namespace_path"];

/// The rules that are never reached. Rules that only observe cover nothing, and are never covered: they are on trial.
pub fn find_covered<R: Borrow<Rule>>(refusals: &[RefusalRule], rules: &[R]) -> Vec<Covered> {
    let mut keyed: BTreeMap<(&str, String), Vec<&Rule>> = BTreeMap::new();
    let mut broad: Vec<&Rule> = Vec::new();
    let mut covered = Vec::new();
    for rule in rules.iter().map(Borrow::borrow).filter(|rule| !rule.observe) {
        let refusal = refusals.iter().find(|refusal| refusal.when.iter().all(|term| rule.demands(term)));
        let near = KEYS.iter().filter_map(|key| keyed.get(&(*key, rule.fixed(key)?.into_iter().next()?)));
        let earlier = near.flatten().chain(&broad).find(|earlier| earlier.takes_all_of(rule));
        if let Some(refusal) = refusal {
            covered.push(Covered { rule: rule.name.clone(), by: refusal.name.clone(), refused: true });
        } else if let Some(earlier) = earlier {
            covered.push(Covered { rule: rule.name.clone(), by: earlier.name.clone(), refused: false });
        }
        match KEYS.iter().find_map(|key| Some((*key, rule.fixed(key)?))) {
            Some((key, values)) => {
                for value in values {
                    keyed.entry((key, value)).or_default().push(rule);
                }
            }
            None => broad.push(rule),
        }
    }
    covered
}

impl Rule {
    /// Whether it matches whatever the later one matches.
    fn takes_all_of(&self, later: &Self) -> bool {
        self.issuer == later.issuer
            && self.when.iter().all(|term| later.demands(term))
            && self.unless.iter().all(|term| later.rules_out(term))
    }

    /// Whether the term holds wherever the rule matches.
    pub(super) fn demands(&self, term: &Condition) -> bool {
        match term {
            Condition::All(all) => all.iter().all(|one| self.demands(one)),
            Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => {
                self.when.iter().any(|mine| mine.implies(term))
            }
        }
    }

    /// Whether the term is known not to hold wherever the rule matches.
    pub(super) fn rules_out(&self, term: &Condition) -> bool {
        self.unless.iter().any(|mine| term.is_within(mine)) || self.when.iter().any(|mine| mine.excludes(term))
    }
}
