//! Conditions on claims: typed tests, joined by all, any and not, judged in three values.

use super::Glob;
use crate::token::{ClaimView, Claims};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What a condition says of some claims. A claim that the token lacks makes a test unknown, never false: `when` and
/// a refusal want true, `unless` and `not` want false, so silence never helps anybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    /// It does not hold.
    False,
    /// It holds.
    True,
    /// It rests on a claim that the token lacks.
    Unknown,
}

/// Shown as true, false, or null where unknown.
impl Serialize for Truth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::False => Some(false),
            Self::True => Some(true),
            Self::Unknown => None,
        }
        .serialize(serializer)
    }
}

impl Truth {
    fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::True => Self::False,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// A condition.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Condition {
    /// All hold; true of none.
    All(Vec<Self>),
    /// At least one holds.
    Any(Vec<Self>),
    /// One test of one claim.
    Claim {
        /// The claim's name, one of [`crate::token::KNOWN_CLAIMS`].
        name: String,
        /// What it must be.
        test: Test,
        /// Whether we put it in, because the rule does not speak of it: see [`super::Rule::implied_terms`].
        implied: bool,
    },
    /// It does not hold.
    Not(Box<Self>),
}

/// What a claim must be.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Test {
    /// This truth.
    Bool(bool),
    /// A text of this pattern.
    Glob(Glob),
    /// This id.
    Id(u64),
    /// One of these; `list` is the name of a list that they came from.
    OneOf {
        /// As in `@name`.
        list: Option<String>,
        /// The alternatives.
        tests: Arc<[Self]>,
    },
    /// A text that begins so.
    Prefix(String),
    /// This text, exactly.
    Text(String),
}

impl Condition {
    /// A term that stands in no file.
    pub fn unwritten(name: &str, test: Test) -> Self {
        Self::Claim { name: name.to_owned(), test, implied: true }
    }

    /// Judges some claims.
    pub fn judge(&self, claims: &Claims) -> Truth {
        match self {
            Self::All(all) => !any(all.iter().map(|one| !one.judge(claims))),
            Self::Any(some) => any(some.iter().map(|one| one.judge(claims))),
            Self::Claim { name, test, .. } => {
                claims.view(name).map_or(Truth::Unknown, |value| Truth::of(test.holds(value)))
            }
            Self::Not(one) => !one.judge(claims),
        }
    }

    /// Every test in it, with whether it stands under an even number of `not`.
    pub fn tests(&self) -> Vec<(&str, &Test, bool)> {
        match self {
            Self::All(some) | Self::Any(some) => some.iter().flat_map(Self::tests).collect(),
            Self::Claim { name, test, .. } => vec![(name, test, true)],
            Self::Not(one) => one.tests().into_iter().map(|(name, test, positive)| (name, test, !positive)).collect(),
        }
    }
}

fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut unknown = false;
    for truth in truths {
        match truth {
            Truth::True => return Truth::True,
            Truth::Unknown => unknown = true,
            Truth::False => {}
        }
    }
    if unknown { Truth::Unknown } else { Truth::False }
}

impl Test {
    /// Whether a value passes. Of a list, one entry that passes is enough; an external account is the text
    /// `provider:extern_uid`.
    pub fn holds(&self, value: ClaimView<'_>) -> bool {
        match (self, value) {
            (Self::OneOf { tests, .. }, _) => tests.iter().any(|test| test.holds(value)),
            (_, ClaimView::Texts(list)) => list.iter().any(|text| self.holds(ClaimView::Text(text))),
            (_, ClaimView::Identities(list)) => {
                list.iter().any(|one| self.holds(ClaimView::Text(&format!("{}:{}", one.provider, one.extern_uid))))
            }
            (Self::Bool(wanted), ClaimView::Bool(got)) => *wanted == got,
            (Self::Id(wanted), ClaimView::Id(got)) => *wanted == got,
            (Self::Text(wanted), ClaimView::Text(got)) => wanted == got,
            (Self::Glob(wanted), ClaimView::Text(got)) => wanted.matches(got),
            (Self::Prefix(wanted), ClaimView::Text(got)) => got.starts_with(wanted.as_str()),
            (Self::Bool(_) | Self::Glob(_) | Self::Id(_) | Self::Prefix(_) | Self::Text(_), _) => false,
        }
    }

    /// The exact ids it admits, or none if it admits anything else.
    pub fn ids(&self) -> Option<Vec<u64>> {
        match self {
            Self::Id(id) => Some(vec![*id]),
            Self::OneOf { tests, .. } => {
                tests.iter().map(Self::ids).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
            }
            Self::Bool(_) | Self::Glob(_) | Self::Prefix(_) | Self::Text(_) => None,
        }
    }

    /// The exact values that it admits, as texts, or none if it admits anything else.
    pub fn values(&self) -> Option<BTreeSet<String>> {
        match self {
            Self::Id(_) | Self::Text(_) => Some(BTreeSet::from([self.to_string()])),
            Self::OneOf { tests, .. } => {
                let each: Option<Vec<_>> = tests.iter().map(Self::values).collect();
                Some(each?.into_iter().flatten().collect())
            }
            Self::Bool(_) | Self::Glob(_) | Self::Prefix(_) => None,
        }
    }

    /// Whether it admits texts that nobody wrote down: globs and prefixes.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Glob(_) | Self::Prefix(_) => true,
            Self::OneOf { tests, .. } => tests.iter().any(Self::is_open),
            Self::Bool(_) | Self::Id(_) | Self::Text(_) => false,
        }
    }
}

/// As a person reads it.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(is) => is.fmt(f),
            Self::Glob(glob) => glob.fmt(f),
            Self::Id(id) => id.fmt(f),
            Self::OneOf { list: Some(name), .. } => write!(f, "@{name}"),
            Self::OneOf { list: None, tests } => {
                let words: Vec<String> = tests.iter().map(ToString::to_string).collect();
                write!(f, "one of {}", words.join(", "))
            }
            Self::Prefix(prefix) => write!(f, "{prefix}…"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// As a person reads it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |some: &[Self]| some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::All(some) => write!(f, "all ({})", words(some)),
            Self::Any(some) => write!(f, "any ({})", words(some)),
            Self::Claim { name, test, .. } => write!(f, "{name} = {test}"),
            Self::Not(one) => write!(f, "not ({one})"),
        }
    }
}
