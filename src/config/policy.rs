//! A policy file: from TOML to checked rules, with every problem at once.

use super::conditions::{Lists, read_terms};
use super::dangers::{self, Danger};
use super::problem::{Problem, read_text};
use super::quantity::SPAN_MAX;
use super::section::{Reader, Section};
use crate::crypto::Digest;
use crate::identity::IdTemplate;
use crate::policy::{Condition, Kind, Policy, ProfileTemplate, RefusalRule, Rule, Test};
use crate::token::IssuerName;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// An intermediate lives 24 h (design section 7), and no SVID outlives its signer.
pub(super) const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// The Rust client refuses a message with more (WAPI-37).
const SVIDS_MAX: usize = 100;
/// WAPI-15.
const HINT_BYTES_MAX: usize = 1024;
const NO_FACTS: &str =
    "this version has no source of facts yet, so a need could never be met; remove it, or keep the rule for later";

/// Reads and checks a policy file. `issuers` are names with their URLs; with none (a file checked by itself) any name
/// will do. `ttl` is for
/// rules that name none: the server's, or [`super::Lifetimes::SVID`] for a file checked by itself.
///
/// # Errors
/// Every problem of the file, by line.
pub fn load_policy(file: &Path, issuers: &[(IssuerName, String)], ttl: Duration) -> Result<Policy, Vec<Problem>> {
    let text = read_text(file, "name a file with rules that this user may read")?;
    read_policy(file, &text, (issuers, ttl))
}

fn read_policy(
    file: &Path,
    text: &str,
    (issuers, ttl): (&[(IssuerName, String)], Duration),
) -> Result<Policy, Vec<Problem>> {
    let reader = Reader::new(file, text);
    let mut root = reader.document();
    let lists = Lists::read(&mut root.section("lists"));
    let mut rules = Rules { issuers, lists, lines: BTreeMap::new(), ttl };
    let refusals: Vec<_> = root.sections("refuse").into_iter().map(|section| rules.refusal(section)).collect();
    let sections = root.sections("rule");
    if sections.is_empty() {
        root.problem("rule", None, "no rule", "add a [[rule]]; without one every job is refused");
    }
    let granting: Vec<_> = sections.into_iter().map(|section| rules.rule(section)).collect();
    root.finish();
    // Rules that were read are compared even where others have problems: all is said at once.
    let policy = Policy::new(
        refusals.into_iter().flatten().collect(),
        granting.into_iter().flatten().collect(),
        Digest::of(text.as_bytes()),
    );
    for shared in policy.as_ref().err().into_iter().flatten() {
        let line = rules.lines.get(&shared.second).copied().flatten();
        let only = |rule: &str, terms: &[String]| {
            let terms = if terms.is_empty() { "nothing more".to_owned() } else { terms.join(" and ") };
            format!("{rule:?} demands {terms}")
        };
        let (mine, theirs) = (only(&shared.first, &shared.only_first), only(&shared.second, &shared.only_second));
        let found = format!("id_shared_by_unequal_rules: {shared}: {mine}, {theirs}");
        let remedy = "put a literal of its own into the stricter rule's id, such as /{project_path}/-/environments/production/pipelines/{pipeline_id}";
        reader.report(line, "id".to_owned(), found, remedy.to_owned());
    }
    reader.settled(policy.ok())
}

struct Rules<'p> {
    issuers: &'p [(IssuerName, String)],
    lists: Lists,
    /// Where each rule begins, by name.
    lines: BTreeMap<String, Option<usize>>,
    /// Of rules that name none.
    ttl: Duration,
}

impl Rules<'_> {
    fn refusal(&mut self, mut section: Section<'_, '_>) -> Option<RefusalRule> {
        let name = self.name(&mut section);
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
        }
        let conditions: Vec<Condition> = when.iter().map(|(_, term)| term.clone()).collect();
        report(&section, &when, &dangers::of_refusal(&conditions));
        section.finish();
        Some(RefusalRule { name: name?, say: say?, when: conditions })
    }

    fn rule(&mut self, mut section: Section<'_, '_>) -> Option<Rule> {
        let name = self.name(&mut section);
        let svids = read_svids(&mut section);
        let ttl = read_ttl(&mut section, self.ttl);
        let max_session = section.duration("max_session", SPAN_MAX);
        let kinds = section.list("kinds", "\"x509\" or \"jwt\"", |text| match text {
            "jwt" => Ok(Kind::Jwt),
            "x509" => Ok(Kind::X509),
            _ => Err("no kind of SVID"),
        });
        let kinds = kinds.unwrap_or_else(|| vec![Kind::X509]);
        let audiences = section.list("audiences", "an audience, such as \"https://vault.corp.example\"", not_empty);
        let audiences = audiences.unwrap_or_default();
        if kinds.contains(&Kind::Jwt) && audiences.is_empty() {
            section.problem(
                "audiences",
                None,
                "nothing",
                "name whom JWT-SVIDs of this rule may be for; without it none can be had",
            );
        }
        let flags = ["build_claims", "jwt_without_key", "multi_audience", "observe"];
        let [build_claims, jwt_without_key, multi_audience, observe] =
            flags.map(|key| section.flag(key).unwrap_or(false));
        let path_only = section.text("path_only", "the reason why a path alone may decide here");
        if section.holds("need") {
            let line = section.line_of("need");
            section.problem("need", line, "a need", NO_FACTS);
        }
        section.skip("need");
        let when = self.terms(&mut section, "when");
        let issuer = self.issuer(&section, &when);
        let unless = self.terms(&mut section, "unless");
        let conditions = |terms: &[(usize, Condition)]| terms.iter().map(|(_, term)| term.clone()).collect::<Vec<_>>();
        let (mut all, unless_terms) = (conditions(&when), conditions(&unless));
        all.extend(Rule::implied_terms(&all, &unless_terms));
        let lines: Vec<_> = when.into_iter().chain(unless).collect();
        let complete = name.zip(issuer).zip(svids).zip(ttl);
        let rule = complete.map(|(((name, issuer), svids), ttl)| Rule {
            audiences,
            build_claims: build_claims.then(|| self.url_of(&issuer)),
            issuer,
            jwt_without_key,
            kinds,
            max_session,
            multi_audience,
            name,
            needs: Vec::new(),
            observe,
            path_only,
            svids,
            ttl,
            unless: unless_terms,
            when: all,
        });
        if let Some(rule) = &rule {
            report(&section, &lines, &dangers::of_rule(rule));
        }
        section.finish();
        rule
    }

    fn name(&mut self, section: &mut Section<'_, '_>) -> Option<String> {
        let line = section.line_of("name");
        let name = section.text("name", "a name that the audit record can show");
        let name = name.or_else(|| section.missing("name", "write a name; the audit record shows it"))?;
        if self.lines.insert(name.clone(), section.line()).is_some() {
            section.problem("name", line, format!("\"{name}\" again"), "give each rule a name of its own");
        }
        Some(name)
    }

    fn terms(&self, section: &mut Section<'_, '_>, key: &'static str) -> Vec<(usize, Condition)> {
        let mut table = section.section(key);
        read_terms(&mut table, &self.lists)
    }

    /// Where the issuer's GitLab is. A policy that is checked by itself does not know; it issues nothing either.
    fn url_of(&self, issuer: &IssuerName) -> String {
        let known = self.issuers.iter().find(|(name, _url)| name == issuer);
        known.map_or_else(|| format!("https://{issuer}"), |(_name, url)| url.clone())
    }

    /// Whose tokens the rule is for: one issuer, exactly, since ids and paths mean nothing beyond it.
    fn issuer(&self, section: &Section<'_, '_>, when: &[(usize, Condition)]) -> Option<IssuerName> {
        let known: Vec<&str> = self.issuers.iter().map(|(name, _url)| &*name.0).collect();
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
                section.problem("when.issuer", None, "nothing", remedy);
                None
            }
        }
    }
}

/// `id = …`, or `[[rule.svid]]` with a profile each.
fn read_svids(section: &mut Section<'_, '_>) -> Option<Vec<ProfileTemplate>> {
    let would_do = "a template, such as \"/{project_path}/-/pipelines/{pipeline_id}\"";
    let line = section.line_of("id");
    let id_given = section.holds("id");
    let id = section.parsed("id", would_do, IdTemplate::parse);
    let tables = section.sections("svid");
    if tables.is_empty() {
        if !id_given {
            section.problem("id", None, "nothing", format!("write {would_do}"));
        }
        return id.map(|id| vec![ProfileTemplate { profile: None, id }]);
    }
    if id_given {
        section.problem(
            "id",
            line,
            "an id beside [[rule.svid]]",
            "keep one: id for a single SVID, svid tables for several",
        );
    }
    let too_many = tables.get(SVIDS_MAX).map(Section::line);
    if let Some(line) = too_many {
        let remedy = format!("keep at most {SVIDS_MAX}: clients of the Workload API read no more");
        section.problem("svid", line, format!("{} SVIDs", tables.len()), remedy);
    }
    let mut svids: Vec<ProfileTemplate> = Vec::new();
    let mut whole = true;
    for mut table in tables {
        let profile = table.parsed("profile", "a name of at most 1024 bytes, such as \"linkerd\"", hint);
        let profile = profile.or_else(|| table.missing("profile", "name it; callers ask for it by that name"));
        let id = table.parsed("id", would_do, IdTemplate::parse);
        let id = id.or_else(|| table.missing("id", "write a template"));
        if svids.iter().any(|svid| profile.is_some() && svid.profile == profile) {
            table.problem("profile", None, "a profile's name again", "give each profile of a rule a name of its own");
        }
        match (profile, id) {
            (Some(profile), Some(id)) => svids.push(ProfileTemplate { profile: Some(profile), id }),
            _ => whole = false,
        }
        table.finish();
    }
    whole.then_some(svids)
}

/// A profile's name is the hint that workloads see (SPIFFE Workload API §5.2.1: at most 1024 bytes).
fn hint(text: &str) -> Result<String, &'static str> {
    match text.len() {
        0 => Err("empty"),
        1..=HINT_BYTES_MAX => Ok(text.to_owned()),
        _ => Err("too long"),
    }
}

fn read_ttl(section: &mut Section<'_, '_>, default: Duration) -> Option<Duration> {
    let line = section.line_of("ttl");
    let given = section.holds("ttl");
    let ttl = section.duration("ttl", TTL_MAX);
    if ttl.is_some_and(|ttl| ttl < Duration::from_secs(1)) {
        section.problem("ttl", line, "less than a second", "write \"15m\", or \"1h\" where a consumer cannot renew");
        return None;
    }
    if given { ttl } else { Some(default) }
}

/// Each danger at the line of the term that it lies in.
fn report(section: &Section<'_, '_>, terms: &[(usize, Condition)], dangers: &[Danger]) {
    for danger in dangers {
        let tests = |term: &Condition| term.tests().iter().any(|(name, ..)| *name == danger.claim);
        let line = terms.iter().find(|(_, term)| tests(term)).map(|(line, _)| *line);
        section.problem(danger.claim, line, danger.why, danger.instead);
    }
}

fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("empty") } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::super::Lifetimes;
    use super::*;
    use crate::identity::TrustDomain;
    use crate::policy::{Verdict, Wish};
    use crate::token::tests::claims_of;

    fn read(text: &str) -> Result<Policy, Vec<String>> {
        let problems = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
        read_policy(
            Path::new("policy.toml"),
            text,
            (&[(IssuerName("corp".into()), "https://gitlab.example".to_owned())], Lifetimes::SVID),
        )
        .map_err(problems)
    }

    /// `x509`, `x509 profile`, `jwt audience…`, `jwt-without-key audience…`
    fn wish(words: &str) -> Wish {
        let mut words = words.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("x509") => Wish::X509 { profile: words.next() },
            Some(jwt) => Wish::Jwt { profile: None, audiences: words.collect(), has_key: jwt == "jwt" },
            None => panic!("an ask without a kind"),
        }
    }

    /// The outcome in one line: the rule and ID, or the code of the denial.
    fn decide(policy: &Policy, sample: &str, changes: &[(String, serde_json::Value)], ask: &str) -> String {
        let claims = claims_of(sample, changes).unwrap_or_else(|error| panic!("{sample}: {error}"));
        let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
        let chosen = policy.choose(claims.claims());
        let walked = policy.walk(claims.claims(), &trust_domain);
        let matched = walked.rules.iter().find(|rule| rule.matches && !rule.observe).map(|rule| rule.name.clone());
        assert_eq!(chosen.as_ref().ok().map(|rule| &rule.name), matched.as_ref().filter(|_| chosen.is_ok()));
        let granted = chosen.and_then(|rule| rule.grant(&claims, &wish(ask), &trust_domain));
        match (granted, walked.verdict) {
            (Ok(grant), Verdict::Granted { .. }) => format!("granted by {}: {}", grant.rule(), grant.spiffe_id()),
            (Ok(_), Verdict::Denied { .. }) => "the walk denies what the rule grants".to_owned(),
            (Err(denial), _) => format!("denied: {}", denial.code()),
        }
    }

    /// Runs one case and counts its verdicts.
    fn run_case(policy: &Policy, title: &str, case: &str) -> usize {
        let mut lines = case.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (sample, mut ask, mut changes, mut verdicts) = (lines.next().unwrap(), "x509", Vec::new(), 0);
        for line in lines {
            match line.split_once(' ').unwrap() {
                ("ask", kind) => ask = kind,
                ("want", outcome) => {
                    assert_eq!(decide(policy, sample, &changes, ask), outcome, "{title} --- {case}");
                    verdicts += 1;
                }
                (claim, value) => changes.push((claim.to_owned(), serde_json::from_str(value).unwrap())),
            }
        }
        verdicts
    }

    /// Runs one table: policies, each followed by cases. The head of `core.txt` explains the form.
    fn run_table(table: &str) {
        for block in table.split("\n=== ").skip(1) {
            let (title, body) = block.split_once('\n').unwrap();
            let mut parts = body.split("\n--- ");
            let policy = read(parts.next().unwrap()).unwrap_or_else(|problems| panic!("{title}: {problems:#?}"));
            let verdicts: usize = parts.map(|case| run_case(&policy, title, case)).sum();
            assert!(verdicts > 0, "{title}: a policy without cases proves nothing");
        }
    }

    #[test]
    fn rules_decide_as_the_tables_say() {
        run_table(include_str!("../../tests/tables/policy/core.txt"));
        run_table(include_str!("../../tests/tables/policy/silence.txt"));
        run_table(include_str!("../../tests/tables/policy/deploys.txt"));
        run_table(include_str!("../../tests/tables/policy/limits.txt"));
    }

    #[test]
    fn an_id_that_shows_a_path_pins_it_without_case_to_its_project() {
        let pin = |id: &str| {
            let text = format!("[[rule]]\nname = \"a\"\nid = \"{id}\"\nwhen.issuer = \"corp\"");
            let claims = claims_of("path_case_changed", &[]).unwrap();
            let rule = read(&text).unwrap().choose(claims.claims()).unwrap();
            rule.grant(&claims, &wish("x509"), &TrustDomain::parse("ci.example.org").unwrap()).unwrap().pin().cloned()
        };
        let pinned = pin("/{project_path}/-/pipelines/{pipeline_id}").unwrap();
        assert_eq!((&*pinned.folded_path, pinned.project_id), ("acme/payments/ledger-api", 4711));
        assert_eq!(pin("/projects/{project_id}/-/pipelines/{pipeline_id}"), None);
    }

    #[test]
    fn where_no_rule_matches_the_nearest_is_named_with_the_term_that_failed() {
        let text = "[[rule]]\nname = \"far\"\nid = \"/a\"\nwhen = { issuer = \"corp\", project_id = 1, runner_id = 2 }\n\
            [[rule]]\nname = \"near\"\nid = \"/b\"\nwhen = { issuer = \"corp\", project_id = 4711, runner_id = 2 }";
        let claims = claims_of("deploy_production_protected", &[]).unwrap();
        let walk = read(text).unwrap().walk(claims.claims(), &TrustDomain::parse("ci.example.org").unwrap());
        assert!(matches!(&walk.verdict, Verdict::Denied { nearest: Some(name), .. } if name == "near"));
        let failed: Vec<_> = walk.rules[1].terms.iter().filter(|term| !term.passes).collect();
        assert_eq!((&*failed[0].claim, failed[0].got.as_deref(), &*failed[0].wanted), ("runner_id", Some("88"), "2"));
    }

    #[test]
    fn the_walk_tells_that_a_rule_is_not_for_forks() {
        let text = "[[rule]]\nname = \"a\"\nid = \"/{project_path}/-/a\"\nwhen.issuer = \"corp\"";
        let claims = claims_of("mr_fork_in_parent_fixed", &[]).unwrap();
        let walk = read(text).unwrap().walk(claims.claims(), &TrustDomain::parse("ci.example.org").unwrap());
        let [_issuer, term] = &*walk.rules[0].terms else { panic!("two terms, {:?}", walk.rules[0].terms) };
        assert_eq!((&*term.claim, &*term.wanted, term.got.as_deref()), ("fork", "false", Some("true")));
        assert!(term.implied && !term.passes);
    }

    #[test]
    fn each_flag_of_a_rule_is_itself_and_no_other() {
        for flag in ["build_claims", "jwt_without_key", "multi_audience", "observe", "none of them"] {
            let line = if flag.contains(' ') { String::new() } else { format!("{flag} = true\n") };
            let head = format!("[[rule]]\nname = \"a\"\nid = \"/{{project_path}}/-/a\"\n{line}");
            let policy = read(&format!("{head}when.issuer = \"corp\"\n")).unwrap();
            let rule = policy.rules().first().unwrap();
            let set = [
                ("build_claims", rule.build_claims.is_some()),
                ("jwt_without_key", rule.jwt_without_key),
                ("multi_audience", rule.multi_audience),
                ("observe", rule.observe),
            ];
            assert_eq!(set.map(|(name, is)| (name, is)), set.map(|(name, _)| (name, name == flag)), "{flag}");
        }
    }

    /// Shows: WAPI-14, WAPI-15.
    #[test]
    fn hints_differ_and_are_short() {
        let svid = |profile: &str, id: &str| {
            format!("[[rule.svid]]\nprofile = \"{profile}\"\nid = \"/{{project_path}}/-/{id}\"\n")
        };
        let policy = |a: &str, b: &str| {
            read(&format!("[[rule]]\nname = \"a\"\nwhen.issuer = \"corp\"\n{}{}", svid(a, "a"), svid(b, "b")))
        };
        policy(&"h".repeat(1024), "b").unwrap();
        for (a, b) in [(&*"h".repeat(1025), "b"), ("same", "same"), ("", "b")] {
            assert_eq!(policy(a, b).unwrap_err().len(), 1, "{a:?}, {b:?}");
        }
    }

    /// Shows: WAPI-37.
    #[test]
    fn a_rule_has_no_more_svids_than_a_client_reads() {
        let policy = |count: usize| {
            let svid = |n: usize| format!("[[rule.svid]]\nprofile = \"p{n}\"\nid = \"/{{project_path}}/-/p{n}\"\n");
            let svids: String = (0..count).map(svid).collect();
            read(&format!("[[rule]]\nname = \"a\"\nwhen.issuer = \"corp\"\n{svids}"))
        };
        assert_eq!(policy(100).unwrap().rules()[0].svids.len(), 100);
        let problems = policy(101).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("policy.toml:304") && problems[0].contains("101 SVIDs"), "{problems:?}");
    }

    /// Takes out the problem that is wanted as "line piece"; line 0 is the whole file.
    fn tick_off(problems: &mut Vec<String>, title: &str, wanted: &str) {
        let (line, piece) = wanted.split_once(' ').unwrap();
        let at = if line == "0" { "policy.toml: ".to_owned() } else { format!("policy.toml:{line}: ") };
        let told = problems.iter().position(|told| told.starts_with(&at) && told.contains(piece));
        problems.remove(told.unwrap_or_else(|| panic!("{title}: {wanted:?} is not in {problems:#?}")));
    }

    /// Blocks of a policy and, behind `---`, a piece of each problem that it must have, by line.
    #[test]
    fn every_problem_of_a_file_is_told_at_once_with_its_line() {
        for block in include_str!("../../tests/tables/policy/problems.txt").split("\n=== ").skip(1) {
            let (title, body) = block.split_once('\n').unwrap();
            let (text, wanted) = body.split_once("\n---\n").unwrap();
            let mut problems = read(text).expect_err(title);
            let wanted: Vec<&str> = wanted.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(problems.len(), wanted.len(), "{title}: {problems:#?}");
            for wanted in wanted {
                tick_off(&mut problems, title, wanted);
            }
        }
    }
}
