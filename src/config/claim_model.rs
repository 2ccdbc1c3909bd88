//! What GitLab's claims do not prove: in one sentence each, with what to write instead.

use super::accept::Warning;
use crate::token::IssuerKind;

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

pub(super) const SUB: Danger = error(
    "sub",
    "a Maintainer can reshape sub, even drop the ref from it",
    "test project_path, ref and environment themselves",
);
pub(super) const TIER: Danger = error(
    "deployment_tier",
    "the job's author chooses the tier",
    "test environment together with environment_protected = true",
);
/// Beside a protected environment the tier lets nobody in; it only may keep the right job out.
pub(super) const TIER_BESIDE_PROTECTION: Danger = warning(
    Warning::DeploymentTier,
    "deployment_tier",
    "the job's author chooses the tier, so it demands nothing that environment_protected does not",
    "test environment alone",
);
pub(super) const ENVIRONMENT: Danger = warning(
    Warning::EnvironmentUnprotected,
    "environment",
    "whoever may push can write any environment's name into a job, so the name alone proves nothing",
    "add environment_protected = true to when itself",
);

/// What whoever it names can get rid of, and so leave the reach of an `unless`, a `not` or a refusal.
pub(super) const ESCAPED: [Danger; 3] = [
    error("user_login", "the user may change the login and so escape", "test user_id"),
    error("user_email", "the user may change the address and so escape", "test user_id"),
    warning(
        Warning::MutableName,
        "groups_direct",
        "a member can leave the group and so escape",
        "test user_id, or demand in when a group that the others are in",
    ),
];
/// The same for paths written out in full: a rename inside a pattern's reach does not leave it.
pub(super) const RENAMED: [Danger; 4] = [
    renamed("job_namespace_path", "test job_namespace_id"),
    renamed("job_project_path", "test job_project_id"),
    renamed("namespace_path", "test namespace_id"),
    renamed("project_path", "test project_id"),
];
/// The same for names that whoever pushes makes up.
pub(super) const MADE_UP: [Danger; 2] = [made_up("ref"), made_up("ref_path")];
/// What lets somebody else in, once whoever it named has got rid of it.
pub(super) const TAKEN_OVER: [Danger; 3] = [
    warning(
        Warning::MutableName,
        "user_login",
        "a login that its user gave up can be taken by somebody else, who then passes",
        "test user_id",
    ),
    warning(
        Warning::MutableName,
        "user_email",
        "the user may change the address, to any at all where GitLab does not confirm addresses",
        "test user_id",
    ),
    warning(
        Warning::MutableName,
        "groups_direct",
        "a path that its group gave up can be taken by somebody else's group, whose members then pass",
        "test user_id",
    ),
];

const fn renamed(claim: &'static str, instead: &'static str) -> Danger {
    warning(Warning::MutableName, claim, "whoever owns the project or group may rename it and so escape", instead)
}

const fn made_up(claim: &'static str) -> Danger {
    let why = "whoever may push chooses the name and so escapes";
    warning(Warning::MutableName, claim, why, "demand in when the refs that may pass, with ref_protected = true")
}

pub(super) const SERVICE_ACCOUNT_RENAMED: Danger = warning(
    Warning::ActorKind,
    "actor.kind",
    "a service account may be renamed to look like a person's, and then passes for a person",
    "test user_id, or demand an identity that only people have, such as user_identities = \"ldapmain:*\"",
);
pub(super) const LOGIN_CHOSEN: Danger = warning(
    Warning::ActorKind,
    "actor.kind",
    "a user may choose a login that looks like such an account's, and then passes for one",
    "add the accounts' user_id to when itself",
);

/// Claims that GitLab may leave out, and then a refusal does not match.
pub(super) const WITHHELD: [Danger; 14] = [
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
        "user_access_level",
        "GitLab leaves it out for a user without a role, and the refusal would not match",
        "demand the levels that may pass in the rules' when",
    ),
    before_18_4("job_project_id"),
    before_18_4("job_project_path"),
    before_18_4("job_namespace_id"),
    before_18_4("job_namespace_path"),
    absent(
        "runner_environment",
        "some versions of GitLab leave it empty, and the refusal would not match",
        "demand the runners that may pass in the rules' when",
    ),
    absent(
        "runner_id",
        "some versions of GitLab leave it empty, and the refusal would not match",
        "demand the runners that may pass in the rules' when",
    ),
    absent(
        "ci_config_ref_uri",
        "GitLab may leave it empty for a configuration from elsewhere, and the refusal would not match",
        "demand the configurations that may pass in the rules' when",
    ),
    absent(
        "ci_config_sha",
        "GitLab may leave it empty for a configuration from elsewhere, and the refusal would not match",
        "demand the configurations that may pass in the rules' when",
    ),
    absent(
        "environment_action",
        "GitLab before 16.5 leaves it out, and the refusal would not match",
        "demand the actions that may pass in the rules' when",
    ),
    absent(
        "job_source",
        "GitLab before 18.9 leaves it out, and the refusal would not match",
        "demand the sources that may pass in the rules' when",
    ),
    absent(
        "project_visibility",
        "GitLab before 16.3 leaves it out, and the refusal would not match",
        "demand the visibility that may pass in the rules' when",
    ),
];

const fn before_18_4(claim: &'static str) -> Danger {
    error(claim, "GitLab before 18.4 leaves it out, and the refusal would not match", "refuse by fork = true")
}

/// What only old or odd versions leave out: who runs another may say so.
const fn absent(claim: &'static str, why: &'static str, instead: &'static str) -> Danger {
    warning(Warning::MayBeAbsent, claim, why, instead)
}

/// What another issuer's tokens need not say.
pub(super) const LEFT_OUT: Danger = absent(
    "",
    "tokens of an issuer that this refusal is for may come without it, and the refusal would not match",
    "demand what may pass in the rules' when",
);

pub(super) const REF: Danger = error(
    "ref",
    "whoever may push, also to a fork, can make a branch or tag of any name",
    "add ref_protected = true to when itself, outside any, all and not",
);
pub(super) const FORKS: Danger = warning(
    Warning::ForksLetIn,
    "fork",
    "the rule speaks of forks and lets them in, and anybody who may fork writes the code that such a job runs",
    "add fork = false to when itself",
);
pub(super) const PATH: Danger = error(
    "project_path",
    "a path can be renamed away and taken by somebody else, and no pin protects this rule",
    "add namespace_id or project_id, or path_only = \"the reason why that is fine here\"",
);
pub(super) const JOB_PATH: Danger = error(
    "job_project_path",
    "a path can be renamed away and taken by somebody else, and no pin protects this rule",
    "add job_namespace_id or job_project_id, or path_only = \"the reason why that is fine here\"",
);
pub(super) const NO_PROJECT: Danger = error(
    "id",
    "an ID that names no project would be the same workload for every project that the rule lets in",
    "put {project_path} or {project_id} into it, or let when demand one project_id",
);

/// Claims of few values: one that is none of these cannot exist, and a typing error in `unless` would let in.
pub(super) const VALUES: [(Danger, &[&str]); 6] = [
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
    (
        warning(
            Warning::UnknownValue,
            "pipeline_source",
            "this is no source that we know of GitLab, so the term would be false for ever",
            "write a source such as \"push\", \"schedule\" or \"merge_request_event\"",
        ),
        &SOURCES,
    ),
    (
        warning(
            Warning::UnknownValue,
            "user_access_level",
            "this is no role that we know of GitLab, so the term would be false for ever",
            "write \"guest\", \"planner\", \"reporter\", \"developer\", \"maintainer\" or \"owner\"",
        ),
        &["guest", "planner", "reporter", "developer", "maintainer", "owner"],
    ),
];

pub(super) const NO_SUCH_VALUE: &str =
    "no token of the issuers meant has this value, so the term would be false for ever";

/// The few values that a claim has at another kind of issuer; none where there is no end of them.
pub(super) fn values_of(kind: IssuerKind, claim: &str) -> Option<&'static [&'static str]> {
    match (kind, claim) {
        (IssuerKind::GitHub, "environment_action") => Some(&["start"]),
        (IssuerKind::GitHub, "project_visibility") => Some(&["public", "internal", "private"]),
        (IssuerKind::GitHub, "ref_type") => Some(&["branch", "tag"]),
        (IssuerKind::GitHub, "runner_environment") => Some(&["github-hosted", "self-hosted"]),
        _ => None,
    }
}

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
