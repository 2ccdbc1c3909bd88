//! What a rule or a refusal asks of tokens that never say it: an `unless` that can never be known lets nobody in, and a
//! refusal that can never match lets everybody pass.

use super::issuer::KnownIssuer;
use super::section::Section;
use crate::policy::{Condition, Rule, SHOWN_FACTS};
use crate::token::IssuerKind;
use std::collections::BTreeMap;

/// Whose tokens, and what comes of asking them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) of: &'a KnownIssuer,
    pub(super) harm: &'static str,
    pub(super) way_out: &'static str,
}

impl<'a> Asked<'a> {
    pub(super) const fn by_rule(of: &'a KnownIssuer) -> Self {
        Self { of, harm: "", way_out: "" }
    }

    pub(super) const fn by_refusal(of: &'a KnownIssuer) -> Self {
        let harm = ", so that the refusal would let its bearers pass";
        Self { of, harm, way_out: "name the issuers that it is for in when itself, such as issuer = \"corp\"; " }
    }

    /// Reports the claims of one part that no such token tells, each once and by its line.
    pub(super) fn report(self, section: &Section<'_, '_>, part: &str, claims: Claims<'_>) {
        let Self { of: KnownIssuer { name, kind, .. }, harm, way_out } = self;
        let untold: BTreeMap<&str, Option<usize>> = claims
            .into_iter()
            .filter(|(_, claim)| kind.claim_kind(claim).is_none())
            .map(|(line, claim)| (claim, line))
            .collect();
        for (claim, line) in untold {
            let found = format!("{claim}, which no token of issuer {name} ({}) tells a rule{harm}", kind.as_str());
            let has: Vec<_> = kind.known_claims().collect();
            section.problem(part, line, found, format!("{way_out}such tokens tell: {}", has.join(", ")));
        }
    }
}

/// Claims, with the lines where they are named.
type Claims<'a> = Vec<(Option<usize>, &'a str)>;

/// Those that terms test.
pub(super) fn tested(terms: &[(usize, Condition)]) -> Claims<'_> {
    terms.iter().flat_map(|(line, term)| term.tests().into_iter().map(move |(name, ..)| (Some(*line), name))).collect()
}

/// What its texts want of the token; the rest other systems tell.
fn told_by_tokens(rule: &Rule) -> impl Iterator<Item = &str> {
    rule.gives.claims.holes().filter(|hole| !SHOWN_FACTS.iter().any(|(shown, _)| shown == hole))
}

/// All that a rule asks of its issuer's tokens.
pub(super) fn report_untold_of_rule(
    section: &Section<'_, '_>,
    rule: &Rule,
    issuer: &KnownIssuer,
    [when, unless]: [&[(usize, Condition)]; 2],
) {
    let asked = Asked::by_rule(issuer);
    asked.report(section, "when", tested(when));
    asked.report(section, "unless", tested(unless));
    asked.report(
        section,
        "id",
        rule.gives.svids.iter().flat_map(|svid| svid.id.holes()).map(|hole| (None, hole)).collect(),
    );
    asked.report(section, "claims", told_by_tokens(rule).map(|hole| (None, hole)).collect());
    if issuer.kind != IssuerKind::Kubernetes && rule.gives.svids.iter().any(|svid| svid.id.is_for_runners()) {
        let found = format!("a runner's ID for bearers of issuer {} ({})", issuer.name, issuer.kind.as_str());
        let remedy = "choose another beginning: runners are known by the tokens of their cluster";
        section.problem("id", section.line_of("id"), found, remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Lifetimes, check_policy};
    use super::*;
    use crate::token::IssuerName;

    /// What is said of a refusal with these terms beside a rule for each issuer: warnings, then problems.
    fn said(terms: &str) -> Vec<String> {
        said_of(&format!("[[refuse]]\nname = \"no\"\nsay = \"no\"\nwhen = {{ {terms} }}\n"))
    }

    /// The same of more of a policy.
    fn said_of(more: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        let known = |(name, kind): (&str, IssuerKind)| KnownIssuer {
            name: IssuerName(name.into()),
            kind,
            url: format!("https://{name}.example"),
            facts: Vec::new(),
            groups: None,
        };
        let issuers =
            [("corp", IssuerKind::GitLab), ("okta", IssuerKind::Okta), ("hub", IssuerKind::GitHub)].map(known);
        let rules = issuers.iter().map(|KnownIssuer { name, .. }| {
            format!("[[rule]]\nname = \"{name}\"\nid = \"/{name}/{{project_path}}\"\nwhen.issuer = \"{name}\"\n")
        });
        std::fs::write(&file, more.to_owned() + &rules.collect::<String>()).unwrap();
        let told = match check_policy(&file, &issuers, Lifetimes::SVID) {
            Ok(checked) => checked.warnings,
            Err(problems) => problems,
        };
        told.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_refusal_that_somebody_s_tokens_can_never_meet_does_not_load() {
        for (terms, told) in [
            ("environment = \"production\"", "environment, which no token of issuer okta (okta) tells"),
            (
                "any = [{ project_path = \"a\" }, { scopes = \"x\" }]",
                "scopes, which no token of issuer hub (github) tells",
            ),
            ("issuer = \"okta\", ref_protected = false", "ref_protected, which no token of issuer okta"),
            ("issuer = [\"corp\", \"hub\"], pipeline_id = 7, runner_id = 7", "runner_id, which no token of issuer hub"),
            ("not = { issuer = \"okta\" }, pipeline_id = 7", "pipeline_id, which no token of issuer okta"),
        ] {
            let said = said(terms);
            let is_told = |line: &String| line.contains(told) && line.contains(":4: refuse \"no\".when: ");
            assert!(said.iter().any(is_told), "{terms}: {said:#?}");
            assert!(said.iter().all(|line| !line.contains("hub") || told.contains("hub")), "{terms}: {said:#?}");
        }
    }

    /// What is said of a rule with these terms.
    fn said_of_rule(issuer: &str, terms: &str) -> Vec<String> {
        let id = format!("/x/{issuer}/{{project_path}}");
        let rule = format!("[[rule]]\nname = \"y\"\nid = \"{id}\"\nwhen = {{ issuer = \"{issuer}\", {terms} }}\n");
        said_of(&rule)
    }

    #[test]
    fn the_words_of_another_kind_of_issuer_are_known() {
        for (issuer, terms, told) in [
            ("hub", "runner_environment = \"github-hosted\"", ""),
            ("hub", "pipeline_source = \"workflow_dispatch\"", ""),
            ("hub", "runner_environment = \"gitlab-hosted\"", "no token of the issuers meant has this value"),
            ("corp", "runner_environment = \"github-hosted\"", "GitLab writes no such value there"),
            ("corp", "pipeline_source = \"workflow_dispatch\"", "no source that we know of GitLab"),
            ("hub", "environment = \"production\"", "let the environment take no other ref"),
            ("okta", "project_path = \"x*\"", "write whole paths, or path_only"),
        ] {
            let said = said_of_rule(issuer, terms);
            assert_eq!(said.is_empty(), told.is_empty(), "{issuer} {terms}: {said:#?}");
            assert!(said.iter().any(|line| line.contains(told)) || told.is_empty(), "{issuer} {terms}: {said:#?}");
        }
    }

    #[test]
    fn a_refusal_that_a_token_may_escape_by_silence_is_told() {
        for (terms, told) in [
            (
                "issuer = \"okta\", groups = \"contractors\"",
                "groups: tokens of an issuer that this refusal is for may come without it",
            ),
            ("issuer = \"hub\", environment = \"production\"", "environment: tokens of an issuer"),
            ("issuer = \"corp\", job_project_id = 7", "GitLab before 18.4"),
        ] {
            let said = said(terms);
            assert!(said.len() == 1 && said[0].contains(told), "{terms}: {said:#?}");
        }
        for terms in [
            "project_path = \"a/**\"",
            "issuer = \"okta\", user_login = { prefix = \"x\" }",
            "issuer = \"hub\", fork = true",
        ] {
            let escaping = |line: &&String| !line.contains("escape");
            assert_eq!(said(terms).iter().filter(escaping).count(), 0, "{terms}");
        }
    }
}
