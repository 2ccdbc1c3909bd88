//! `[rule.claims]` and `[rule.aws]`: what a rule's JWT-SVIDs say beside what all do.

use super::section::Section;
use crate::policy::{ClaimTemplate, ExtraClaims, Rule, SHOWN_FACTS};
use std::collections::BTreeMap;

const WOULD_DO: &str = "a text with claims in braces, such as \"{project_id}.{pipeline_id}\"";

pub(super) fn read_claims(section: &mut Section<'_, '_>) -> ExtraClaims {
    let mut claims = ExtraClaims::default();
    let mut table = section.section("claims");
    for (line, name, template) in templates(&mut table) {
        if let Err(wrong) = claims.add(&name, template) {
            let remedy = "take another name, such as \"workload\", or leave it out";
            table.problem(&name, Some(line), format!("a claim that no rule may write: {wrong}"), remedy);
        }
    }
    table.finish();
    read_aws(section.section("aws"), &mut claims);
    claims
}

fn read_aws(mut section: Section<'_, '_>, claims: &mut ExtraClaims) {
    let line = section.line();
    let mut tags = section.section("principal_tags");
    claims.aws.principal_tags =
        templates(&mut tags).into_iter().map(|(_, key, template)| (key, template)).collect::<BTreeMap<_, _>>();
    tags.finish();
    let keys = section.list("transitive_tag_keys", "the key of one of the principal_tags", |key| {
        if key.is_empty() { Err("empty") } else { Ok(key.to_owned()) }
    });
    claims.aws.transitive_tag_keys = keys.unwrap_or_default().into_iter().collect();
    claims.aws.source_identity = section.parsed("source_identity", WOULD_DO, ClaimTemplate::parse);
    if let Err(wrong) = claims.aws.check() {
        section.problem("principal_tags", line, wrong.to_string(), "mend the tag, or leave it out");
    }
    section.finish();
}

/// What another system tells is there to be shown only where the rule rests on that system.
pub(super) fn report_untold(section: &Section<'_, '_>, rule: &Rule) {
    let facts = rule.facts();
    for (shown, fact) in SHOWN_FACTS {
        if rule.gives.claims.holes().any(|hole| hole == shown) && !facts.contains(&fact) {
            let found = format!("{{{shown}}}, which nobody tells where the rule does not need {fact}");
            section.problem("claims", None, found, format!("add {fact:?} to the rule's need, or take the claim out"));
        }
    }
}

/// The texts of a table whose keys are data.
fn templates(table: &mut Section<'_, '_>) -> Vec<(usize, String, ClaimTemplate)> {
    let mut read = Vec::new();
    for (line, name, value) in table.entries() {
        let value = value.into_inner();
        match value.as_str().map(ClaimTemplate::parse) {
            Some(Ok(template)) => read.push((line, name, template)),
            Some(Err(wrong)) => {
                let found = format!("\"{}\" ({wrong})", value.as_str().unwrap_or_default());
                table.problem(&name, Some(line), found, format!("write {WOULD_DO}"));
            }
            None => table.problem(&name, Some(line), super::words::an(&value), format!("write {WOULD_DO}")),
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::super::reader::Reader;
    use super::*;
    use std::path::Path;

    /// The claims, or the problems as "line key".
    fn read(text: &str) -> Result<ExtraClaims, Vec<String>> {
        let reader = Reader::new(Path::new("policy.toml"), text);
        let mut rule = reader.document();
        let claims = read_claims(&mut rule);
        rule.finish();
        let problems = reader.settled(Some(claims));
        problems.map_err(|all| all.iter().map(|p| format!("{} {}", p.line.unwrap_or(0), p.key)).collect())
    }

    #[test]
    fn claims_and_aws_tags_are_read() {
        let text = "claims.workload = \"{project_id}.{pipeline_id}\"\n[aws]\nsource_identity = \"job-{job_id}\"\n\
                    transitive_tag_keys = [\"project\"]\nprincipal_tags = { project = \"{project_id}\", \"cost centre\" = \"7\" }";
        let claims = read(text).unwrap();
        assert_eq!(claims.names().collect::<Vec<_>>(), ["workload"]);
        assert_eq!(claims.aws.principal_tags.len(), 2);
        assert_eq!(claims.holes().collect::<Vec<_>>(), ["project_id", "pipeline_id", "project_id", "job_id"]);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_would_forge_or_not_fit_does_not_load() {
        for (text, problem) in [
            ("claims.sub = \"x\"", "1 claims.sub"),
            ("claims.iss = \"x\"", "1 claims.iss"),
            ("claims.\"https://aws.amazon.com/tags\" = \"x\"", "1 claims.https://aws.amazon.com/tags"),
            ("claims.a = 7", "1 claims.a"),
            ("claims.a = \"{nobody}\"", "1 claims.a"),
            ("claims.a = \"{ref}{environment}\"", "1 claims.a"),
            ("[aws]\ntransitive_tag_keys = [\"a\"]", "1 aws.principal_tags"),
            ("[aws]\nprincipal_tags = { \"aws:a\" = \"x\" }", "1 aws.principal_tags"),
            ("[aws]\nprincipal_tags = { a = \"x;y\" }", "1 aws.principal_tags"),
            ("[aws]\nsource_identity = \"x y {job_id}\"", "1 aws.principal_tags"),
            ("[aws]\ntags = 1", "2 aws.tags"),
        ] {
            assert_eq!(read(text), Err(vec![problem.to_owned()]), "{text}");
        }
    }
}
