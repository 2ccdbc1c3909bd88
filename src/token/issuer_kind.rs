//! Kinds of issuers besides GitLab, as tables: which claim of theirs is which of ours, and in which form it comes.
//!
//! Rules, sessions and the journal speak of every bearer in one vocabulary, GitLab's. Where a kind of issuer has no
//! number for something, its number here is made of its name ([`Shape::Named`]): it tells jobs apart and is tested by no rule.

use super::providers::{ClaimKind, DERIVED, GITLAB, Shape, kind_of, position};
use super::sample::OF_EVERY_TOKEN;

/// Who makes a token, so what it says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IssuerKind {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    #[default]
    GitLab,
    /// A Kubernetes cluster, for service accounts of pods.
    Kubernetes,
    /// A custom authorization server of Okta.
    Okta,
    /// Whoever vouches for the people who operate a server. No job is of theirs.
    Operators,
    /// Another trust domain, for its JWT-SVIDs.
    Spiffe,
    /// Zuul.
    Zuul,
}

/// One claim of a kind's tokens.
#[derive(Debug)]
pub(super) struct Mapped {
    /// As rules call it.
    name: &'static str,
    /// Where it stands in the token; slashes go into objects.
    pub(super) from: &'static str,
    pub(super) shape: Shape,
}

/// What a kind's tokens say.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) claims: &'static [Mapped],
    /// Values of `pipeline_source` whose code anybody may have written.
    requests: &'static [&'static str],
}

const fn same(name: &'static str, shape: Shape) -> Mapped {
    Mapped { name, from: name, shape }
}

const fn from(name: &'static str, from: &'static str, shape: Shape) -> Mapped {
    Mapped { name, from, shape }
}

const AUD: Mapped = same("aud", Shape::Audience);
const EXP: Mapped = same("exp", Shape::Time);
const IAT: Mapped = same("iat", Shape::Time);
const JTI: Mapped = same("jti", Shape::Token);
const NBF: Mapped = same("nbf", Shape::Time);
const SUB: Mapped = same("sub", Shape::Text);

/// docs.github.com, the reference of its `OpenID` Connect tokens.
static GITHUB: Model = Model {
    claims: &[
        AUD,
        EXP,
        IAT,
        JTI,
        NBF,
        SUB,
        from("ci_config_ref_uri", "job_workflow_ref", Shape::Text),
        from("ci_config_sha", "job_workflow_sha", Shape::Text),
        same("environment", Shape::Text),
        from("job_id", "check_run_id", Shape::Id),
        from("namespace_id", "repository_owner_id", Shape::Id),
        from("namespace_path", "repository_owner", Shape::Path),
        from("pipeline_id", "run_id", Shape::Id),
        from("pipeline_source", "event_name", Shape::Text),
        from("project_id", "repository_id", Shape::Id),
        from("project_path", "repository", Shape::Path),
        from("project_visibility", "repository_visibility", Shape::Text),
        from("ref_path", "ref", Shape::Text),
        same("ref_protected", Shape::BoolText),
        same("ref_type", Shape::Text),
        same("runner_environment", Shape::Text),
        same("sha", Shape::Text),
        from("user_id", "actor_id", Shape::IdOrEmpty),
        from("user_login", "actor", Shape::Text),
        same("workflow_ref", Shape::Text),
    ],
    requests: &["pull_request", "pull_request_review", "pull_request_review_comment", "pull_request_target"],
};

/// kubernetes.io, "Managing Service Accounts" and KEP-1205: tokens that are bound to a pod.
static KUBERNETES: Model = Model {
    claims: &[
        AUD,
        EXP,
        IAT,
        JTI,
        NBF,
        SUB,
        from("job_id", "kubernetes.io/pod/uid", Shape::Named),
        from("namespace_id", "kubernetes.io/namespace", Shape::Named),
        from("namespace_path", "kubernetes.io/namespace", Shape::Path),
        from("node", "kubernetes.io/node/name", Shape::Text),
        from("pipeline_id", "kubernetes.io/pod/uid", Shape::Named),
        from("pod", "kubernetes.io/pod/name", Shape::Text),
        from("project_id", "sub", Shape::Named),
        from("project_path", "sub", Shape::Account),
        from("serviceaccount", "kubernetes.io/serviceaccount/name", Shape::Text),
    ],
    requests: &[],
};

/// developer.okta.com, "Access token claims".
static OKTA: Model = Model {
    claims: &[
        AUD,
        EXP,
        IAT,
        JTI,
        NBF,
        SUB,
        same("groups", Shape::Texts),
        from("namespace_id", "cid", Shape::Named),
        from("project_id", "cid", Shape::Named),
        from("project_path", "cid", Shape::Path),
        from("scopes", "scp", Shape::Texts),
        from("user_login", "sub", Shape::Text),
    ],
    requests: &[],
};

/// `OpenID` Connect Core §2, what is judged; who it is, each provider says in a claim of its own.
static OPERATORS: Model = Model { claims: &[AUD, EXP, IAT, NBF, SUB], requests: &[] };

/// SPIFFE JWT-SVID §3.
static SPIFFE: Model = Model {
    claims: &[
        AUD,
        EXP,
        IAT,
        JTI,
        NBF,
        SUB,
        from("namespace_id", "sub", Shape::Named),
        from("project_id", "sub", Shape::Named),
        from("project_path", "sub", Shape::SpiffePath),
    ],
    requests: &[],
};

/// zuul-ci.org, "Secret", token secrets. One build is one token.
static ZUUL: Model = Model {
    claims: &[
        AUD,
        EXP,
        IAT,
        NBF,
        SUB,
        from("job_id", "build-uuid", Shape::Named),
        from("job_name", "job-name", Shape::Text),
        from("jti", "build-uuid", Shape::Token),
        from("namespace_id", "tenant", Shape::Named),
        from("namespace_path", "tenant", Shape::Path),
        from("pipeline_id", "build-uuid", Shape::Named),
        from("playbook", "playbook", Shape::Text),
        from("project_id", "sub", Shape::Named),
        from("project_path", "sub", Shape::Behind("secret:")),
        from("zuul_pipeline", "pipeline", Shape::Text),
    ],
    requests: &[],
};

/// GitLab's, whose own table is read in one pass.
const GITLAB_REQUESTS: &[&str] = &["external_pull_request_event", "merge_request_event"];

impl IssuerKind {
    /// All whose jobs may get identities.
    pub const ALL: [Self; 6] = [Self::GitHub, Self::GitLab, Self::Kubernetes, Self::Okta, Self::Spiffe, Self::Zuul];

    /// As configurations write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Kubernetes => "kubernetes",
            Self::Okta => "okta",
            Self::Operators => "operators",
            Self::Spiffe => "spiffe",
            Self::Zuul => "zuul",
        }
    }

    /// Its table; none for GitLab, which has one of its own.
    pub(super) const fn model(self) -> Option<&'static Model> {
        match self {
            Self::GitHub => Some(&GITHUB),
            Self::GitLab => None,
            Self::Kubernetes => Some(&KUBERNETES),
            Self::Okta => Some(&OKTA),
            Self::Operators => Some(&OPERATORS),
            Self::Spiffe => Some(&SPIFFE),
            Self::Zuul => Some(&ZUUL),
        }
    }

    /// Where a claim stands in its table.
    pub(super) fn position(self, name: &str) -> Option<usize> {
        match self.model() {
            None => position(name),
            Some(model) => model.claims.iter().position(|claim| claim.name == name),
        }
    }

    /// What stands at a place of its table.
    pub(super) fn name_at(self, place: usize) -> Option<&'static str> {
        match self.model() {
            None => GITLAB.get(place).map(|(name, _)| *name),
            Some(model) => model.claims.get(place).map(|claim| claim.name),
        }
    }

    /// Where a token of its says something by itself, and in which form; none of what is derived, or made of a name.
    pub(super) fn place_of(self, name: &str) -> Option<(&'static str, Shape)> {
        self.place_of_any(name).filter(|(_, shape)| *shape != Shape::Named)
    }

    /// The same, whether it says it by itself or not.
    pub(super) fn place_of_any(self, name: &str) -> Option<(&'static str, Shape)> {
        let at = self.position(name)?;
        match self.model() {
            None => GITLAB.get(at).copied(),
            Some(model) => model.claims.get(at).map(|claim| (claim.from, claim.shape)),
        }
    }

    /// What its own documentation calls a claim.
    pub(super) fn source_of(self, name: &'static str) -> &'static str {
        let claims = self.model().map(|model| model.claims).unwrap_or_default();
        claims.iter().find(|claim| claim.name == name).map_or(name, |claim| claim.from)
    }

    pub(super) fn requests(self) -> &'static [&'static str] {
        self.model().map_or(GITLAB_REQUESTS, |model| model.requests)
    }

    /// What a rule for its bearers may test under this name; none if its tokens say no such thing.
    pub fn claim_kind(self, name: &str) -> Option<ClaimKind> {
        let derived = DERIVED.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let is_known = |kind: &ClaimKind| self == Self::GitLab || *kind != ClaimKind::Actor;
        match self.model() {
            None => derived.or_else(|| kind_of(name)),
            Some(model) => derived.filter(is_known).or_else(|| {
                let deploys = name == "environment_action" && self.position("environment").is_some();
                let claim = model.claims.iter().find(|claim| claim.name == name);
                claim.and_then(|claim| claim.shape.kind()).or(deploys.then_some(ClaimKind::Text))
            }),
        }
    }

    /// Whether its tokens name a job that is over one day. Where they do not, a bearer gets another token as long as it
    /// lives, and what closes one token's job does not keep out the next.
    pub const fn names_jobs(self) -> bool {
        match self {
            Self::GitHub | Self::GitLab | Self::Zuul => true,
            Self::Kubernetes | Self::Okta | Self::Operators | Self::Spiffe => false,
        }
    }

    /// Whether a token of its that is taken may be silent about this. Of GitLab, whose versions differ, whoever checks
    /// policies knows more.
    pub fn may_leave_out(self, name: &str) -> bool {
        let Some(model) = self.model() else { return false };
        if DERIVED.iter().any(|(known, _)| *known == name) {
            return false;
        }
        let stands = |name: &str| model.claims.iter().find(|claim| claim.name == name).map(|claim| claim.from);
        let from = stands(name);
        // What is read of the same place is there too.
        from.is_none() || !OF_EVERY_TOKEN.iter().any(|always| stands(always) == from)
    }

    /// Every name that a rule for its bearers may test.
    pub fn known_claims(self) -> impl Iterator<Item = &'static str> {
        let own = (0..).map_while(move |place| self.name_at(place));
        let all = DERIVED.iter().map(|(name, _)| *name).chain(own);
        all.filter(move |name| *name != "iss" && self.claim_kind(name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_table_says_whose_code_it_is_and_calls_nothing_by_two_names() {
        for kind in IssuerKind::ALL {
            let mut names: Vec<_> = (0..).map_while(|place| kind.name_at(place)).collect();
            for needed in ["aud", "exp", "iat", "jti", "namespace_id", "project_id", "project_path", "sub"] {
                assert!(names.contains(&needed), "{kind:?} {needed}");
            }
            names.sort_unstable();
            assert!(names.is_sorted_by(|one, other| one < other), "{kind:?}: {names:?}");
        }
    }

    #[test]
    fn a_name_means_the_same_kind_of_value_whoever_says_it() {
        let mut known = BTreeMap::new();
        for kind in IssuerKind::ALL {
            for name in kind.known_claims() {
                let means = kind.claim_kind(name).unwrap();
                assert_eq!(*known.entry(name).or_insert(means), means, "{name}");
            }
        }
    }

    #[test]
    fn a_refusal_leans_on_what_every_token_tells() {
        for (kind, name, left_out) in [
            (IssuerKind::GitHub, "project_path", false),
            (IssuerKind::GitHub, "pipeline_source", false),
            (IssuerKind::GitHub, "fork", false),
            (IssuerKind::GitHub, "environment", true),
            (IssuerKind::GitHub, "environment_action", true),
            (IssuerKind::GitHub, "namespace_path", true),
            (IssuerKind::Kubernetes, "namespace_path", false),
            (IssuerKind::Kubernetes, "node", true),
            (IssuerKind::Okta, "user_login", false),
            (IssuerKind::Okta, "groups", true),
            (IssuerKind::Zuul, "zuul_pipeline", true),
            (IssuerKind::GitLab, "groups_direct", false),
        ] {
            assert_eq!(kind.may_leave_out(name), left_out, "{kind:?} {name}");
        }
    }

    #[test]
    fn what_is_made_of_a_name_is_tested_by_no_rule() {
        for (kind, name) in [
            (IssuerKind::Kubernetes, "project_id"),
            (IssuerKind::Kubernetes, "pipeline_id"),
            (IssuerKind::Zuul, "namespace_id"),
            (IssuerKind::GitHub, "actor.kind"),
        ] {
            assert_eq!(kind.claim_kind(name), None, "{kind:?} {name}");
        }
        assert_eq!(IssuerKind::GitHub.claim_kind("project_id"), Some(ClaimKind::Id));
    }
}
