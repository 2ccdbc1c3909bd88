//! Policies that nearly load: one fault is planted into a good one.

use super::checker::Broken;
use super::model::{Policy, Rule, Table, Term, Wanted};

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plant {
    Contradiction,
    ManyProjectsByList,
    ManyProjectsByTwoLayouts,
    NoProject,
    OtherIssuer,
    PathNotEnded,
    Stricter,
}

impl Plant {
    pub(crate) const ALL: [Self; 7] = [
        Self::Contradiction,
        Self::ManyProjectsByList,
        Self::ManyProjectsByTwoLayouts,
        Self::NoProject,
        Self::OtherIssuer,
        Self::PathNotEnded,
        Self::Stricter,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Contradiction => "contradictions",
            Self::ManyProjectsByList => "lists of projects with one ID",
            Self::ManyProjectsByTwoLayouts => "layouts that read like each other",
            Self::NoProject => "IDs without a project",
            Self::OtherIssuer => "issuers with one ID",
            Self::PathNotEnded => "paths without an end",
            Self::Stricter => "stricter rules with one ID",
        }
    }

    /// Which law it breaks, and a piece of what the loader says.
    pub(crate) const fn breaks(self) -> (Broken, &'static str) {
        match self {
            Self::Contradiction => (Broken::Contradiction, "contradicts"),
            Self::ManyProjectsByList | Self::NoProject => (Broken::ManyProjects, "same workload for every project"),
            Self::ManyProjectsByTwoLayouts => (Broken::ManyProjects, "id_shared_by_projects"),
            Self::OtherIssuer => (Broken::Issuers, "id_shared_by_issuers"),
            Self::Stricter => (Broken::UnequalDemands, "id_shared_by_unequal_rules"),
            Self::PathNotEnded => (Broken::IllegalTemplate, "is followed by"),
        }
    }

    /// The policy with the fault; none where it has no place for it.
    pub(crate) fn into(self, policy: &Policy) -> Option<Policy> {
        let mut policy = policy.clone();
        let place = policy.rules.iter().position(|rule| !rule.observe && self.has_place_in(rule))?;
        let rule = policy.rules.get_mut(place)?;
        let copy = Rule { name: "planted".to_owned(), ..rule.clone() };
        match self {
            Self::Contradiction => {
                rule.when.push(text("sha", &["c0ffee"]));
                rule.unless.push(text("sha", &["decade", "c0f*"]));
            }
            Self::ManyProjectsByList => {
                rule.ids = vec!["/planted/{pipeline_id}".to_owned()];
                rule.when = of_projects(&rule.when, Some(vec![7, 11]));
            }
            Self::ManyProjectsByTwoLayouts => {
                rule.ids.push(rule.ids.first()?.replace("{project_path}", "projects/{project_id}"));
            }
            Self::NoProject => {
                rule.ids = vec!["/planted/{pipeline_id}".to_owned()];
                rule.when = of_projects(&rule.when, None);
            }
            Self::OtherIssuer => policy.rules.push(Rule { issuer: "third", ..copy }),
            Self::PathNotEnded => rule.ids.push("/{project_path}/planted".to_owned()),
            Self::Stricter => {
                policy.rules.push(copy);
                policy.rules.last_mut()?.when.push(text("job_source", &["push"]));
            }
        }
        Some(policy)
    }

    fn has_place_in(self, rule: &Rule) -> bool {
        match self {
            Self::ManyProjectsByTwoLayouts => {
                let for_many = rule.fixed("project_id").is_none_or(|ids| ids.len() > 1);
                for_many && rule.ids.iter().all(|id| id.contains("/{project_path}/") && !id.contains("x/"))
            }
            Self::Contradiction
            | Self::ManyProjectsByList
            | Self::NoProject
            | Self::OtherIssuer
            | Self::PathNotEnded
            | Self::Stricter => true,
        }
    }
}

/// A policy with a rule more that can never be reached, behind one that takes all that it is for.
pub(crate) fn with_a_shadowed_rule(policy: &Policy) -> Option<Policy> {
    let mut policy = policy.clone();
    let first = policy.rules.iter().find(|rule| !rule.observe)?;
    let mut shadowed = Rule { name: "planted".to_owned(), ..first.clone() };
    shadowed.ids = vec!["/planted/{project_path}".to_owned()];
    shadowed.when.push(text("job_source", &["push"]));
    policy.rules.push(shadowed);
    Some(policy)
}

fn text(claim: &'static str, values: &[&'static str]) -> Term {
    Term::Is(claim, Wanted::Texts(values.to_vec()))
}

/// The same terms, for these projects or for any.
fn of_projects(when: &Table, ids: Option<Vec<u64>>) -> Table {
    let others = when.iter().filter(|term| !matches!(term, Term::Is("project_id", _))).cloned();
    others.chain(ids.map(|ids| Term::Is("project_id", Wanted::Ids(ids)))).collect()
}
