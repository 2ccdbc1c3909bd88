//! Warnings about a rule, and `accept = { … }`, by which its author answers them with a reason. Errors have no answer.

use super::section::Section;
use super::words::an;

/// What can be warned of, by the name that `accept` takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Warning {
    DeploymentTier,
    ForksLetIn,
    MutableName,
    UnknownSource,
    Unreachable,
}

impl Warning {
    const ALL: [Self; 5] =
        [Self::DeploymentTier, Self::ForksLetIn, Self::MutableName, Self::UnknownSource, Self::Unreachable];

    const fn name(self) -> &'static str {
        match self {
            Self::DeploymentTier => "deployment_tier",
            Self::ForksLetIn => "forks_let_in",
            Self::MutableName => "mutable_name",
            Self::UnknownSource => "unknown_source",
            Self::Unreachable => "unreachable",
        }
    }

    /// A remedy, and the way out for who knows better.
    pub(super) fn or_accept(self, remedy: &str) -> String {
        format!("{remedy}, or write accept = {{ {} = \"why that is fine here\" }}", self.name())
    }
}

/// The warnings that a rule accepts.
#[derive(Clone, Debug, Default)]
pub(super) struct Accepted(Vec<Warning>);

impl Accepted {
    pub(super) fn holds(&self, warning: Warning) -> bool {
        self.0.contains(&warning)
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
            Some(warning) => accepted.push(warning),
        }
    }
    Accepted(accepted)
}
