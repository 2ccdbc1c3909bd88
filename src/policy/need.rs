//! Needs: what other systems must say before a rule grants. No system can be asked yet, so no rule with a need loads.

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

/// Facts that a rule may need, by the system that knows them.
pub const KNOWN_FACTS: [(&str, FactKind); 5] = [
    ("approvals.independent", FactKind::Count),
    ("directory.enabled", FactKind::Bool),
    ("directory.group", FactKind::Text),
    ("gerrit.status", FactKind::State(&["abandoned", "merged", "new"])),
    ("job.state", FactKind::State(&["running"])),
];
