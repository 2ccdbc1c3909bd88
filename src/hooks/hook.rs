//! A hook as configured: whose secret it is, and the end of which jobs it may tell.

use super::proof::{Delivery, HookError, SigningToken};
use crate::crypto::SharedSecret;
use crate::token::{Claims, is_under};
use std::fmt;
use time::OffsetDateTime;

/// Whose jobs a hook may end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Those in a group and the groups within; its path, case-folded.
    Group(String),
    /// Those of one project.
    Project(u64),
}

impl Scope {
    /// A group by its path. GitLab compares paths without case.
    pub fn group(path: &str) -> Self {
        Self::Group(path.to_lowercase())
    }

    /// Whether the job with these claims is one that the hook may end.
    pub fn covers(&self, claims: &Claims) -> bool {
        self.holds(claims.job_project_id(), claims.job_project_path())
    }

    /// Whether the project that a job runs in is one of those.
    pub fn holds(&self, project_id: u64, project_path: &str) -> bool {
        match self {
            Self::Group(group) => is_under(project_path, group),
            Self::Project(id) => *id == project_id,
        }
    }

    /// Whether a delivery may speak of this project at all; which group a project is in, its number does not tell.
    pub const fn may_concern(&self, project_id: u64) -> bool {
        match self {
            Self::Group(_) => true,
            Self::Project(id) => *id == project_id,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(path) => write!(f, "group {path}"),
            Self::Project(id) => write!(f, "project {id}"),
        }
    }
}

/// One hook that GitLab was told to call.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The end of which jobs it may tell.
    pub scope: Scope,
    /// What comes as `X-Gitlab-Token`.
    pub secret: Option<SharedSecret>,
    /// What signs the delivery.
    pub signing_token: Option<SigningToken>,
    /// Whether a job that is being cancelled counts as over.
    pub canceling: bool,
}

impl Hook {
    /// Whether the delivery is this hook's. Where both proofs are configured, both must hold; with neither, nothing does.
    fn opens(&self, delivery: &Delivery<'_>, now: OffsetDateTime) -> Result<(), HookError> {
        match (&self.secret, &self.signing_token) {
            (None, None) => Err(HookError::NotGenuine),
            (Some(secret), None) => delivery.has_secret(secret),
            (None, Some(token)) => delivery.is_signed(token, now),
            (Some(secret), Some(token)) => delivery.has_secret(secret).and_then(|()| delivery.is_signed(token, now)),
        }
    }
}

/// The hooks of one issuer.
#[derive(Clone, Debug, Default)]
pub struct Hooks(pub Vec<Hook>);

impl Hooks {
    /// The hook whose proof a delivery has.
    ///
    /// # Errors
    /// `Stale` when only its time is wrong, else `NotGenuine`.
    pub fn opened_by(&self, delivery: &Delivery<'_>, now: OffsetDateTime) -> Result<&Hook, HookError> {
        let mut why = HookError::NotGenuine;
        for hook in &self.0 {
            match hook.opens(delivery, now) {
                Ok(()) => return Ok(hook),
                Err(HookError::NotGenuine) => {}
                Err(stale @ HookError::Stale { .. }) => why = stale,
            }
        }
        Err(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::ClaimValue;
    use crate::token::tests::claims_of;

    fn claims_at(project_path: &str) -> Claims {
        let mut claims = claims_of("deploy_production_protected", &[]).unwrap().claims().clone();
        claims.more.insert("job_project_path".into(), ClaimValue::Text(project_path.to_owned()));
        claims
    }

    #[test]
    fn a_group_covers_what_is_under_it_and_no_namesake() {
        let group = Scope::group("Acme/payments");
        for (project, wanted) in [
            ("acme/payments/api", true),
            ("ACME/Payments/deep/api", true),
            ("acme/payments", false),
            ("acme/payments-evil/api", false),
            ("acme/other/payments/api", false),
        ] {
            assert_eq!(group.covers(&claims_at(project)), wanted, "{project}");
        }
    }

    #[test]
    fn a_project_covers_its_own_jobs_by_number() {
        let claims = claims_of("deploy_production_protected", &[]).unwrap();
        let id = claims.claims().job_project_id();
        assert!(Scope::Project(id).covers(claims.claims()));
        assert!(!Scope::Project(id + 1).covers(claims.claims()));
        assert!(!Scope::Project(id).may_concern(id + 1));
    }
}
