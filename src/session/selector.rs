//! Which sessions an operator means: whatever of it is named must fit, and nothing named means none.
//!
//! Ids are exact and never used again; paths, refs and logins can be renamed away from, so the commands' help prefers ids.

use crate::token::{ClaimView, Claims, is_under};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A project or namespace as an operator names it: digits are an id, all else is a path.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PathOrId {
    /// Stays with the project or namespace for good.
    Id(u64),
    /// As it is now; GitLab has ASCII in it only, and compares it without case.
    Path(String),
}

impl FromStr for PathOrId {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_no_id| Self::Path(text.trim_matches('/').to_owned()), Self::Id))
    }
}

impl fmt::Display for PathOrId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Path(path) => f.write_str(path),
        }
    }
}

/// Which sessions are meant.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// The issuer's configured name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Whose code it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<PathOrId>,
    /// By path with all that is below it; by id the one that holds the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<PathOrId>,
    /// A pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<u64>,
    /// A job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    /// `refs/heads/main`, or `main` for the branch and the tag of that name.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The login or the id of who started the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The runner that works on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<u64>,
    /// The rule that granted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The key of ours that signed for it: an intermediate's key id, or a JWT key's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

/// What a selector looks at, of a live session or of who is about to get one.
#[derive(Clone, Copy, Debug)]
pub struct Facets<'a> {
    pub(super) issuer: &'a str,
    pub(super) project_id: u64,
    pub(super) project_path: &'a str,
    pub(super) namespace_id: u64,
    pub(super) pipeline_id: u64,
    pub(super) job_id: u64,
    pub(super) reference: Option<&'a str>,
    pub(super) user_id: Option<u64>,
    pub(super) user_login: Option<&'a str>,
    pub(super) runner_id: Option<u64>,
    pub(super) rule: Option<&'a str>,
    pub(super) signers: &'a [Arc<str>],
}

impl<'a> Facets<'a> {
    /// Of a bearer for whom no rule has spoken yet.
    pub fn of(claims: &'a Claims) -> Self {
        let text = |name| match claims.view(name) {
            Some(ClaimView::Text(text)) => Some(text),
            _ => None,
        };
        let id = |name| match claims.view(name) {
            Some(ClaimView::Id(id)) => Some(id),
            _ => None,
        };
        Self {
            issuer: &claims.issuer.0,
            project_id: claims.project_id,
            project_path: &claims.project_path,
            namespace_id: claims.namespace_id,
            pipeline_id: claims.pipeline_id,
            job_id: claims.job_id,
            reference: text("ref_path"),
            user_id: id("user_id"),
            user_login: text("user_login"),
            runner_id: id("runner_id"),
            rule: None,
            signers: &[],
        }
    }

    /// Once a rule has granted, and it is known which of our keys will sign.
    #[must_use]
    pub const fn granted(self, rule: &'a str, signers: &'a [Arc<str>]) -> Self {
        Self { rule: Some(rule), signers, ..self }
    }
}

/// Something is named that nobody can ever have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{flag} {named:?} can be nobody's: {instead}")]
pub struct Nobodys {
    flag: &'static str,
    named: String,
    instead: &'static str,
}

/// A flag, what is named by it, what that must fit, and what to write instead.
type Named = (&'static str, Option<String>, fn(&str) -> bool, &'static str);

impl Selector {
    /// Whether all that is named can be somebody's, so that a slip is not taken for a ban.
    ///
    /// # Errors
    /// The first that cannot, with what would do.
    pub fn check(&self) -> Result<(), Nobodys> {
        let Self { project, namespace, reference, user, rule, signer, .. } = self;
        let path = "write the id, or the path as the token has it, such as acme/payments; * stands for nothing here";
        let text = |named: &Option<String>| named.clone();
        let of = |named: &Option<PathOrId>| named.as_ref().map(ToString::to_string);
        let all: [Named; 6] = [
            ("project", of(project), is_path, path),
            ("namespace", of(namespace), is_path, path),
            ("ref", text(reference), is_ref, "write it as refs/heads/main or main; * stands for nothing here"),
            ("user", text(user), is_word, "write the id, or the login as the token has it; * stands for nothing here"),
            ("rule", text(rule), is_line, "write its name as the policy has it, on one line"),
            (
                "signer",
                text(signer),
                is_key,
                "write an intermediate's whole key id, as `lanyard authority list` has it, or a kid",
            ),
        ];
        let odd = all.into_iter().find_map(|(flag, named, fits, instead)| {
            let named = named.filter(|named| !fits(named))?;
            Some(Nobodys { flag, named, instead })
        });
        odd.map_or(Ok(()), Err)
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether all that is named fits. What a session does not tell of itself fits nothing.
    pub fn fits(&self, of: &Facets<'_>) -> bool {
        let Self { issuer, project, namespace, pipeline, job, reference, user, runner, rule, signer } = self;
        !self.is_empty()
            && issuer.as_deref().is_none_or(|wanted| wanted == of.issuer)
            && project.as_ref().is_none_or(|wanted| is_project(wanted, of))
            && namespace.as_ref().is_none_or(|wanted| is_namespace(wanted, of))
            && pipeline.is_none_or(|wanted| wanted == of.pipeline_id)
            && job.is_none_or(|wanted| wanted == of.job_id)
            && reference.as_deref().is_none_or(|wanted| is_reference(wanted, of))
            && user.as_deref().is_none_or(|wanted| is_user(wanted, of))
            && runner.is_none_or(|wanted| Some(wanted) == of.runner_id)
            && rule.as_deref().is_none_or(|wanted| Some(wanted) == of.rule)
            && signer.as_deref().is_none_or(|wanted| of.signers.iter().any(|own| **own == *wanted))
    }
}

fn is_line(named: &str) -> bool {
    !named.chars().any(char::is_control)
}

fn is_word(named: &str) -> bool {
    named != "0" && !named.chars().any(|c| c.is_control() || c.is_whitespace() || c == '*')
}

fn is_path(named: &str) -> bool {
    is_word(named) && !named.split('/').any(str::is_empty)
}

/// What git lets a ref be called (git-check-ref-format), as far as one can slip there.
fn is_ref(named: &str) -> bool {
    is_word(named) && !named.contains(['?', '[', '\\', '^', '~', ':']) && !named.contains("..")
}

/// A key id in hex, or a thumbprint (RFC 7638 §3.1) in base64url: of 32 bytes each.
fn is_key(named: &str) -> bool {
    let is_id = named.len() == 64 && named.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_id || (named.len() == 43 && named.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c)))
}

fn is_project(wanted: &PathOrId, of: &Facets<'_>) -> bool {
    match wanted {
        PathOrId::Id(id) => *id == of.project_id,
        PathOrId::Path(path) => path.eq_ignore_ascii_case(of.project_path),
    }
}

fn is_namespace(wanted: &PathOrId, of: &Facets<'_>) -> bool {
    match wanted {
        PathOrId::Id(id) => *id == of.namespace_id,
        PathOrId::Path(path) => is_under(of.project_path, path),
    }
}

fn is_reference(wanted: &str, of: &Facets<'_>) -> bool {
    let short = |own: &str| ["refs/heads/", "refs/tags/"].iter().any(|kind| own.strip_prefix(kind) == Some(wanted));
    of.reference.is_some_and(|own| own == wanted || short(own))
}

/// A login of digits only is taken for an id; GitLab compares logins without case.
fn is_user(wanted: &str, of: &Facets<'_>) -> bool {
    match wanted.parse::<u64>() {
        Ok(id) => of.user_id == Some(id),
        Err(_no_id) => of.user_login.is_some_and(|login| login.eq_ignore_ascii_case(wanted)),
    }
}

/// As an operator would type it, without dashes.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn shown(value: Option<&impl ToString>) -> Option<String> {
            value.map(ToString::to_string)
        }
        let named = [
            ("issuer", shown(self.issuer.as_ref())),
            ("project", shown(self.project.as_ref())),
            ("namespace", shown(self.namespace.as_ref())),
            ("pipeline", shown(self.pipeline.as_ref())),
            ("job", shown(self.job.as_ref())),
            ("ref", shown(self.reference.as_ref())),
            ("user", shown(self.user.as_ref())),
            ("runner", shown(self.runner.as_ref())),
            ("rule", shown(self.rule.as_ref())),
            ("signer", shown(self.signer.as_ref())),
        ];
        let mut lead = "";
        for (name, value) in named {
            let Some(value) = value else { continue };
            write!(f, "{lead}{name}={value}")?;
            lead = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::claims_of;
    use serde_json::json;

    fn selector(named: serde_json::Value) -> Selector {
        serde_json::from_value(named).unwrap()
    }

    #[test]
    fn all_that_is_named_must_fit_and_nothing_named_fits_nobody() {
        let claims = claims_of("branch_protected_main", &[]).unwrap();
        let claims = claims.claims();
        let signers: [Arc<str>; 1] = ["af5f".into()];
        let facets = Facets::of(claims).granted("every project", &signers);
        let path = claims.project_path.clone();
        let (group, _) = path.split_once('/').unwrap();
        let login = facets.user_login.unwrap().to_uppercase();
        for (named, fits) in [
            (json!({}), false),
            (json!({ "project": claims.project_id }), true),
            (json!({ "project": claims.project_id, "ref": "refs/heads/other" }), false),
            (json!({ "project": path.to_uppercase(), "ref": "main" }), true),
            (json!({ "project": group }), false),
            (json!({ "namespace": group }), true),
            (json!({ "namespace": path }), false),
            (json!({ "namespace": group.get(1..) }), false),
            (json!({ "namespace": claims.namespace_id }), true),
            (json!({ "ref": "refs/heads/main", "issuer": claims.issuer }), true),
            (json!({ "ref": "refs/tags/main" }), false),
            (json!({ "pipeline": claims.pipeline_id, "job": claims.job_id }), true),
            (json!({ "job": claims.job_id + 1 }), false),
            (json!({ "user": login }), true),
            (json!({ "user": facets.user_id.unwrap().to_string() }), true),
            (json!({ "user": "somebody" }), false),
            (json!({ "runner": facets.runner_id.unwrap() }), true),
            (json!({ "rule": "every project", "signer": "af5f" }), true),
            (json!({ "rule": "another" }), false),
            (json!({ "signer": "af" }), false),
        ] {
            assert_eq!(selector(named.clone()).fits(&facets), fits, "{named}");
        }
        assert!(!selector(json!({ "rule": "every project" })).fits(&Facets::of(claims)), "no rule has spoken yet");
        let shown = selector(json!({ "ref": "main", "project": "acme/api" })).to_string();
        assert_eq!(shown, "project=acme/api ref=main");
    }
}
