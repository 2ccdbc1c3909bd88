//! What one condition says of another: that it follows, or that both cannot hold. Where nothing is sure, the answer is no.

use super::{Condition, Test};
use crate::token::{ClaimKind, ClaimView, claim_kind};

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
            (Self::Any(some), _) => some.iter().all(|one| one.implies(other)),
            (_, Self::All(all)) => all.iter().all(|one| self.implies(one)),
            (Self::All(all), _) => all.iter().any(|one| one.implies(other)),
            (_, Self::Any(some)) => some.iter().any(|one| self.implies(one)),
            (Self::Claim { name, test, .. }, Self::Claim { name: same, test: wider, .. }) => {
                name == same && test.implies(wider)
            }
            (Self::Claim { .. }, Self::Not(one)) => self.excludes(one),
            (Self::Not(_), _) => self == other,
        }
    }

    /// Whether the other is known not to hold wherever this holds.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any(some), _) => some.iter().all(|one| one.excludes(other)),
            (_, Self::Any(some)) => some.iter().all(|one| self.excludes(one)),
            (Self::All(all), _) => all.iter().any(|one| one.excludes(other)),
            (_, Self::All(all)) => all.iter().any(|one| self.excludes(one)),
            (Self::Claim { name, test, .. }, Self::Claim { name: same, test: another, .. }) => {
                name == same && has_one_value(name) && test.excludes(another)
            }
            (_, Self::Not(one)) => self.implies(one),
            (Self::Not(one), Self::Claim { .. }) => other.is_within(one),
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

/// Of a list, one entry may pass one test and another the other.
fn has_one_value(claim: &str) -> bool {
    !matches!(claim_kind(claim), Some(ClaimKind::Identities | ClaimKind::Texts))
}
