//! What other systems said of a job, and whether that is what a rule needs: pass, fail, or unavailable.
//!
//! **Invariants**: silence never becomes a pass, and neither does a system that does not stand behind the job, `not` or no
//! `not`. A [`HeardRule`] is made here only, and only it grants.

use super::{Denial, Need, Rule, Wanted};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a system said when it was asked for a fact.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What the fact is.
    Is(Seen),
    /// What it knows is not of this job, or it knows no such job: whatever is wanted, this is not it. Why.
    No(String),
    /// Nothing: it could not be asked, or not in time.
    Unavailable {
        /// Why.
        why: String,
        /// After how many seconds it wants to be asked again, where it said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
}

/// A fact's value.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Seen {
    /// A truth.
    Bool(bool),
    /// A count.
    Count(u64),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
}

/// What other systems said, by fact. A fact that is not in it was not asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Answers(BTreeMap<Cow<'static, str>, Answer>);

/// Whether a need is met. The greater is the better for whoever asks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is not.
    Fail,
    /// It cannot be said.
    Unavailable,
    /// It is.
    Pass,
}

/// A rule all of whose needs are met.
#[derive(Debug)]
pub struct HeardRule {
    pub(super) rule: Arc<Rule>,
    pub(super) facts: Answers,
}

/// A need that is not met, or of which that cannot be said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unmet {
    /// Whose need.
    pub rule: String,
    /// The need, in words.
    pub need: String,
    /// The facts that it rests on.
    pub rests_on: Vec<&'static str>,
    /// All that was heard for the rule.
    pub facts: Answers,
    /// After how many seconds to ask again, where a system said so.
    pub retry_after: Option<u64>,
}

impl Answers {
    /// Nobody was asked.
    pub const NONE: Self = Self(BTreeMap::new());

    /// Whether nobody was asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was said of a fact; none where nobody was asked.
    pub fn of(&self, fact: &str) -> Option<&Answer> {
        self.0.get(fact)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Answer)> {
        self.0.iter().map(|(fact, answer)| (&**fact, answer))
    }

    /// What was said of some facts, in words.
    pub(super) fn tell(&self, facts: &[&str]) -> String {
        let one = |fact: &&str| match self.of(fact) {
            Some(answer) => format!("{fact} {answer}"),
            None => format!("{fact} was not asked for"),
        };
        facts.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

impl FromIterator<(Cow<'static, str>, Answer)> for Answers {
    fn from_iter<T: IntoIterator<Item = (Cow<'static, str>, Answer)>>(answers: T) -> Self {
        Self(answers.into_iter().collect())
    }
}

impl Need {
    /// Whether it is met by what was said.
    pub fn judge(&self, facts: &Answers) -> Outcome {
        self.weigh(facts, true)
    }

    /// `not` turns around what is wanted, and never what a system said: a no stays one.
    fn weigh(&self, facts: &Answers, as_written: bool) -> Outcome {
        match self {
            Self::All(each) | Self::Any(each) => {
                let outcomes = each.iter().map(|one| one.weigh(facts, as_written));
                let wants_each = matches!(self, Self::All(_)) == as_written;
                let decisive = if wants_each { outcomes.min() } else { outcomes.max() };
                decisive.unwrap_or(Outcome::Fail)
            }
            Self::Fact { name, wanted } => match facts.of(name) {
                Some(Answer::Is(seen)) if wanted.holds(seen) == Some(as_written) => Outcome::Pass,
                Some(Answer::Is(_) | Answer::No(_)) => Outcome::Fail,
                Some(Answer::Unavailable { .. }) | None => Outcome::Unavailable,
            },
            Self::Not(one) => one.weigh(facts, !as_written),
        }
    }
}

impl Wanted {
    /// Whether a value is what is wanted; none where it is of another kind, which a source of this fact never says.
    fn holds(&self, seen: &Seen) -> Option<bool> {
        match (self, seen) {
            (Self::AtLeast(least), Seen::Count(count)) => Some(count >= least),
            (Self::Is(wanted), Seen::Bool(is)) => Some(wanted == is),
            (Self::OneOf(wanted), Seen::Text(text)) => Some(wanted.contains(text)),
            (Self::OneOf(wanted), Seen::Texts(texts)) => Some(texts.iter().any(|text| wanted.contains(text))),
            (Self::AtLeast(_) | Self::Is(_) | Self::OneOf(_), _) => None,
        }
    }
}

impl Rule {
    /// The facts that it needs, each once.
    pub fn facts(&self) -> Vec<&'static str> {
        let mut facts: Vec<_> = self.needs.iter().flat_map(Need::facts).collect();
        facts.sort_unstable();
        facts.dedup();
        facts
    }

    /// Whether it grants nothing once a system says no to all that it knows, whatever others say: `begins` is how that system's
    /// facts begin.
    pub fn falls_with(&self, begins: &str) -> bool {
        let of_system = self.facts().into_iter().filter(|fact| fact.starts_with(begins));
        let no: Answers = of_system.map(|fact| (Cow::Borrowed(fact), Answer::No(String::new()))).collect();
        self.needs.iter().any(|need| need.judge(&no) == Outcome::Fail)
    }

    /// Holds its needs against what other systems said. One without needs wants to hear nothing.
    ///
    /// # Errors
    /// `NeedFailed`, or else `FactUnavailable`: for the first such need. Neither is a reason to ask the next rule.
    pub fn hear(self: Arc<Self>, facts: Answers) -> Result<HeardRule, Denial> {
        let judged = self.needs.iter().map(|need| (need.judge(&facts), need));
        let Some((outcome, need)) = judged.min_by_key(|(outcome, _)| *outcome) else {
            return Ok(HeardRule { rule: self, facts });
        };
        let denial = match outcome {
            Outcome::Pass => return Ok(HeardRule { rule: self, facts }),
            Outcome::Fail => Denial::NeedFailed,
            Outcome::Unavailable => Denial::FactUnavailable,
        };
        let (rests_on, need) = (need.facts(), need.to_string());
        let waits = rests_on.iter().filter_map(|fact| facts.of(fact)?.retry_after());
        let retry_after = waits.max();
        Err(denial(Box::new(Unmet { rule: self.name.clone(), need, rests_on, facts, retry_after })))
    }
}

impl Answer {
    /// Which of the three, as metrics count it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Is(_) => "is",
            Self::No(_) => "no",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Is(_) | Self::No(_) => None,
        }
    }
}

impl Unmet {
    /// Whether it is only because nobody was asked.
    pub(super) fn is_unasked(&self) -> bool {
        self.rests_on.iter().all(|fact| !matches!(self.facts.of(fact), Some(Answer::Unavailable { .. })))
    }
}

/// For operators: with all that was heard.
impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {:?} needs {}, but {}", self.rule, self.need, self.facts.tell(&self.rests_on))
    }
}

/// As it completes "job.state …".
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(seen) => write!(f, "is {seen}"),
            Self::No(why) => write!(f, "cannot be had of this job ({why})"),
            Self::Unavailable { why, .. } => write!(f, "could not be asked for ({why})"),
        }
    }
}

/// As a person reads it.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(is) => is.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Texts(texts) => write!(f, "[{}]", texts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::KNOWN_FACTS;
    use proptest::prelude::*;
    use proptest::sample::select;

    const FACTS: [&str; 3] = [KNOWN_FACTS[0].0, KNOWN_FACTS[1].0, KNOWN_FACTS[2].0];

    fn fact(name: &'static str) -> Need {
        Need::Fact { name, wanted: Wanted::Is(true) }
    }

    #[test]
    fn a_rule_falls_with_a_system_unless_another_s_word_would_do() {
        let (of_directory, of_job) = (|| fact("directory.enabled"), || fact("job.state"));
        for (needs, falls) in [
            (vec![], false),
            (vec![of_job()], false),
            (vec![of_job(), of_directory()], true),
            (vec![Need::Not(Box::new(of_directory()))], true),
            (vec![Need::Any(vec![of_directory(), of_job()])], false),
            (vec![Need::Any(vec![of_directory(), of_job()]), of_directory()], true),
            (vec![Need::All(vec![of_directory(), of_job()])], true),
        ] {
            let mut rule = crate::policy::tests::a_rule();
            rule.needs = needs;
            assert_eq!(rule.falls_with("directory."), falls, "{:?}", rule.needs);
        }
    }

    fn some_need() -> impl Strategy<Value = Need> {
        let leaf = select(&FACTS[..]).prop_map(fact);
        leaf.prop_recursive(3, 12, 3, |inner| {
            let some = || prop::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                some().prop_map(Need::All),
                some().prop_map(Need::Any),
                inner.clone().prop_map(|one| Need::Not(Box::new(one))),
            ]
        })
    }

    /// As tables say it: `true`, `false`, `no`, `away`, or `-` where nobody was asked.
    fn answer(word: &str) -> Option<Answer> {
        Some(match word {
            "-" => return None,
            "away" => Answer::Unavailable { why: "away".to_owned(), retry_after: None },
            "no" => Answer::No("another job's".to_owned()),
            truth => Answer::Is(Seen::Bool(truth == "true")),
        })
    }

    fn some_answer() -> impl Strategy<Value = Option<Answer>> {
        select(vec!["true", "false", "away", "no", "-"]).prop_map(answer)
    }

    fn answers(each: &[Option<Answer>]) -> Answers {
        FACTS.into_iter().zip(each).filter_map(|(fact, answer)| Some((fact.into(), answer.clone()?))).collect()
    }

    fn said(words: &str) -> Answers {
        answers(&words.split(' ').map(answer).collect::<Vec<_>>())
    }

    /// Two-valued logic, where everything is known.
    fn holds(need: &Need, truths: &[bool]) -> bool {
        match need {
            Need::All(each) => each.iter().all(|one| holds(one, truths)),
            Need::Any(each) => each.iter().any(|one| holds(one, truths)),
            Need::Fact { name, .. } => truths[FACTS.iter().position(|fact| fact == name).unwrap()],
            Need::Not(one) => !holds(one, truths),
        }
    }

    proptest! {
        #[test]
        fn where_all_is_known_a_need_is_plain_logic(need in some_need(), truths in prop::array::uniform3(any::<bool>())) {
            let outcome = need.judge(&answers(&truths.map(|truth| answer(if truth { "true" } else { "false" }))));
            prop_assert_eq!(outcome, if holds(&need, &truths) { Outcome::Pass } else { Outcome::Fail });
        }

        #[test]
        fn what_cannot_be_heard_decides_nothing_that_its_answer_could_change(
            need in some_need(), heard in prop::array::uniform3(select(vec!["true", "false", "away", "-"]).prop_map(answer)),
        ) {
            let outcome = need.judge(&answers(&heard));
            for guess in 0..8_u8 {
                let truths: [bool; 3] = std::array::from_fn(|at| match &heard[at] {
                    Some(Answer::Is(Seen::Bool(truth))) => *truth,
                    _ => guess & (1 << at) != 0,
                });
                prop_assert!(outcome != Outcome::Pass || holds(&need, &truths), "passes, and might not");
                prop_assert!(outcome != Outcome::Fail || !holds(&need, &truths), "fails, and might not");
            }
        }

        #[test]
        fn silence_and_a_no_never_help(
            need in some_need(), heard in prop::array::uniform3(some_answer()), at in 0..3_usize,
            worse in select(vec!["away", "no", "-"]),
        ) {
            let mut without = heard.clone();
            without[at] = answer(worse);
            if need.judge(&answers(&heard)) != Outcome::Pass && heard[at].as_ref().is_some_and(|one| matches!(one, Answer::Is(_))) {
                prop_assert_ne!(need.judge(&answers(&without)), Outcome::Pass);
            }
            prop_assert_ne!(need.judge(&said("no no no")), Outcome::Pass);
            prop_assert_eq!(need.judge(&Answers::NONE), Outcome::Unavailable);
        }
    }

    #[test]
    fn not_turns_around_what_is_wanted_and_never_what_a_system_said() {
        let [a, b, c] = FACTS.map(fact);
        let not = |need: &Need| Need::Not(Box::new(need.clone()));
        let any = Need::Any(vec![a.clone(), b.clone()]);
        let all = Need::All(vec![a.clone(), b]);
        for (need, words, outcome) in [
            (&a, "no - -", Outcome::Fail),
            (&not(&a), "no - -", Outcome::Fail),
            (&not(&a), "away - -", Outcome::Unavailable),
            (&not(&c), "- - true", Outcome::Fail),
            (&any, "no true -", Outcome::Pass),
            (&any, "false away -", Outcome::Unavailable),
            (&not(&any), "false no -", Outcome::Fail),
            (&all, "away false -", Outcome::Fail),
            (&all, "away true -", Outcome::Unavailable),
            (&not(&all), "false no -", Outcome::Pass),
        ] {
            assert_eq!(need.judge(&said(words)), outcome, "{need}, {words}");
        }
    }

    #[test]
    fn a_value_of_another_kind_is_never_what_is_wanted() {
        let of_kind = |wanted| Need::Fact { name: FACTS[0], wanted };
        let text = |text: &str| Seen::Text(text.to_owned());
        let two = Seen::Texts(vec!["a".to_owned(), "b".to_owned()]);
        let one_of = Wanted::OneOf(vec!["b".to_owned(), "c".to_owned()]);
        for (wanted, seen, passes) in [
            (Wanted::AtLeast(2), Seen::Count(2), true),
            (Wanted::AtLeast(2), Seen::Count(1), false),
            (Wanted::AtLeast(2), text("2"), false),
            (Wanted::Is(false), Seen::Bool(false), true),
            (Wanted::Is(false), text("false"), false),
            (one_of.clone(), text("c"), true),
            (one_of.clone(), text("a"), false),
            (one_of.clone(), two, true),
            (one_of, Seen::Bool(true), false),
        ] {
            let heard = answers(&[Some(Answer::Is(seen.clone())), None, None]);
            assert_eq!(of_kind(wanted.clone()).judge(&heard) == Outcome::Pass, passes, "{wanted} {seen}");
            let fits = wanted.holds(&seen).is_some();
            let turned = Need::Not(Box::new(of_kind(wanted.clone()))).judge(&heard) == Outcome::Pass;
            assert_eq!(turned, fits && !passes, "not {wanted} {seen}");
        }
    }

    #[test]
    fn what_was_heard_reads_back_from_the_journal() {
        let heard = said("true away no");
        let written = serde_json::to_string(&heard).unwrap();
        assert_eq!(serde_json::from_str::<Answers>(&written).unwrap(), heard);
        assert!(written.contains(r#"{"is":true}"#) && !written.contains("null"), "{written}");
    }
}
