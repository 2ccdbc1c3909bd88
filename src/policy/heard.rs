//! A rule's needs in a walk: what each wanted, what was heard, and what came of it.

use super::{Answer, Answers, Need, Outcome, Rule};
use serde::{Serialize, Serializer};

/// One need and how it was judged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct NeedWalk {
    /// The fact, or the whole need where it is one of all, any, not.
    pub fact: String,
    /// What is wanted; none where only an operator may see it.
    pub wanted: Option<String>,
    /// What was said; none where nobody was asked, or where only an operator may see it.
    pub got: Option<String>,
    /// What came of it; `not_asked` where nobody was asked for any of its facts.
    #[serde(serialize_with = "or_not_asked")]
    pub outcome: Option<Outcome>,
    /// The facts that it rests on.
    #[serde(skip)]
    pub(super) rests_on: Vec<&'static str>,
}

impl NeedWalk {
    /// Every need of a rule.
    pub(super) fn all(rule: &Rule, facts: &Answers) -> Vec<Self> {
        rule.needs.iter().map(|need| Self::of(need, facts)).collect()
    }

    fn of(need: &Need, facts: &Answers) -> Self {
        let rests_on = need.facts();
        let asked = rests_on.iter().any(|fact| facts.of(fact).is_some());
        let (fact, wanted, got) = match need {
            Need::Fact { name, wanted } => ((*name).to_owned(), wanted.to_string(), facts.of(name).map(said)),
            Need::All(_) | Need::Any(_) | Need::Not(_) => {
                (need.to_string(), need.to_string(), asked.then(|| facts.tell(&rests_on)))
            }
        };
        Self { fact, wanted: Some(wanted), got, outcome: asked.then(|| need.judge(facts)), rests_on }
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

fn or_not_asked<S: Serializer>(outcome: &Option<Outcome>, serializer: S) -> Result<S::Ok, S::Error> {
    match outcome {
        Some(outcome) => outcome.serialize(serializer),
        None => serializer.serialize_str("not_asked"),
    }
}
