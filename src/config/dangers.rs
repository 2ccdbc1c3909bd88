//! Rules that load would do harm: what a token's claims do not prove, in one sentence each, and what to write instead.

use super::accept::Warning;
use crate::policy::{Condition, Rule, Test};

/// One danger: which claim, why, what instead; as a warning, it may be accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Danger {
    pub(super) claim: &'static str,
    pub(super) why: &'static str,
    pub(super) instead: &'static str,
    pub(super) warning: Option<Warning>,
}

const fn error(claim: &'static str, why: &'static str, instead: &'static str) -> Danger {
    Danger { claim, why, instead, warning: None }
}

const fn warning(warning: Warning, claim: &'static str, why: &'static str, instead: &'static str) -> Danger {
    Danger { claim, why, instead, warning: Some(warning) }
}

const SUB: Danger = error(
    "sub",
    "a Maintainer can reshape sub, even drop the ref from it",
    "test project_path, ref and environment themselves",
);
const TIER: Danger = error(
    "deployment_tier",
    "the job's author chooses the tier",
    "test environment together with environment_protected = true",
);
/// Beside a protected environment the tier lets nobody in; it only may keep the right job out.
const TIER_BESIDE_PROTECTION: Danger = warning(
    Warning::DeploymentTier,
    "deployment_tier",
    "the job's author chooses the tier, so it demands nothing that environment_protected does not",
    "test environment alone",
);

/// Names that their owner may change, and so leave the reach of an `unless`, a `not` or a refusal.
const ESCAPED: [Danger; 2] = [
    error("user_login", "the user may change the login and so escape", "test user_id"),
    error("user_email", "the user may change the address and so escape", "test user_id"),
];
/// The same names where they let in.
const TAKEN_OVER: [Danger; 2] = [
    warning(
        Warning::MutableName,
        "user_login",
        "a login that its user gave up can be taken by somebody else, who then passes",
        "test user_id",
    ),
    warning(
        Warning::MutableName,
        "user_email",
        "the user may change the address, and where GitLab does not confirm addresses to any at all",
        "test user_id",
    ),
];

/// Claims that GitLab may leave out, and then a refusal does not match.
const WITHHELD: [Danger; 3] = [
    error(
        "groups_direct",
        "GitLab leaves it out above 200 groups, and the refusal would not match",
        "demand the group in the rules' when",
    ),
    error(
        "user_identities",
        "a user decides whether GitLab sends it, and the refusal would not match",
        "demand the identity in the rules' when",
    ),
    error(
        "job_project_id",
        "GitLab before 18.4 leaves it out, and the refusal would not match",
        "refuse by fork = true",
    ),
];

const REF: Danger = error(
    "ref",
    "whoever may push, also to a fork, can make a branch or tag of any name",
    "add ref_protected = true to when itself, outside any, all and not",
);
const FORKS: Danger = warning(
    Warning::ForksLetIn,
    "fork",
    "the rule speaks of forks and lets them in, and anybody who may fork writes the code that such a job runs",
    "add fork = false to when itself",
);
/// What a rule speaks of forks by.
const WHOSE: [&str; 3] = ["fork", "job_project_id", "job_project_path"];
const SOURCE: Danger = warning(
    Warning::UnknownSource,
    "pipeline_source",
    "this is no source that we know of GitLab, so the term would be false for ever",
    "write a source such as \"push\", \"schedule\" or \"merge_request_event\"",
);
const PATH: Danger = error(
    "project_path",
    "a path can be renamed away and taken by somebody else, and no pin protects this rule",
    "add namespace_id or project_id, or path_only = \"the reason why that is fine here\"",
);
const NO_PROJECT: Danger = error(
    "id",
    "an ID that names no project would be the same workload for every project that the rule lets in",
    "put {project_path} or {project_id} into it, or let when demand one project_id",
);

/// Claims of few values: one that is none of these cannot exist, and a typing error in `unless` would let in.
const VALUES: [(Danger, &[&str]); 5] = [
    (
        error(
            "ref_type",
            "GitLab writes only \"branch\" and \"tag\" there, so the term would be false for ever",
            "test merge_request = true for merge requests",
        ),
        &["branch", "tag"],
    ),
    (
        error(
            "environment_action",
            "no job has this action, so the term would be false for ever",
            "write \"start\", \"prepare\", \"stop\", \"verify\" or \"access\"",
        ),
        &["start", "prepare", "stop", "verify", "access"],
    ),
    (
        error(
            "project_visibility",
            "no project has this visibility, so the term would be false for ever",
            "write \"public\", \"internal\" or \"private\"",
        ),
        &["public", "internal", "private"],
    ),
    (
        error(
            "runner_environment",
            "GitLab writes no such value there, so the term would be false for ever",
            "write \"gitlab-hosted\" or \"self-hosted\"",
        ),
        &["gitlab-hosted", "self-hosted"],
    ),
    (SOURCE, &SOURCES),
];

/// GitLab's, which adds to them now and then.
const SOURCES: [&str; 16] = [
    "api",
    "chat",
    "container_registry_push",
    "external",
    "external_pull_request_event",
    "merge_request_event",
    "ondemand_dast_scan",
    "ondemand_dast_validation",
    "parent_pipeline",
    "pipeline",
    "push",
    "schedule",
    "security_orchestration_policy",
    "trigger",
    "web",
    "webide",
];

/// What is dangerous in a rule that grants.
pub(super) fn of_rule(rule: &Rule) -> Vec<Danger> {
    let when: Vec<_> = rule.when.iter().flat_map(Condition::tests).collect();
    let unless = rule.unless.iter().flat_map(Condition::tests).map(|(name, test, positive)| (name, test, !positive));
    let every: Vec<_> = when.iter().copied().chain(unless).collect();
    let tests = |claim: &str| every.iter().any(|(name, ..)| *name == claim);
    let mut found: Vec<Danger> = tests("sub").then_some(SUB).into_iter().collect();
    if tests("deployment_tier") {
        let protected = rule.when.iter().any(|term| demands(term, "environment_protected"));
        found.push(if protected { TIER_BESIDE_PROTECTION } else { TIER });
    }
    let named = |danger: &Danger, lets_in| every.iter().any(|(name, _, is)| *name == danger.claim && *is == lets_in);
    found.extend(ESCAPED.into_iter().filter(|danger| named(danger, false)));
    found.extend(TAKEN_OVER.into_iter().filter(|danger| named(danger, true)));
    let by_ref = when.iter().any(|(name, _, positive)| *positive && matches!(*name, "ref" | "ref_path"));
    if by_ref && !rule.when.iter().any(|term| demands(term, "ref_protected")) {
        found.push(REF);
    }
    found.extend(cannot_exist(&every));
    found.extend(lets_forks_in(rule));
    found.extend(path_that_decides_alone(rule, &when).map(|claim| Danger { claim, ..PATH }));
    if rule.only_project().is_none() && !rule.svids.iter().all(|svid| svid.id.holes().any(is_project)) {
        found.push(NO_PROJECT);
    }
    found
}

fn cannot_exist(tests: &[(&str, &Test, bool)]) -> Vec<Danger> {
    let wrong = |danger: &Danger, values: &[&str]| {
        tests.iter().any(|(name, test, _)| *name == danger.claim && !can_be(test, values))
    };
    VALUES.iter().filter(|(danger, values)| wrong(danger, values)).map(|(danger, _)| *danger).collect()
}

/// A rule that does not speak of forks has `fork = false` of itself.
fn lets_forks_in(rule: &Rule) -> Option<Danger> {
    let keeps_out = |term: &Condition| match term {
        Condition::Claim { name, test: Test::Bool(false), .. } => name == "fork",
        Condition::All(_) | Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => false,
    };
    let kept = rule.when.iter().any(keeps_out) || rule.unless.iter().any(|term| demands(term, "fork"));
    let tests = rule.when.iter().chain(&rule.unless).flat_map(Condition::tests);
    let spoken = tests.map(|(name, ..)| name).find_map(|name| WHOSE.into_iter().find(|claim| *claim == name));
    spoken.filter(|_| !kept).map(|claim| Danger { claim, ..FORKS })
}

fn is_project(hole: &str) -> bool {
    matches!(hole, "project_path" | "project_id")
}

/// What is dangerous in a refusal.
pub(super) fn of_refusal(when: &[Condition]) -> Vec<Danger> {
    let tests: Vec<_> = when.iter().flat_map(Condition::tests).collect();
    let all = [SUB, TIER].into_iter().chain(ESCAPED).chain(WITHHELD);
    let named = all.filter(|danger| tests.iter().any(|(name, ..)| *name == danger.claim));
    named.chain(cannot_exist(&tests)).collect()
}

/// Path pins protect an exact project path that the ID shows. A glob takes whatever comes under it, and so does a
/// namespace, whose new owner makes projects that no pin knows; an ID without the path pins nothing.
fn path_that_decides_alone(rule: &Rule, when: &[(&str, &Test, bool)]) -> Option<&'static str> {
    if rule.pins("project_id") || rule.pins("namespace_id") || rule.path_only.is_some() {
        return None;
    }
    let shows = |hole: &str| matches!(hole, "project_path" | "namespace_path");
    let pinned = rule.svids.iter().all(|svid| svid.id.holes().any(shows));
    when.iter().find_map(|(name, test, _)| match *name {
        "namespace_path" => Some("namespace_path"),
        "project_path" if test.is_open() || !pinned => Some("project_path"),
        _ => None,
    })
}

/// Whether it demands that a claim be true. Anything else, such as `ref_protected` beside another way in, does not.
fn demands(term: &Condition, claim: &str) -> bool {
    matches!(term, Condition::Claim { name, test: Test::Bool(true), .. } if name == claim)
}

fn can_be(wanted: &Test, values: &[&str]) -> bool {
    match wanted {
        Test::Text(text) => values.contains(&text.as_str()),
        Test::OneOf { tests, .. } => tests.iter().all(|test| can_be(test, values)),
        Test::Glob(glob) => values.iter().any(|value| glob.matches(value)),
        Test::Prefix(prefix) => values.iter().any(|value| value.starts_with(prefix)),
        Test::Bool(_) | Test::Id(_) => true,
    }
}
