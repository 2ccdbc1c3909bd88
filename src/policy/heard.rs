//! A rule's needs in a walk: what each wanted, what was heard, and what came of it.

use super::{Answer, Answers, Need, Outcome, Rule};
use serde::Serialize;

/// One need and how it was judged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct NeedWalk {
    /// The fact, or the whole need where it is one of all, any, not.
    pub fact: String,
    /// What is wanted; none where only an operator may see it.
    pub wanted: Option<String>,
    /// What was said; none where nobody was asked, or where only an operator may see it.
    pub got: Option<String>,
    /// What came of it.
    pub outcome: Heard,
    /// The facts that it rests on.
    #[serde(skip)]
    pub(super) rests_on: Vec<&'static str>,
}

/// What came of a need that may not have been put to anybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// It is not met.
    Fail,
    /// Nobody was asked for any of its facts.
    NotAsked,
    /// It is met.
    Pass,
    /// It cannot be said.
    Unavailable,
}

impl NeedWalk {
    /// Every need of a rule.
    pub(super) fn all(rule: &Rule, facts: &Answers) -> Vec<Self> {
        rule.needs.iter().map(|need| Self::of(need, facts)).collect()
    }

    fn of(need: &Need, facts: &Answers) -> Self {
        let rests_on = need.facts();
        let asked = rests_on.iter().any(|fact| facts.of(fact).is_some());
        let outcome = match need.judge(facts) {
            _ if !asked => Heard::NotAsked,
            Outcome::Fail => Heard::Fail,
            Outcome::Pass => Heard::Pass,
            Outcome::Unavailable => Heard::Unavailable,
        };
        let (fact, wanted, got) = match need {
            Need::Fact { name, wanted } => ((*name).to_owned(), wanted.to_string(), facts.of(name).map(said)),
            Need::All(_) | Need::Any(_) | Need::Not(_) => {
                (need.to_string(), need.to_string(), asked.then(|| facts.tell(&rests_on)))
            }
        };
        Self { fact, wanted: Some(wanted), got, outcome, rests_on }
    }

    /// Which facts, and whether they passed: what the bearer may see.
    pub(super) fn for_bearer(self) -> Self {
        Self { fact: self.rests_on.join(", "), wanted: None, got: None, ..self }
    }
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Is(seen) => seen.to_string(),
        Answer::No(_) | Answer::Unavailable { .. } => answer.to_string(),
    }
}
