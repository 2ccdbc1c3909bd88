//! What one condition says of another: that it follows, or that both cannot hold. Where nothing is sure, the answer is no.

use super::{Condition, Test};
use crate::token::{ClaimKind, ClaimView, claim_kind};
use std::collections::BTreeSet;

impl Test {
    /// Whether every value that passes this passes the other.
    pub(super) fn implies(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match (self, other) {
            (Self::OneOf { tests, .. }, _) => tests.iter().all(|one| one.implies(other)),
            (_, Self::OneOf { tests, .. }) => tests.iter().any(|one| self.implies(one)),
            (Self::Bool(is), _) => other.holds(ClaimView::Bool(*is)),
            (Self::Id(id), _) => other.holds(ClaimView::Id(*id)),
            (Self::Text(text), _) => other.holds(ClaimView::Text(text)),
            (Self::Glob(_) | Self::Prefix(_), _) => {
                other.begins_with().is_some_and(|begins| self.begins().starts_with(begins))
            }
        }
    }

    /// Whether no value passes both.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OneOf { tests, .. }, _) => tests.iter().all(|one| one.excludes(other)),
            (_, Self::OneOf { tests, .. }) => tests.iter().all(|one| self.excludes(one)),
            (Self::Bool(is), _) => !other.holds(ClaimView::Bool(*is)),
            (Self::Id(id), _) => !other.holds(ClaimView::Id(*id)),
            (Self::Text(text), _) => !other.holds(ClaimView::Text(text)),
            (_, Self::Bool(_) | Self::Id(_) | Self::Text(_)) => other.excludes(self),
            (Self::Glob(_) | Self::Prefix(_), Self::Glob(_) | Self::Prefix(_)) => {
                let (mine, theirs) = (self.begins(), other.begins());
                !mine.starts_with(theirs) && !theirs.starts_with(mine)
            }
        }
    }

    /// How all texts that pass begin.
    fn begins(&self) -> &str {
        match self {
            Self::Glob(glob) => glob.literal_prefix(),
            Self::Prefix(prefix) => prefix,
            Self::Text(text) => text,
            Self::Bool(_) | Self::Id(_) | Self::OneOf { .. } => "",
        }
    }

    /// The beginning that alone is enough to pass, if one is.
    fn begins_with(&self) -> Option<&str> {
        match self {
            Self::Glob(glob) => glob.is_prefix().then(|| glob.literal_prefix()),
            Self::Prefix(prefix) => Some(prefix),
            Self::Bool(_) | Self::Id(_) | Self::OneOf { .. } | Self::Text(_) => None,
        }
    }
}

impl Condition {
    /// Whether the other holds wherever this holds.
    pub(super) fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            _ if self == other => true,
            (Self::Any(some), _) => some.iter().all(|one| one.implies(other)),
            (_, Self::All(all)) => all.iter().all(|one| self.implies(one)),
            (Self::All(all), _) if all.iter().any(|one| one.implies(other)) => true,
            (_, Self::Any(some)) => some.iter().any(|one| self.implies(one)),
            (Self::Claim { name, test, .. }, Self::Claim { name: same, test: wider, .. }) => {
                name == same && test.implies(wider)
            }
            (Self::All(_) | Self::Claim { .. }, Self::Not(one)) => self.excludes(one),
            (Self::All(_) | Self::Not(_), _) => false,
        }
    }

    /// Whether the other is known not to hold wherever this holds.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any(some), _) => some.iter().all(|one| one.excludes(other)),
            (_, Self::Any(some)) => some.iter().all(|one| self.excludes(one)),
            (Self::All(all), _) if all.iter().any(|one| one.excludes(other)) => true,
            (_, Self::All(all)) if all.iter().any(|one| self.excludes(one)) => true,
            (Self::Claim { name, test, .. }, Self::Claim { name: same, test: another, .. }) => {
                name == same && has_one_value(name) && test.excludes(another)
            }
            (_, Self::Not(one)) if self.implies(one) => true,
            (Self::Not(one), _) => other.implies(one),
            (Self::All(_) | Self::Claim { .. }, _) => false,
        }
    }

    /// Whether it tests the same claim as the other and lets through no more: then it is known to fail where that is.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Claim { name, test, .. }, Self::Claim { name: same, test: wider, .. }) => {
                name == same && test.implies(wider)
            }
            _ => self == other,
        }
    }
}

impl Condition {
    /// A text that is the same for conditions that demand the same, however they are written, and another for any other.
    pub(super) fn exactly(&self) -> String {
        let joined = |word: &str, some: &[Self]| format!("{word} {:?}", sorted(some.iter().map(Self::exactly)));
        match self {
            Self::All(all) => joined("all", all),
            Self::Any(some) => joined("any", some),
            Self::Claim { name, test, .. } => format!("{name} {}", test.exactly()),
            Self::Not(one) => format!("not {:?}", one.exactly()),
        }
    }
}

impl Test {
    fn exactly(&self) -> String {
        match self {
            Self::Bool(_) | Self::Id(_) => self.to_string(),
            Self::Glob(glob) => format!("glob {:?}", glob.to_string()),
            Self::OneOf { tests, .. } => sorted(tests.iter().map(Self::exactly)).join(" or "),
            Self::Prefix(prefix) => format!("prefix {prefix:?}"),
            Self::Text(text) => format!("{text:?}"),
        }
    }
}

fn sorted(words: impl Iterator<Item = String>) -> Vec<String> {
    words.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Of a list, one entry may pass one test and another the other.
fn has_one_value(claim: &str) -> bool {
    !matches!(claim_kind(claim), Some(ClaimKind::Identities | ClaimKind::Texts))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{some_claims, some_condition};
    use super::super::{Glob, Truth};
    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;

    /// Every text of up to five of these letters.
    fn texts() -> Vec<String> {
        let (mut all, mut longest) = (vec![String::new()], vec![String::new()]);
        for _ in 0..5 {
            longest = longest.iter().flat_map(|text| ["a", "b", "/"].map(|letter| format!("{text}{letter}"))).collect();
            all.extend_from_slice(&longest);
        }
        all
    }

    fn some_test_of_texts() -> impl Strategy<Value = Test> {
        let one = prop_oneof![
            3 => "[ab/]{0,2}[*]{1,2}[ab/*]{0,3}".prop_map(|text| Test::Glob(Glob::parse(&text))),
            1 => "[ab/]{1,3}".prop_map(Test::Prefix),
            1 => "[ab/]{0,4}".prop_map(Test::Text),
        ];
        let some =
            prop::collection::vec(one.clone(), 1..3).prop_map(|tests| Test::OneOf { list: None, tests: tests.into() });
        prop_oneof![4 => one, 1 => some]
    }

    #[test]
    fn what_is_said_of_two_tests_is_true_of_every_text() {
        let (texts, mut said) = (texts(), [0; 4]);
        let mut runner = proptest::test_runner::TestRunner::default();
        for _ in 0..4000 {
            let mut draw = || some_test_of_texts().new_tree(&mut runner).unwrap().current();
            let (one, other) = (draw(), draw());
            let passing =
                |test: &Test| texts.iter().filter(|text| test.holds(ClaimView::Text(text))).collect::<BTreeSet<_>>();
            let (mine, theirs) = (passing(&one), passing(&other));
            assert!(one.implies(&one), "{one} by itself");
            assert!(!one.implies(&other) || mine.is_subset(&theirs), "{one} in {other}");
            assert!(!one.excludes(&other) || mine.is_disjoint(&theirs), "{one} and {other}");
            assert_eq!(one.excludes(&other), other.excludes(&one), "{one} and {other}");
            said[usize::from(one.implies(&other))] += 1;
            said[2 + usize::from(one.excludes(&other))] += 1;
        }
        assert!(said.iter().all(|count| *count > 200), "[does not follow, follows, may meet, never meet]: {said:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn what_is_said_of_two_conditions_is_true_of_every_job(
            (one, other) in (some_condition(), some_condition()),
            jobs in prop::collection::vec(some_claims(), 12),
        ) {
            prop_assert!(one.implies(&one));
            prop_assert_eq!(one.excludes(&other), other.excludes(&one), "{} and {}", one, other);
            for job in &jobs {
                let (is, other_is) = (one.judge(job), other.judge(job));
                prop_assert!(!one.implies(&other) || is != Truth::True || other_is == Truth::True, "{} in {}", one, other);
                prop_assert!(!one.excludes(&other) || is != Truth::True || other_is != Truth::True, "{} and {}", one, other);
                prop_assert!(!one.is_within(&other) || other_is != Truth::False || is == Truth::False, "{} < {}", one, other);
                prop_assert!(one.exactly() != other.exactly() || is == other_is, "{} = {}", one, other);
            }
        }
    }

    #[test]
    fn lists_of_one_name_that_hold_different_things_demand_different_things() {
        let of = |list: Option<&str>, ids: &[u64]| {
            let tests: Vec<Test> = ids.iter().map(|id| Test::Id(*id)).collect();
            let test = Test::OneOf { list: list.map(str::to_owned), tests: tests.into() };
            Condition::Claim { name: "user_id".to_owned(), test, implied: false }.exactly()
        };
        assert_ne!(of(Some("team"), &[1, 2]), of(Some("team"), &[1, 3]));
        assert_eq!(of(Some("team"), &[1, 2]), of(None, &[2, 1]));
    }
}
