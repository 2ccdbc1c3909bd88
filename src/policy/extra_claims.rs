//! What a rule's JWT-SVIDs say beside what every JWT-SVID says: texts of their own, and what AWS reads.

use super::{Answers, ClaimFillError, ClaimTemplate};
use crate::svid::{AwsSession, AwsSessionError, RESERVED_CLAIMS};
use crate::token::Claims;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// As many as fit a header with room to spare.
const CLAIMS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 128;

/// Claims to be filled for each job.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ExtraClaims {
    texts: BTreeMap<String, ClaimTemplate>,
    /// What AWS reads.
    pub aws: AwsTemplate,
}

/// AWS's session tags and source identity, to be filled for each job.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct AwsTemplate {
    /// By key.
    pub principal_tags: BTreeMap<String, ClaimTemplate>,
    /// Those that stay when one role assumes another.
    pub transitive_tag_keys: BTreeSet<String>,
    /// What AWS writes into its trail for all that the session does.
    pub source_identity: Option<ClaimTemplate>,
}

/// Why a claim cannot be among a rule's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExtraClaimError {
    /// It has settings of its own.
    #[error("what AWS reads is written in [rule.aws]")]
    Aws,
    /// A name that is empty, long, or of odd characters.
    #[error("a claim's name has 1 to {NAME_BYTES_MAX} visible ASCII characters, without quotes and backslashes")]
    Name,
    /// One that every JWT-SVID has, or that changes how it is judged.
    #[error("it is Lanyard's own to write, or changes how readers judge a token")]
    Reserved,
    /// More than a header holds.
    #[error("at most {CLAIMS_MAX} claims are written")]
    TooMany,
}

/// Why a job's values do not fit.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExtraFillError {
    /// AWS would not take them.
    #[error(transparent)]
    Aws(#[from] AwsSessionError),
    /// One does not fit its claim.
    #[error(transparent)]
    Value(#[from] ClaimFillError),
}

impl ExtraClaims {
    /// Adds a text.
    ///
    /// # Errors
    /// See [`ExtraClaimError`].
    pub fn add(&mut self, name: &str, template: ClaimTemplate) -> Result<(), ExtraClaimError> {
        Self::check_name(name)?;
        if self.texts.len() >= CLAIMS_MAX {
            return Err(ExtraClaimError::TooMany);
        }
        self.texts.insert(name.to_owned(), template);
        Ok(())
    }

    /// The names of its texts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// A text, by its claim.
    pub(super) fn text(&self, name: &str) -> Option<&ClaimTemplate> {
        self.texts.get(name)
    }

    /// The token's claims that they want.
    pub fn holes(&self) -> impl Iterator<Item = &str> {
        let AwsTemplate { principal_tags, source_identity, .. } = &self.aws;
        let all = self.texts.values().chain(principal_tags.values()).chain(source_identity);
        all.flat_map(ClaimTemplate::holes)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.aws == AwsTemplate::default()
    }

    /// The claims for a job.
    ///
    /// # Errors
    /// Which claim, and why it does not fit.
    pub fn fill(&self, claims: &Claims, facts: &Answers) -> Result<Map<String, Value>, (String, ExtraFillError)> {
        let mut filled = Map::new();
        for (name, template) in &self.texts {
            let text = template.fill(claims, facts).map_err(|fault| (name.clone(), fault.into()))?;
            filled.insert(name.clone(), text.into());
        }
        filled.extend(self.aws.fill(claims, facts)?.into_claims());
        Ok(filled)
    }

    fn check_name(name: &str) -> Result<(), ExtraClaimError> {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte));
        match name {
            _ if !is_plain || !(1..=NAME_BYTES_MAX).contains(&name.len()) => Err(ExtraClaimError::Name),
            _ if RESERVED_CLAIMS.contains(&name) => Err(ExtraClaimError::Reserved),
            _ if AwsSession::claims(name) => Err(ExtraClaimError::Aws),
            _ => Ok(()),
        }
    }
}

impl AwsTemplate {
    /// How the source identity is called among the tags, which cannot be called so.
    pub const SOURCE_IDENTITY: &'static str = "aws:SourceIdentity";

    /// By which keys a policy of AWS's may test it.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let name = self.source_identity.as_ref().map(|_| Self::SOURCE_IDENTITY);
        self.principal_tags.keys().map(String::as_str).chain(name)
    }

    /// What stands behind one of them.
    pub(super) fn text(&self, key: &str) -> Option<&ClaimTemplate> {
        if key == Self::SOURCE_IDENTITY { self.source_identity.as_ref() } else { self.principal_tags.get(key) }
    }

    /// Whether AWS would take it, whatever short ids a job's claims give.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), AwsSessionError> {
        let tags = self.principal_tags.iter().map(|(key, template)| (key.clone(), template.with("1"))).collect();
        let name = self.source_identity.as_ref().map(|template| template.with("11"));
        AwsSession::new(tags, self.transitive_tag_keys.clone(), name).map(drop)
    }

    fn fill(&self, claims: &Claims, facts: &Answers) -> Result<AwsSession, (String, ExtraFillError)> {
        let mut tags = BTreeMap::new();
        for (key, template) in &self.principal_tags {
            let value =
                template.fill(claims, facts).map_err(|fault| (format!("aws.principal_tags.{key}"), fault.into()))?;
            tags.insert(key.clone(), value);
        }
        let name = self.source_identity.as_ref().map(|template| template.fill(claims, facts)).transpose();
        let name = name.map_err(|fault| ("aws.source_identity".to_owned(), fault.into()))?;
        let session = AwsSession::new(tags, self.transitive_tag_keys.clone(), name);
        session.map_err(|fault| ("aws".to_owned(), fault.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Answer, Seen};
    use crate::token::tests::claims_of;
    use serde_json::json;

    fn template(text: &str) -> ClaimTemplate {
        ClaimTemplate::parse(text).unwrap()
    }

    #[test]
    fn claims_that_are_ours_or_aws_s_are_not_a_rule_s_to_write() {
        let mut extra = ExtraClaims::default();
        for name in RESERVED_CLAIMS {
            assert_eq!(extra.add(name, template("x")), Err(ExtraClaimError::Reserved), "{name}");
        }
        assert_eq!(extra.add("https://aws.amazon.com/tags", template("x")), Err(ExtraClaimError::Aws));
        for name in ["", "a b", "a\"b", "ä", &"a".repeat(129)] {
            assert_eq!(extra.add(name, template("x")), Err(ExtraClaimError::Name), "{name}");
        }
        for at in 0..32 {
            extra.add(&format!("c{at}"), template("x")).unwrap();
        }
        assert_eq!(extra.add("c32", template("x")), Err(ExtraClaimError::TooMany));
    }

    #[test]
    fn a_job_s_claims_are_filled_whole_or_not_at_all() {
        let mut extra = ExtraClaims::default();
        extra.add("workload", template("{project_id}.{pipeline_id}")).unwrap();
        extra.aws.principal_tags.insert("ref".to_owned(), template("{ref}"));
        extra.aws.source_identity = Some(template("job-{job_id}"));
        let filled = |name: &str| {
            let changes =
                [("project_id", "42"), ("job_project_id", "42"), ("pipeline_id", "7"), ("job_id", "5"), ("ref", name)];
            let changes: Vec<_> = changes.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            extra.fill(claims_of("deploy_production_protected", &changes).unwrap().claims(), &Answers::NONE)
        };
        let claims = filled("main").unwrap();
        assert_eq!(claims["workload"], "42.7");
        assert_eq!(claims["https://aws.amazon.com/tags"]["principal_tags"], json!({"ref": ["main"]}));
        assert_eq!(claims["https://aws.amazon.com/source_identity"], "job-5");
        assert!(matches!(filled("fix#7"), Err((claim, ExtraFillError::Aws(_))) if claim == "aws"));
    }

    #[test]
    fn a_number_that_another_system_told_is_shown_or_the_claim_does_not_fit() {
        let mut extra = ExtraClaims::default();
        extra.add("change", template("{gerrit.change}/{pipeline_id}")).unwrap();
        let claims = claims_of("deploy_production_protected", &[]).unwrap();
        let told = |seen| [("gerrit.change".into(), Answer::Is(seen))].into_iter().collect::<Answers>();
        let filled = extra.fill(claims.claims(), &told(Seen::Count(4711))).unwrap();
        assert_eq!(filled["change"], format!("4711/{}", claims.claims().pipeline_id));
        for facts in [Answers::NONE, told(Seen::Text("4711".to_owned()))] {
            let (claim, why) = extra.fill(claims.claims(), &facts).unwrap_err();
            assert!(claim == "change" && why.to_string().contains("gerrit.change"), "{why}");
        }
    }
}
