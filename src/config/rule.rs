//! One table of a policy file: from TOML to a checked rule or refusal.

use super::accept::{Accepted, read_accepted};
use super::conditions::{Lists, read_terms};
use super::dangers::{self, Danger};
use super::issuer::KnownIssuer;
use super::limits::{read_federates_with, read_kinds, read_max_session, read_tags};
use super::need::{Sources, read_need};
use super::scope::Scope;
use super::section::Section;
use super::svids::{read_svids, read_ttl};
use crate::policy::{Condition, RefusalRule, Rule, Test};
use crate::token::IssuerName;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a rule stands, and which warnings about it are accepted there.
#[derive(Debug)]
pub(super) struct Place {
    /// Counts the files.
    pub(super) file: usize,
    pub(super) line: Option<usize>,
    pub(super) accepted: Accepted,
}

/// What a file's rules are read with.
#[derive(Debug)]
pub(super) struct Rules<'p> {
    pub(super) issuers: &'p [KnownIssuer],
    /// Of rules that name none.
    pub(super) ttl: Duration,
    pub(super) file: usize,
    pub(super) lists: Lists,
    pub(super) scope: Option<Scope>,
    /// Of all files, by name.
    pub(super) places: &'p mut BTreeMap<String, Place>,
}

impl Rules<'_> {
    pub(super) fn refusal(&mut self, mut section: Section<'_, '_>) -> Option<RefusalRule> {
        let (name, accepted) = self.name(&mut section);
        let say = section.text("say", "what the refused job should read, and do");
        let say = say.or_else(|| section.missing("say", "write what the refused job should read, and do"));
        let when = self.terms(&mut section, "when");
        if when.is_empty() {
            section.problem(
                "when",
                None,
                "no condition",
                "say whom it refuses; an empty refusal would refuse everybody",
            );
        } else {
            self.check_scope(&section, &conditions(&when));
        }
        let conditions = conditions(&when);
        report(&section, &when, &dangers::of_refusal(&conditions), &accepted);
        section.finish();
        Some(RefusalRule { name: name?, say: say?, when: conditions })
    }

    pub(super) fn rule(&mut self, mut section: Section<'_, '_>) -> Option<Rule> {
        let (name, accepted) = self.name(&mut section);
        let svids = read_svids(&mut section);
        let ttl = read_ttl(&mut section, self.ttl);
        let max_session = read_max_session(&mut section);
        let (kinds, audiences) = read_kinds(&mut section);
        let flags = ["build_claims", "jwt_without_key", "multi_audience", "observe"];
        let [build_claims, jwt_without_key, multi_audience, observe] =
            flags.map(|key| section.flag(key).unwrap_or(false));
        let path_only = section.text("path_only", "the reason why a path alone may decide here");
        let federates_with = read_federates_with(&mut section);
        let tags = read_tags(&mut section);
        let when = self.terms(&mut section, "when");
        let issuer = self.issuer(&section, &when);
        let needs = read_need(&mut section, self.sources(issuer.as_ref()));
        let unless = self.terms(&mut section, "unless");
        let (mut all, unless_terms) = (conditions(&when), conditions(&unless));
        self.check_scope(&section, &all);
        all.extend(Rule::implied_terms(&all, &unless_terms));
        let lines: Vec<_> = when.into_iter().chain(unless).collect();
        let complete = name.zip(issuer).zip(svids).zip(ttl);
        let rule = complete.map(|(((name, issuer), svids), ttl)| Rule {
            audiences,
            build_claims: build_claims.then(|| self.url_of(&issuer)),
            federates_with,
            issuer,
            jwt_without_key,
            kinds,
            max_session,
            multi_audience,
            name,
            needs,
            observe,
            path_only,
            svids,
            tags,
            ttl,
            unless: unless_terms,
            when: all,
        });
        if let Some(rule) = &rule {
            report(&section, &lines, &dangers::of_rule(rule), &accepted);
            report_contradiction(&section, &lines, rule);
        }
        section.finish();
        rule
    }

    /// The name, which all problems from here on show, and what is accepted under it.
    fn name(&mut self, section: &mut Section<'_, '_>) -> (Option<String>, Accepted) {
        let line = section.line_of("name");
        let name = section.text("name", "a name that the audit record can show");
        let name = name.or_else(|| section.missing("name", "write a name; the audit record shows it"));
        if let Some(name) = &name {
            section.call(name);
        }
        let accepted = read_accepted(section);
        if let Some(name) = &name {
            let place = Place { file: self.file, line: section.line(), accepted: accepted.clone() };
            if self.places.insert(name.clone(), place).is_some() {
                section.problem("name", line, format!("\"{name}\" again"), "give each rule a name of its own");
            }
        }
        (name, accepted)
    }

    fn terms(&self, section: &mut Section<'_, '_>, key: &'static str) -> Vec<(usize, Condition)> {
        let mut table = section.section(key);
        read_terms(&mut table, &self.lists)
    }

    fn check_scope(&self, section: &Section<'_, '_>, when: &[Condition]) {
        let Some(scope) = self.scope.as_ref().filter(|scope| !scope.holds(when)) else { return };
        section.problem(
            "when",
            None,
            format!(
                "can match outside the file's scope ({scope}), and would decide about jobs that are not this file's"
            ),
            format!("add a term such as {} to when itself, outside any and not", scope.example()),
        );
    }

    /// Where the issuer's GitLab is. A policy that is checked by itself does not know; it issues nothing either.
    fn url_of(&self, issuer: &IssuerName) -> String {
        self.known(issuer).map_or_else(|| format!("https://{issuer}"), |known| known.url.clone())
    }

    fn known(&self, issuer: &IssuerName) -> Option<&KnownIssuer> {
        self.issuers.iter().find(|known| known.name == *issuer)
    }

    /// Whom its needs can be put to.
    fn sources(&self, issuer: Option<&IssuerName>) -> Sources<'_> {
        match issuer.and_then(|issuer| self.known(issuer)) {
            Some(known) => Sources::Of(known),
            None if self.issuers.is_empty() => Sources::NotLookedAt,
            // That the rule's issuer is none has been told.
            None => Sources::OfNobody,
        }
    }

    /// Whose tokens the rule is for: one issuer, exactly, since ids and paths mean nothing beyond it.
    fn issuer(&self, section: &Section<'_, '_>, when: &[(usize, Condition)]) -> Option<IssuerName> {
        let known: Vec<&str> = self.issuers.iter().map(|known| &*known.name.0).collect();
        let named = when.iter().find_map(|(line, term)| match term {
            Condition::Claim { name, test, .. } if name == "issuer" => Some((*line, test)),
            Condition::All(_) | Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => None,
        });
        let remedy = match known.as_slice() {
            [] => "write the issuer's short name into when, such as issuer = \"corp\"".to_owned(),
            some => format!("write one of these into when, as issuer = \"…\": {}", some.join(", ")),
        };
        match named {
            Some((_, Test::Text(name))) if known.is_empty() || known.contains(&name.as_str()) => {
                Some(IssuerName(name.as_str().into()))
            }
            Some((line, test)) => {
                section.problem("when.issuer", Some(line), format!("\"{test}\", no configured issuer"), remedy);
                None
            }
            None => {
                let found = "nothing, and a project or an id of one GitLab is somebody else's in another";
                section.problem("when.issuer", None, found, remedy);
                None
            }
        }
    }
}

fn conditions(terms: &[(usize, Condition)]) -> Vec<Condition> {
    terms.iter().map(|(_, term)| term.clone()).collect()
}

/// Each danger at the line of the term that it lies in.
fn report(section: &Section<'_, '_>, terms: &[(usize, Condition)], dangers: &[Danger], accepted: &Accepted) {
    for danger in dangers {
        let line = line_of(terms, danger.claim);
        match danger.warning {
            None => section.problem(danger.claim, line, danger.why, danger.instead),
            Some(warning) if accepted.holds(warning) => {}
            Some(warning) => section.warning(danger.claim, line, danger.why, warning.or_accept(danger.instead)),
        }
    }
}

fn line_of(terms: &[(usize, Condition)], claim: &str) -> Option<usize> {
    let tests = |term: &Condition| term.tests().iter().any(|(name, ..)| *name == claim);
    terms.iter().find(|(_, term)| tests(term)).map(|(line, _)| *line)
}

fn report_contradiction(section: &Section<'_, '_>, terms: &[(usize, Condition)], rule: &Rule) {
    let Some(contradiction) = rule.contradiction() else { return };
    let found = format!("{contradiction}, so the rule can never match, and whom it was written for is refused");
    section.problem("when", line_of(terms, &contradiction.claim), found, "take one of the two out, or make two rules");
}
