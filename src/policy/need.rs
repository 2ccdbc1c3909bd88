//! Needs: what other systems must say before a rule grants.

use std::fmt;

/// A question to other systems.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// All must be met.
    All(Vec<Self>),
    /// At least one must be met.
    Any(Vec<Self>),
    /// One fact must be as wanted.
    Fact {
        /// One of [`KNOWN_FACTS`].
        name: &'static str,
        /// What it must be.
        wanted: Wanted,
    },
    /// It must be known not to be met.
    Not(Box<Self>),
}

impl Need {
    /// The facts that it rests on, each once.
    pub fn facts(&self) -> Vec<&'static str> {
        let mut facts = match self {
            Self::All(each) | Self::Any(each) => each.iter().flat_map(Self::facts).collect(),
            Self::Fact { name, .. } => vec![*name],
            Self::Not(one) => one.facts(),
        };
        facts.sort_unstable();
        facts.dedup();
        facts
    }
}

/// As a person reads it.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |each: &[Self]| each.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::All(each) => write!(f, "all ({})", words(each)),
            Self::Any(each) => write!(f, "any ({})", words(each)),
            Self::Fact { name, wanted } => write!(f, "{name} = {wanted}"),
            Self::Not(one) => write!(f, "not ({one})"),
        }
    }
}

/// What a fact must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// A count of no less.
    AtLeast(u64),
    /// This truth.
    Is(bool),
    /// One of these texts; of a list of texts, one is enough.
    OneOf(Vec<String>),
}

/// As a person reads it.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(count) => write!(f, "at least {count}"),
            Self::Is(is) => is.fmt(f),
            Self::OneOf(texts) => match texts.as_slice() {
                [one] => f.write_str(one),
                some => write!(f, "one of {}", some.join(", ")),
            },
        }
    }
}

/// What a fact holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FactKind {
    /// True or false.
    Bool,
    /// How many; at least as many are wanted.
    Count,
    /// One of few words.
    State(&'static [&'static str]),
    /// A text, or a list of them.
    Text,
}

/// Numbers that a system tells beside a fact and that a rule's claims may show, each with that fact.
pub const SHOWN_FACTS: [(&str, &str); 1] = [("gerrit.change", "gerrit.status")];

/// Facts that a rule may need, by the system that knows them.
pub const KNOWN_FACTS: [(&str, FactKind); 6] = [
    ("approvals.deployment", FactKind::Count),
    ("approvals.merge_request", FactKind::Count),
    ("directory.enabled", FactKind::Bool),
    ("directory.group", FactKind::Text),
    ("gerrit.status", FactKind::State(&["abandoned", "approved", "merged", "new"])),
    ("job.state", FactKind::State(&["running"])),
];
