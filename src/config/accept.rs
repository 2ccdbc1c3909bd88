//! Warnings about a rule, and `accept = { … }`, by which its author answers them with a reason. Errors have no answer.

use super::section::Section;
use super::words::an;
use std::cell::Cell;

/// What can be warned of, by the name that `accept` takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Warning {
    ActorKind,
    DeploymentTier,
    EnvironmentUnprotected,
    ForksLetIn,
    LongId,
    MayBeAbsent,
    MutableName,
    UnknownValue,
    Unreachable,
}

impl Warning {
    const ALL: [Self; 9] = [
        Self::ActorKind,
        Self::DeploymentTier,
        Self::EnvironmentUnprotected,
        Self::ForksLetIn,
        Self::LongId,
        Self::MayBeAbsent,
        Self::MutableName,
        Self::UnknownValue,
        Self::Unreachable,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::ActorKind => "actor_kind",
            Self::DeploymentTier => "deployment_tier",
            Self::EnvironmentUnprotected => "environment_unprotected",
            Self::ForksLetIn => "forks_let_in",
            Self::LongId => "long_id",
            Self::MayBeAbsent => "may_be_absent",
            Self::MutableName => "mutable_name",
            Self::UnknownValue => "unknown_value",
            Self::Unreachable => "unreachable",
        }
    }

    /// A remedy, and the way out for who knows better.
    pub(super) fn or_accept(self, remedy: &str) -> String {
        format!("{remedy}, or write accept = {{ {} = \"why that is fine here\" }}", self.name())
    }
}

/// The warnings that a rule accepts.
#[derive(Debug, Default)]
pub(super) struct Accepted(Vec<Answer>);

#[derive(Debug)]
struct Answer {
    warning: Warning,
    line: usize,
    used: Cell<bool>,
}

impl Accepted {
    /// Whether a warning that was found is answered; then the answer is of use.
    pub(super) fn answers(&self, warning: Warning) -> bool {
        let answer = self.0.iter().find(|answer| answer.warning == warning);
        answer.is_some_and(|answer| {
            answer.used.set(true);
            true
        })
    }

    /// The answers to warnings that were not found, by line and name.
    pub(super) fn stale(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.0.iter().filter(|answer| !answer.used.get()).map(|answer| (answer.line, answer.warning.name()))
    }
}

/// Reads `accept`.
pub(super) fn read_accepted(section: &mut Section<'_, '_>) -> Accepted {
    let mut table = section.section("accept");
    let mut accepted = Vec::new();
    for (line, name, value) in table.entries() {
        let reason = value.get_ref().as_str();
        match Warning::ALL.into_iter().find(|warning| warning.name() == name) {
            None => {
                let names = Warning::ALL.map(Warning::name).join(", ");
                let remedy = format!("warnings are {names}; what stops a load cannot be accepted, only mended");
                table.problem(&name, Some(line), "no warning of that name", remedy);
            }
            Some(_) if reason.is_none_or(|reason| reason.trim().is_empty()) => {
                let found = reason.map_or_else(|| an(value.get_ref()), |_| "no reason".to_owned());
                table.problem(&name, Some(line), found, "write in quotes why that is fine here, for who reads it next");
            }
            Some(warning) => accepted.push(Answer { warning, line, used: Cell::new(false) }),
        }
    }
    Accepted(accepted)
}
