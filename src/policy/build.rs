//! What a rule with `build_claims` lets a certificate tell of the job: GitLab's claims in the words of Fulcio's
//! extensions, as Fulcio's own GitLab provider fills them (`config/identity/config.yaml` there).

use super::{Denial, Rule};
use crate::svid::{BuildClaim, BuildClaims};
use crate::token::Claims;

/// Extensions that hold one claim as it is.
const AS_IT_IS: [(BuildClaim, &str); 9] = [
    (BuildClaim::BuildSignerDigest, "ci_config_sha"),
    (BuildClaim::RunnerEnvironment, "runner_environment"),
    (BuildClaim::SourceRepositoryDigest, "sha"),
    (BuildClaim::SourceRepositoryIdentifier, "project_id"),
    (BuildClaim::SourceRepositoryOwnerIdentifier, "namespace_id"),
    (BuildClaim::BuildConfigDigest, "ci_config_sha"),
    (BuildClaim::BuildTrigger, "pipeline_source"),
    (BuildClaim::SourceRepositoryVisibility, "project_visibility"),
    (BuildClaim::DeploymentEnvironment, "environment"),
];

impl Rule {
    /// The build claims of these claims; none where the rule does not ask for them.
    pub(super) fn build_claims_of(&self, claims: &Claims) -> Result<BuildClaims, Denial> {
        let mut all = BuildClaims::default();
        let Some(gitlab) = &self.gives.build_claims else { return Ok(all) };
        for (claim, value) in told(gitlab, claims) {
            let refuse = |source| Denial::BuildClaimDoesNotFit { rule: self.name.clone(), claim, source };
            all.add(claim, value).map_err(refuse)?;
        }
        Ok(all)
    }
}

/// What the token's claims say; what the token lacks is left out.
fn told(gitlab: &str, claims: &Claims) -> Vec<(BuildClaim, String)> {
    let text = |name: &str| claims.view(name).map(|value| value.to_string()).filter(|text| !text.is_empty());
    let base = gitlab.strip_suffix('/').unwrap_or(gitlab);
    let project = format!("{base}/{}", claims.project_path);
    // GitLab writes the configuration's place without its scheme.
    let config = text("ci_config_ref_uri").map(|place| format!("https://{place}"));
    let full_ref = match text("ref_type").as_deref() {
        Some("branch") => text("ref").map(|name| format!("refs/heads/{name}")),
        Some("tag") => text("ref").map(|name| format!("refs/tags/{name}")),
        _ => None,
    };
    let made = [
        (BuildClaim::Issuer, Some(gitlab.to_owned())),
        (BuildClaim::BuildSignerUri, config.clone()),
        (BuildClaim::BuildConfigUri, config),
        (BuildClaim::SourceRepositoryRef, full_ref),
        (BuildClaim::SourceRepositoryOwnerUri, text("namespace_path").map(|path| format!("{base}/{path}"))),
        (BuildClaim::RunInvocationUri, Some(format!("{project}/-/jobs/{}", claims.job_id))),
        (BuildClaim::SourceRepositoryUri, Some(project)),
    ];
    let plain = AS_IT_IS.into_iter().map(|(claim, name)| (claim, text(name)));
    made.into_iter().chain(plain).filter_map(|(claim, value)| Some((claim, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::claims_of;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn told_of(changes: &[(&str, Value)]) -> BTreeMap<u8, String> {
        let changes: Vec<_> = changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let claims = claims_of("deploy_production_protected", &changes).unwrap();
        let all = told("https://gitlab.example.com/", claims.claims());
        all.into_iter().map(|(claim, value)| (claim.arc(), value)).collect()
    }

    #[test]
    fn a_job_is_told_in_fulcio_s_words() {
        let changes = [("ref", json!("main")), ("ref_type", json!("branch")), ("ci_config_sha", json!("c0ffee"))];
        let all = told_of(&changes);
        assert_eq!(all[&8], "https://gitlab.example.com/", "the issuer is told exactly as it calls itself");
        assert_eq!(all[&14], "refs/heads/main");
        assert_eq!((&all[&10], &all[&9]), (&all[&19], &all[&18]));
        assert!(
            all[&9].starts_with("https://gitlab.example.com/") && all[&12].starts_with("https://gitlab.example.com/")
        );
        assert!(!all[&12].contains("com//"), "{}", all[&12]);
        assert_eq!(told_of(&[("ref", json!("v1")), ("ref_type", json!("tag"))])[&14], "refs/tags/v1");
        let numbers: Vec<u8> = all.into_keys().collect();
        assert_eq!(numbers, (8..=23).collect::<Vec<_>>());
    }

    #[test]
    fn what_the_token_lacks_is_left_out() {
        let absent = ["ci_config_ref_uri", "ci_config_sha", "runner_environment", "environment", "environment_action"];
        let mut changes = absent.map(|name| (name, Value::Null)).to_vec();
        changes.push(("ref_type", json!("merge_request")));
        for gone in [9, 10, 11, 14, 18, 19, 23] {
            assert!(!told_of(&changes).contains_key(&gone), "{gone}");
        }
    }
}
