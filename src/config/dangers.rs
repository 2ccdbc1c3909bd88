//! Rules that load would do harm: what a token's claims do not prove, in one sentence each, and what to write instead.

use crate::policy::{Condition, Rule, Test};

/// One danger: which claim, why, what instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Danger {
    pub(super) claim: &'static str,
    pub(super) why: &'static str,
    pub(super) instead: &'static str,
}

/// Claims that prove nothing wherever they are tested.
const NEVER: [Danger; 2] = [
    Danger {
        claim: "sub",
        why: "a Maintainer can reshape sub, even drop the ref from it",
        instead: "test project_path, ref and environment themselves",
    },
    Danger {
        claim: "deployment_tier",
        why: "the job's author chooses the tier",
        instead: "test environment together with environment_protected = true",
    },
];

/// Names that their owner may change, and so leave the reach of an `unless`, a `not` or a refusal.
const MUTABLE: [Danger; 2] = [
    Danger { claim: "user_login", why: "the user may change the login and so escape", instead: "test user_id" },
    Danger { claim: "user_email", why: "the user may change the address and so escape", instead: "test user_id" },
];

/// Claims that GitLab may leave out, and then a refusal does not match.
const WITHHELD: [Danger; 3] = [
    Danger {
        claim: "groups_direct",
        why: "GitLab leaves it out above 200 groups, and the refusal would not match",
        instead: "demand the group in the rules' when",
    },
    Danger {
        claim: "user_identities",
        why: "a user decides whether GitLab sends it, and the refusal would not match",
        instead: "demand the identity in the rules' when",
    },
    Danger {
        claim: "job_project_id",
        why: "GitLab before 18.4 leaves it out, and the refusal would not match",
        instead: "refuse by fork = true",
    },
];

const REF: Danger = Danger {
    claim: "ref",
    why: "whoever may push, also to a fork, can make a branch or tag of any name",
    instead: "add ref_protected = true to when itself, outside any, all and not",
};
const REF_TYPE: Danger = Danger {
    claim: "ref_type",
    why: "GitLab writes only \"branch\" and \"tag\" there, so the term would be false for ever",
    instead: "test merge_request = true for merge requests",
};
const PATH: Danger = Danger {
    claim: "project_path",
    why: "a path can be renamed away and taken by somebody else, and no pin protects this rule",
    instead: "add namespace_id or project_id, or path_only = \"the reason why that is fine here\"",
};
const NO_PROJECT: Danger = Danger {
    claim: "id",
    why: "an ID that names no project would be the same workload for every project that the rule lets in",
    instead: "put {project_path} or {project_id} into it, or add project_id to when",
};

/// What is dangerous in a rule that grants.
pub(super) fn of_rule(rule: &Rule) -> Vec<Danger> {
    let when: Vec<_> = rule.when.iter().flat_map(Condition::tests).collect();
    let unless: Vec<_> = rule.unless.iter().flat_map(Condition::tests).collect();
    let every = || when.iter().chain(&unless);
    let mut found: Vec<Danger> =
        NEVER.into_iter().filter(|danger| every().any(|(name, ..)| *name == danger.claim)).collect();
    let negative =
        when.iter().filter(|(.., positive)| !positive).chain(unless.iter().filter(|(.., positive)| *positive));
    let negative: Vec<&str> = negative.map(|(name, ..)| *name).collect();
    found.extend(MUTABLE.into_iter().filter(|danger| negative.contains(&danger.claim)));
    let by_ref = when.iter().any(|(name, _, positive)| *positive && matches!(*name, "ref" | "ref_path"));
    if by_ref && !rule.when.iter().any(demands_protection) {
        found.push(REF);
    }
    if every().any(|(name, test, _)| *name == "ref_type" && !can_be_ref_type(test)) {
        found.push(REF_TYPE);
    }
    found.extend(path_that_decides_alone(rule, &when).map(|claim| Danger { claim, ..PATH }));
    if !rule.pins("project_id") && !rule.svids.iter().all(|svid| svid.id.holes().any(is_project)) {
        found.push(NO_PROJECT);
    }
    found
}

fn is_project(hole: &str) -> bool {
    matches!(hole, "project_path" | "project_id")
}

/// What is dangerous in a refusal.
pub(super) fn of_refusal(when: &[Condition]) -> Vec<Danger> {
    let names: Vec<&str> = when.iter().flat_map(Condition::tests).map(|(name, ..)| name).collect();
    let all = NEVER.into_iter().chain(MUTABLE).chain(WITHHELD);
    all.filter(|danger| names.contains(&danger.claim)).collect()
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

/// Anything else, such as `ref_protected` beside another way in, leaves unprotected refs in.
fn demands_protection(term: &Condition) -> bool {
    matches!(term, Condition::Claim { name, test: Test::Bool(true), .. } if name == "ref_protected")
}

fn can_be_ref_type(wanted: &Test) -> bool {
    match wanted {
        Test::Text(text) => matches!(text.as_str(), "branch" | "tag"),
        Test::OneOf { tests, .. } => tests.iter().all(can_be_ref_type),
        Test::Bool(_) | Test::Glob(_) | Test::Id(_) | Test::Prefix(_) => true,
    }
}
