//! Rules that load would do harm: which of their terms lean on what a token's claims do not prove.

use super::claim_model::{
    Danger, ENVIRONMENT, ESCAPED, FORKS, JOB_PATH, LEFT_OUT, LOGIN_CHOSEN, MADE_UP, NO_PROJECT, NO_SUCH_VALUE, PATH,
    REF, RENAMED, SERVICE_ACCOUNT_RENAMED, SUB, TAKEN_OVER, TIER, TIER_BESIDE_PROTECTION, VALUES, WITHHELD, values_of,
};
use crate::policy::{Condition, Rule, Test};
use crate::token::{ACTOR_KINDS, ClaimView, IssuerKind, KNOWN_CLAIMS, PERSON, SERVICE_ACCOUNT};

/// A test of a claim, and whether passing it lets a job in or keeps it out.
type Use<'a> = (&'a str, &'a Test, bool);

/// What is dangerous in a rule that grants, to bearers of an issuer of this kind.
pub(super) fn of_rule(rule: &Rule, kind: IssuerKind) -> Vec<Danger> {
    let when: Vec<Use<'_>> = rule.when.iter().flat_map(Condition::tests).collect();
    let every: Vec<Use<'_>> = when.iter().copied().chain(kept_out(&rule.unless)).collect();
    let demands = |claim: &str| rule.when.iter().any(|term| demands_that(term, claim, true));
    let mut found = of_names(&every, demands("ref_protected"));
    if every.iter().any(|(name, ..)| *name == "deployment_tier") {
        found.push(if demands("environment_protected") { TIER_BESIDE_PROTECTION } else { TIER });
    }
    let wants = |claim: &str| when.iter().any(|(name, _, positive)| *positive && *name == claim);
    let unprotected = ["ref", "ref_path"].into_iter().filter(|claim| wants(claim) && !demands("ref_protected"));
    found.extend(unprotected.map(|claim| Danger { claim, ..REF }));
    let of_protection =
        |term: &Condition| [true, false].iter().any(|is| demands_that(term, "environment_protected", *is));
    if wants("environment") && !rule.when.iter().any(of_protection) {
        found.push(ENVIRONMENT);
    }
    if !rule.pins("user_id") {
        found.extend(kind_of_actor(&every));
    }
    found.extend(cannot_exist(&every, &[kind]));
    found.extend(lets_forks_in(rule));
    found.extend(path_that_decides_alone(rule).filter(|_| rule.path_only.is_none()));
    if rule.only_project().is_none() && !rule.gives.svids.iter().all(|svid| svid.id.holes().any(is_project)) {
        found.push(NO_PROJECT);
    }
    found.into_iter().map(|danger| mendable(danger, kind)).collect()
}

/// With a remedy that this kind's tokens have.
fn mendable(danger: Danger, kind: IssuerKind) -> Danger {
    let tells = |claim: &str| kind.claim_kind(claim).is_some();
    if danger == ENVIRONMENT && !tells("environment_protected") {
        let instead = "add ref_path and ref_protected = true, and let the environment take no other ref";
        return Danger { instead, ..danger };
    }
    if danger.why == PATH.why && !tells("project_id") {
        return Danger { instead: "write whole paths, or path_only = \"the reason why that is fine here\"", ..danger };
    }
    danger
}

/// What is dangerous in a refusal for bearers of issuers of these kinds; of GitLab's, where none is known.
pub(super) fn of_refusal(when: &[Condition], kinds: &[IssuerKind]) -> Vec<Danger> {
    let every: Vec<Use<'_>> = kept_out(when).collect();
    let is_used = |danger: &Danger| every.iter().any(|(name, ..)| *name == danger.claim);
    let withheld = WITHHELD.into_iter().filter(|_| kinds.is_empty() || kinds.contains(&IssuerKind::GitLab));
    let mut silent: Vec<Danger> = withheld.filter(is_used).collect();
    let left_out = KNOWN_CLAIMS.iter().filter(|claim| kinds.iter().any(|kind| kind.may_leave_out(claim)));
    let left_out: Vec<_> = left_out.map(|claim| Danger { claim, ..LEFT_OUT }).filter(is_used).collect();
    silent.extend(
        left_out
            .into_iter()
            .filter(|danger| !silent.iter().any(|other| other.claim == danger.claim))
            .collect::<Vec<_>>(),
    );
    let speaks = |danger: &Danger| !silent.iter().any(|other| other.claim == danger.claim);
    let mut found: Vec<Danger> = of_names(&every, false).into_iter().filter(speaks).collect();
    found.splice(0..0, [TIER].into_iter().filter(is_used).chain(silent));
    found.extend(kind_of_actor(&every));
    found.extend(cannot_exist(&every, kinds));
    found
}

/// The tests of terms by which a job is turned away.
fn kept_out<'t>(terms: impl IntoIterator<Item = &'t Condition>) -> impl Iterator<Item = Use<'t>> {
    terms.into_iter().flat_map(Condition::tests).map(|(name, test, positive)| (name, test, !positive))
}

/// Names that somebody can change, give up or make up.
fn of_names(every: &[Use<'_>], ref_is_protected: bool) -> Vec<Danger> {
    let used = |danger: &Danger, counts: fn(&Test, bool) -> bool| {
        every.iter().any(|(name, test, lets_in)| *name == danger.claim && counts(test, *lets_in))
    };
    let mut found: Vec<Danger> = [SUB].into_iter().filter(|danger| used(danger, |_, _| true)).collect();
    found.extend(ESCAPED.into_iter().filter(|danger| used(danger, |_, lets_in| !lets_in)));
    found.extend(RENAMED.into_iter().filter(|danger| used(danger, |test, lets_in| !lets_in && !test.is_open())));
    let made_up = |danger: &Danger| !ref_is_protected && used(danger, |_, lets_in| !lets_in);
    found.extend(MADE_UP.into_iter().filter(made_up));
    found.extend(TAKEN_OVER.into_iter().filter(|danger| used(danger, |_, lets_in| lets_in)));
    found
}

/// A login tells bots from people only as long as nobody chose it to.
fn kind_of_actor(every: &[Use<'_>]) -> Option<Danger> {
    every.iter().filter(|(name, ..)| *name == "actor.kind").find_map(|(_, test, lets_in)| {
        let passes = |kind: &str| test.holds(ClaimView::Text(kind)) == *lets_in;
        let programs = ACTOR_KINDS.into_iter().filter(|kind| !matches!(*kind, PERSON | "none"));
        match (passes(PERSON), passes(SERVICE_ACCOUNT)) {
            (true, false) => Some(SERVICE_ACCOUNT_RENAMED),
            (false, _) if programs.into_iter().any(passes) => Some(LOGIN_CHOSEN),
            _ => None,
        }
    })
}

/// Values that no token of these kinds has; of GitLab's, where none is known.
fn cannot_exist(tests: &[Use<'_>], kinds: &[IssuerKind]) -> Vec<Danger> {
    let kinds = if kinds.is_empty() { &[IssuerKind::GitLab] } else { kinds };
    let wrong = |(danger, of_gitlab): &(Danger, &'static [&'static str])| {
        let mut values = Vec::new();
        for kind in kinds.iter().filter(|kind| kind.claim_kind(danger.claim).is_some()) {
            values.extend_from_slice(if *kind == IssuerKind::GitLab {
                of_gitlab
            } else {
                values_of(*kind, danger.claim)?
            });
        }
        let is_odd = |test: &Test| !values.is_empty() && !odd_ones(test, &values).is_empty();
        let found = tests.iter().any(|(name, test, _)| *name == danger.claim && is_odd(test));
        found.then(|| if kinds == [IssuerKind::GitLab] { *danger } else { Danger { why: NO_SUCH_VALUE, ..*danger } })
    };
    VALUES.iter().filter_map(wrong).collect()
}

/// A rule that does not speak of forks has `fork = false` of itself.
fn lets_forks_in(rule: &Rule) -> Option<Danger> {
    const WHOSE: [&str; 3] = ["fork", "job_project_id", "job_project_path"];
    let kept = rule.when.iter().any(|term| demands_that(term, "fork", false))
        || rule.unless.iter().any(|term| demands_that(term, "fork", true));
    let tests = rule.when.iter().chain(&rule.unless).flat_map(Condition::tests);
    let spoken = tests.map(|(name, ..)| name).find_map(|name| WHOSE.into_iter().find(|claim| *claim == name));
    spoken.filter(|_| !kept).map(|claim| Danger { claim, ..FORKS })
}

fn is_project(hole: &str) -> bool {
    matches!(hole, "project_path" | "project_id")
}

/// Path pins protect an exact project path that the ID shows. A glob takes whatever comes under it, and so does a
/// namespace, whose new owner makes projects that no pin knows; an ID without the path pins nothing.
pub(super) fn path_that_decides_alone(rule: &Rule) -> Option<Danger> {
    let pins = |claims: [&str; 2]| claims.into_iter().any(|claim| rule.pins(claim));
    if pins(["project_id", "namespace_id"]) {
        return None;
    }
    let shows = |hole: &str| matches!(hole, "project_path" | "namespace_path");
    let pinned = rule.gives.svids.iter().all(|svid| svid.id.holes().any(shows));
    let job_pinned = pins(["job_project_id", "job_namespace_id"]);
    rule.when.iter().flat_map(Condition::tests).find_map(|(name, test, _)| match name {
        "namespace_path" => Some(Danger { claim: "namespace_path", ..PATH }),
        "project_path" if test.is_open() || !pinned => Some(PATH),
        "job_namespace_path" if !job_pinned => Some(Danger { claim: "job_namespace_path", ..JOB_PATH }),
        "job_project_path" if !job_pinned => Some(JOB_PATH),
        _ => None,
    })
}

/// Whether it demands that a claim be true or false. Anything else, such as `ref_protected` beside another way in, does
/// not.
fn demands_that(term: &Condition, claim: &str, wanted: bool) -> bool {
    matches!(term, Condition::Claim { name, test: Test::Bool(is), .. } if name == claim && *is == wanted)
}

/// The alternatives of a test that can be none of these.
pub(super) fn odd_ones<'t>(wanted: &'t Test, values: &[&str]) -> Vec<&'t Test> {
    match wanted {
        Test::OneOf { tests, .. } => tests.iter().flat_map(|test| odd_ones(test, values)).collect(),
        Test::Glob(_) | Test::Prefix(_) | Test::Text(_) => {
            let can_be = values.iter().any(|value| wanted.holds(ClaimView::Text(value)));
            if can_be { Vec::new() } else { vec![wanted] }
        }
        Test::Bool(_) | Test::Id(_) => Vec::new(),
    }
}
