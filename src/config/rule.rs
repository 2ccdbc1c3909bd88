//! One table of a policy file: from TOML to a checked rule or refusal.

use super::accept::{Accepted, read_accepted};
use super::claim_model::Danger;
use super::claims::{read_claims, report_untold};
use super::conditions::{Lists, read_terms};
use super::dangers;
use super::issuer::KnownIssuer;
use super::limits::{read_federates_with, read_kinds, read_max_session, read_tags};
use super::long_ids::report_long_ids;
use super::need::{Sources, read_need};
use super::scope::Scope;
use super::section::Section;
use super::svids::{read_svids, read_ttl};
use super::untold::{Asked, report_untold_of_rule, tested};
use super::words::key;
use crate::policy::{AwsTemplate, Condition, Contradiction, Gives, Kind, Once, RefusalRule, Rule, Terms, Test};
use crate::token::{ClaimView, IssuerName};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// As a person reads it in one line.
const NAME_BYTES_MAX: usize = 200;

/// Where a rule stands, and which warnings about it are accepted there.
#[derive(Debug)]
pub(super) struct Place {
    /// Counts the files.
    pub(super) file: usize,
    pub(super) line: Option<usize>,
    /// What problems call it.
    pub(super) key: String,
    pub(super) accepted: Accepted,
}

/// What a file's rules are read with.
#[derive(Debug)]
pub(super) struct Rules<'p> {
    pub(super) issuers: &'p [KnownIssuer],
    /// Of rules that name none.
    pub(super) ttl: Duration,
    pub(super) files: &'p [(PathBuf, String)],
    /// Which of them this is.
    pub(super) file: usize,
    pub(super) lists: Lists,
    pub(super) scope: Option<Scope>,
    /// Of all files, by name.
    pub(super) places: &'p mut BTreeMap<String, Place>,
    /// Of all files too.
    pub(super) known: &'p mut Known,
}

/// What rules have in common, each held once.
#[derive(Debug, Default)]
pub(super) struct Known {
    gives: Once<Gives>,
    terms: Once<Condition>,
}

impl Known {
    fn terms(&mut self, terms: Vec<Condition>) -> Terms {
        terms.into_iter().map(|term| self.terms.keep(term)).collect()
    }
}

impl Rules<'_> {
    pub(super) fn refusal(&mut self, mut section: Section<'_, '_>) -> Option<RefusalRule> {
        let (name, accepted) = self.name(&mut section);
        let say = section.text("say", "what the refused job should read, and do");
        let say = say.or_else(|| section.missing("say", "write what the refused job should read, and do"));
        let lines = self.terms(&mut section, "when");
        let when = conditions(&lines);
        if when.is_empty() {
            section.problem(
                "when",
                None,
                "no condition",
                "say whom it refuses; an empty refusal would refuse everybody",
            );
        } else {
            self.check_scope(&section, &when);
        }
        self.check_issuers(&section, "when", &lines);
        let concerned: Vec<_> = self.issuers.iter().filter(|issuer| concerns(&when, issuer)).collect();
        for issuer in &concerned {
            Asked::by_refusal(issuer).report(&section, "when", tested(&lines));
        }
        let kinds: Vec<_> = concerned.iter().map(|issuer| issuer.kind).collect();
        report(&section, &lines, &dangers::of_refusal(&when, &kinds), &accepted);
        report_contradiction(&section, &lines, Contradiction::find::<&[Condition]>(&when, &[]), REFUSAL);
        self.keep(name.as_ref(), &section, accepted);
        section.finish();
        Some(RefusalRule { name: name?, say: say?, when: self.known.terms(when) })
    }

    pub(super) fn rule(&mut self, mut section: Section<'_, '_>) -> Option<Rule> {
        let (name, accepted) = self.name(&mut section);
        let idle = IDLE.map(|key| section.line_of(key));
        let svids = read_svids(&mut section);
        let ttl = read_ttl(&mut section, self.ttl);
        let max_session = read_max_session(&mut section);
        let (kinds, audiences) = read_kinds(&mut section);
        let flags = ["build_claims", "jwt_without_key", "multi_audience", "observe"];
        let [build_claims, jwt_without_key, multi_audience, observe] =
            flags.map(|key| section.flag(key).unwrap_or(false));
        let claims = read_claims(&mut section);
        let path_only = section.text("path_only", "the reason why a path alone may decide here");
        let federates_with = read_federates_with(&mut section);
        let tags = read_tags(&mut section);
        let when = self.terms(&mut section, "when");
        let issuer = self.issuer(&section, &when);
        let needs = read_need(&mut section, self.sources(issuer.as_ref()));
        let unless = self.terms(&mut section, "unless");
        let nested: Vec<_> =
            when.iter().filter(|(_, term)| !matches!(term, Condition::Claim { .. })).cloned().collect();
        self.check_issuers(&section, "when", &nested);
        self.check_issuers(&section, "unless", &unless);
        let (mut all, unless_terms) = (conditions(&when), conditions(&unless));
        self.check_scope(&section, &all);
        all.extend(Rule::implied_terms(&all, &unless_terms));
        let lines: Vec<_> = when.iter().chain(&unless).cloned().collect();
        let complete = name.clone().zip(issuer).zip(svids).zip(ttl);
        let rule = complete.map(|(((name, issuer), svids), ttl)| {
            let gives = Gives {
                audiences,
                build_claims: build_claims.then(|| self.url_of(&issuer)),
                claims,
                federates_with,
                jwt_without_key,
                kinds,
                max_session,
                multi_audience,
                svids,
                tags,
                ttl,
            };
            let (unless, when) = (self.known.terms(unless_terms), self.known.terms(all));
            Rule { gives: self.known.gives.keep(gives), issuer, name, needs, observe, path_only, unless, when }
        });
        if let Some(rule) = &rule {
            let kind = self.issuer_called(&rule.issuer).map(|issuer| issuer.kind).unwrap_or_default();
            if let Some(issuer) = self.issuer_called(&rule.issuer) {
                report_untold_of_rule(&section, rule, issuer, [&when, &unless]);
            }
            report(&section, &lines, &dangers::of_rule(rule, kind), &accepted);
            report_long_ids(&section, rule, &accepted);
            report_idle(&section, idle, rule);
            report_untold(&section, rule);
            report_contradiction(&section, &lines, rule.contradiction(), RULE);
        }
        self.keep(name.as_ref(), &section, accepted);
        section.finish();
        rule
    }

    /// The name, which all problems from here on show, and what is accepted under it.
    fn name(&self, section: &mut Section<'_, '_>) -> (Option<String>, Accepted) {
        let line = section.line_of("name");
        let name = section.text("name", "a name that the audit record can show");
        let name = name.or_else(|| section.missing("name", "write a name; the audit record shows it"));
        if let Some(name) = &name {
            section.call(name);
        }
        if let Some(long) = name.as_ref().filter(|name| name.len() > NAME_BYTES_MAX) {
            let remedy =
                format!("keep at most {NAME_BYTES_MAX} bytes: refusals and each entry of the journal repeat it");
            section.problem("name", line, format!("{} bytes", long.len()), remedy);
        }
        if let Some(first) = name.as_ref().and_then(|name| self.places.get(name)) {
            let file = self.files.get(first.file).and_then(|(file, _)| file.file_name()).unwrap_or_default();
            let at = first.line.map(|line| format!(":{line}")).unwrap_or_default();
            let found = format!("{:?} again, after {}{at}", name.as_deref().unwrap_or_default(), file.display());
            section.problem("name", line, found, "give each rule a name of its own");
        }
        (name, read_accepted(section))
    }

    fn keep(&mut self, name: Option<&String>, section: &Section<'_, '_>, accepted: Accepted) {
        let Some(name) = name else { return };
        let place = Place { file: self.file, line: section.line(), key: section.key_path("accept"), accepted };
        self.places.insert(name.clone(), place);
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

    /// A name that no issuer has would be false for ever: a refusal would refuse nobody, an `unless` let in.
    fn check_issuers(&self, section: &Section<'_, '_>, part: &str, terms: &[(usize, Condition)]) {
        let known = self.issuer_names();
        if known.is_empty() {
            return;
        }
        let tests =
            terms.iter().flat_map(|(line, term)| term.tests().into_iter().map(|(name, test, _)| (*line, name, test)));
        for (line, _, test) in tests.filter(|(_, name, _)| *name == "issuer") {
            for odd in dangers::odd_ones(test, &known) {
                let remedy = format!("write one of these: {}", known.join(", "));
                let found = format!("\"{odd}\", no configured issuer");
                section.problem(&format!("{part}.issuer"), Some(line), found, remedy);
            }
        }
    }

    fn issuer_names(&self) -> Vec<&str> {
        self.issuers.iter().map(|known| &*known.name.0).collect()
    }

    /// Where the issuer's GitLab is. A policy that is checked by itself does not know; it issues nothing either.
    fn url_of(&self, issuer: &IssuerName) -> String {
        self.issuer_called(issuer).map_or_else(|| format!("https://{issuer}"), |known| known.url.clone())
    }

    fn issuer_called(&self, issuer: &IssuerName) -> Option<&KnownIssuer> {
        self.issuers.iter().find(|known| known.name == *issuer)
    }

    /// Whom its needs can be put to.
    fn sources(&self, issuer: Option<&IssuerName>) -> Sources<'_> {
        match issuer.and_then(|issuer| self.issuer_called(issuer)) {
            Some(known) => Sources::Of(known),
            None if self.issuers.is_empty() => Sources::NotLookedAt,
            // That the rule's issuer is none has been told.
            None => Sources::OfNobody,
        }
    }

    /// Whose tokens the rule is for: one issuer, exactly, since ids and paths mean nothing beyond it.
    fn issuer(&self, section: &Section<'_, '_>, when: &[(usize, Condition)]) -> Option<IssuerName> {
        let known = self.issuer_names();
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
                let name = IssuerName(name.as_str().into());
                Some(self.issuer_called(&name).map(|known| known.name.clone()).unwrap_or(name))
            }
            Some((line, Test::Text(name))) => {
                section.problem("when.issuer", Some(line), format!("\"{name}\", no configured issuer"), remedy);
                None
            }
            Some((line, _)) => {
                section.problem("when.issuer", Some(line), "not one name, and a rule is for one issuer", remedy);
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

/// Whether a refusal of these terms can be for an issuer's bearers: only a term of its own keeps one out.
fn concerns(when: &[Condition], issuer: &KnownIssuer) -> bool {
    let keeps_out = |term: &Condition| match term {
        Condition::Claim { name, test, .. } => name == "issuer" && !test.holds(ClaimView::Text(&issuer.name.0)),
        Condition::All(_) | Condition::Any(_) | Condition::Not(_) => false,
    };
    !when.iter().any(keeps_out)
}

fn conditions(terms: &[(usize, Condition)]) -> Vec<Condition> {
    terms.iter().map(|(_, term)| term.clone()).collect()
}

/// Each danger at the line of the term that it lies in.
fn report(section: &Section<'_, '_>, terms: &[(usize, Condition)], dangers: &[Danger], accepted: &Accepted) {
    for danger in dangers {
        let (line, key) = (line_of(terms, danger.claim), key(danger.claim));
        match danger.warning {
            None => section.problem(&key, line, danger.why, danger.instead),
            Some(warning) if accepted.answers(warning) => {}
            Some(warning) => section.warning(&key, line, danger.why, warning.or_accept(danger.instead)),
        }
    }
}

fn line_of(terms: &[(usize, Condition)], claim: &str) -> Option<usize> {
    let tests = |term: &Condition| term.tests().iter().any(|(name, ..)| *name == claim);
    terms.iter().find(|(_, term)| tests(term)).map(|(line, _)| *line)
}

/// What can never match, and what comes of it.
const RULE: (&str, &str) = ("rule", "whom it was written for is refused");
const REFUSAL: (&str, &str) = ("refusal", "whom it was written against passes");

fn report_contradiction(
    section: &Section<'_, '_>,
    terms: &[(usize, Condition)],
    contradiction: Option<Contradiction>,
    (what, harm): (&str, &str),
) {
    let Some(contradiction) = contradiction else { return };
    let found = format!("{contradiction}, so the {what} can never match, and {harm}");
    let remedy = format!("take one of the two out, or make two {what}s");
    section.problem("when", line_of(terms, &contradiction.claim), found, remedy);
}

/// Keys that may be without effect.
const IDLE: [&str; 7] =
    ["audiences", "jwt_without_key", "multi_audience", "claims", "aws", "build_claims", "path_only"];

/// What a rule says to no effect, so that whoever reads it believes what is not so.
fn report_idle(section: &Section<'_, '_>, lines: [Option<usize>; IDLE.len()], rule: &Rule) {
    let [no_jwt, no_x509] = [Kind::Jwt, Kind::X509].map(|kind| !rule.gives.kinds.contains(&kind));
    let idle = [
        no_jwt && !rule.gives.audiences.is_empty(),
        no_jwt && rule.gives.jwt_without_key,
        no_jwt && rule.gives.multi_audience,
        no_jwt && rule.gives.claims.names().next().is_some(),
        no_jwt && rule.gives.claims.aws != AwsTemplate::default(),
        no_x509 && rule.gives.build_claims.is_some(),
        rule.path_only.is_some() && dangers::path_that_decides_alone(rule).is_none(),
    ];
    for ((key, line), _) in IDLE.into_iter().zip(lines).zip(idle).filter(|(_, idle)| *idle) {
        let (found, remedy) = match key {
            "build_claims" => {
                ("without effect, because the rule grants no X.509-SVIDs", "add \"x509\" to kinds, or remove it")
            }
            "path_only" => (
                "a reason for what is not so: no path decides alone here, and one that came to would pass unseen",
                "remove it",
            ),
            _ => ("without effect, because the rule grants no JWT-SVIDs", "add \"jwt\" to kinds, or remove it"),
        };
        section.warning(key, line, found, remedy);
    }
}
