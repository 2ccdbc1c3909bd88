//! Which CI job an entry is about: what an auditor asks for, and no more of a person than is to be kept.

use crate::people::{Keeping, People, Sealed};
use crate::token::{ClaimMap, IssuerName, TokenSeen, VerifiedClaims};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// Which CI job an entry is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Job {
    /// The issuer's configured name.
    pub issuer: IssuerName,
    /// The token's `jti`; empty in the end of a session, whose name is made of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// The token's `sub`, as it came; empty in the end of a session.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// The project.
    pub project_id: u64,
    /// Its path at the time.
    pub project_path: String,
    /// The pipeline.
    pub pipeline_id: u64,
    /// The job.
    pub job_id: u64,
    /// The namespace that holds the project; 0 where the entry does not tell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub namespace_id: u64,
    /// Which token it came with; none for a renewal, and in entries of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Arc<TokenSeen>>,
    /// Who started it, where that is kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Sealed>,
    /// The commit, the ref and the person, as far as the token tells.
    #[serde(flatten)]
    pub more: ClaimMap,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde lends what it skips")]
const fn is_zero(id: &u64) -> bool {
    *id == 0
}

impl Job {
    /// What an auditor asks for.
    pub(crate) const SHOWN: [&'static str; 12] = [
        "ci_config_ref_uri",
        "ci_config_sha",
        "environment",
        "environment_protected",
        "job_project_id",
        "pipeline_source",
        "ref_path",
        "ref_protected",
        "runner_id",
        "sha",
        "user_id",
        "user_login",
    ];

    /// The job of a token, with its person as that is to be kept.
    pub fn of(verified: &VerifiedClaims, keeping: &Keeping) -> Self {
        let claims = verified.claims();
        let shown = |name: &&'static str| Some((Cow::Borrowed(*name), claims.more.get(name)?.clone()));
        Self {
            issuer: claims.issuer.clone(),
            jti: claims.jti.clone(),
            sub: if keeping.shows("sub") { claims.subject.clone() } else { String::new() },
            namespace_id: claims.namespace_id,
            token: verified.token().map(Arc::clone),
            person: keeping.seal(claims, |name| Self::SHOWN.contains(&name)),
            project_id: claims.project_id,
            project_path: claims.project_path.clone(),
            pipeline_id: claims.pipeline_id,
            job_id: claims.job_id,
            more: Self::SHOWN.iter().filter(|name| keeping.shows(name)).filter_map(shown).collect(),
        }
    }

    /// What is sealed of its person, put back; none once that person is erased.
    pub fn opened(mut self, people: &People) -> Option<Self> {
        if let Some(sealed) = self.person.take() {
            people.open_sealed(&sealed)?.restore((&mut self.sub, &mut self.more));
        }
        Some(self)
    }
}
