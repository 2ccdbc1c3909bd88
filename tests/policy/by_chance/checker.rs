//! Which policies may not load: the laws of an identity, each by its own words.

use super::globs::fits;
use super::model::{Policy, Rule, Term, Wanted};
use super::templates::{begin_alike, can_meet, holes, is_legal, name_the_project_alike};
use std::collections::BTreeSet;

/// A law that a policy breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// A rule rules out all that it demands.
    Contradiction,
    /// A template is none.
    IllegalTemplate,
    /// What names bearers of one issuer could begin an ID of another's.
    Issuers,
    /// An ID could be that of two projects.
    ManyProjects,
    /// An ID says less than one of the rules that give it demands.
    UnequalDemands,
}

/// The first law that is broken, if one is.
pub(crate) fn broken_law(policy: &Policy) -> Option<Broken> {
    let rules: Vec<&Rule> = policy.rules.iter().collect();
    if rules.iter().any(|rule| !rule.ids.iter().all(|id| is_legal(id))) {
        return Some(Broken::IllegalTemplate);
    }
    if rules.iter().any(|rule| rules_itself_out(rule)) {
        return Some(Broken::Contradiction);
    }
    let of_many = |rule: &&Rule| only_project(rule).is_none() && !rule.ids.iter().all(|id| names_a_project(id));
    if rules.iter().any(of_many) {
        return Some(Broken::ManyProjects);
    }
    let granting: Vec<&Rule> = rules.into_iter().filter(|rule| !rule.observe).collect();
    let pairs = granting
        .iter()
        .enumerate()
        .flat_map(|(at, second)| granting.iter().take(at + 1).map(move |first| (*first, *second)));
    pairs.into_iter().find_map(|(first, second)| broken_by_two(first, second))
}

/// Whether some claim may only be what `unless` excludes.
fn rules_itself_out(rule: &Rule) -> bool {
    rule.unless.iter().any(|term| match term {
        Term::Is(claim, Wanted::Texts(excluded)) => rule
            .fixed(claim)
            .is_some_and(|values| values.iter().all(|value| excluded.iter().any(|pattern| fits(pattern, value)))),
        Term::All(_) | Term::Any(_) | Term::Is(..) | Term::Not(_) => false,
    })
}

fn broken_by_two(first: &Rule, second: &Rule) -> Option<Broken> {
    let itself = std::ptr::eq(first, second);
    let mut ids = first.ids.iter().flat_map(|a| second.ids.iter().map(move |b| (a, b)));
    if first.issuer != second.issuer {
        return ids.any(|(a, b)| begin_alike(a, b)).then_some(Broken::Issuers);
    }
    ids.filter(|(a, b)| if a == b { !told_apart(first, second, a) } else { can_meet(a, b) }).find_map(|(a, b)| {
        if !itself && demands(first, a) != demands(second, b) {
            return Some(Broken::UnequalDemands);
        }
        let one_project = only_project(first).is_some() && only_project(first) == only_project(second);
        (a != b && !one_project && !name_the_project_alike(a, b)).then_some(Broken::ManyProjects)
    })
}

/// The project that a rule is for, where it is one.
fn only_project(rule: &Rule) -> Option<u64> {
    rule.when.iter().find_map(|term| match term {
        Term::Is("project_id", Wanted::Ids(ids)) => ids.first().copied().filter(|_| ids.len() == 1),
        Term::All(_) | Term::Any(_) | Term::Is(..) | Term::Not(_) => None,
    })
}

fn names_a_project(id: &str) -> bool {
    holes(id).iter().any(|hole| matches!(*hole, "project_id" | "project_path"))
}

/// Whether two rules of one template fix something that it shows to different values.
fn told_apart(first: &Rule, second: &Rule, id: &str) -> bool {
    holes(id).into_iter().any(|hole| match (first.fixed(hole), second.fixed(hole)) {
        (Some(mine), Some(theirs)) => !mine.iter().any(|value| theirs.contains(value)),
        _ => false,
    })
}

/// What a rule demands that an ID of this template does not say by itself.
fn demands(rule: &Rule, id: &str) -> BTreeSet<(bool, Term)> {
    let shown: BTreeSet<&str> = holes(id).into_iter().flat_map(said_by).copied().collect();
    let counts = |term: &Term| !term.claims().iter().all(|claim| shown.contains(claim));
    let when = rule.when.iter().cloned().chain(rule.unsaid()).map(|term| (true, term));
    let all = when.chain(rule.unless.iter().cloned().map(|term| (false, term)));
    let issuer = (true, Term::Is("issuer", Wanted::Texts(vec![rule.issuer])));
    all.filter(|(_, term)| counts(term)).chain([issuer]).collect()
}

/// A project is in one namespace, a job in one pipeline.
fn said_by(hole: &str) -> &'static [&'static str] {
    match hole {
        "project_id" | "project_path" => &["project_id", "project_path", "namespace_id", "namespace_path"],
        "namespace_id" | "namespace_path" => &["namespace_id", "namespace_path"],
        "job_id" | "pipeline_id" => &["pipeline_id"],
        _ => &[],
    }
}
