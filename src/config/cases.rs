//! Cases kept beside a policy: `policy.toml` has its cases in `policy.cases.toml`, so that a case never changes the
//! policy's digest.

use super::problem::read_text;
use super::reader::Reader;
use super::section::Section;
use super::svids::TTL_MAX;
use super::words::an;
use super::{KnownIssuer, Problem};
use crate::policy::{Answer, Answers, Case, Expected, KNOWN_FACTS, Policy, Wish};
use crate::token::{Claims, IssuerKind, IssuerName, KNOWN_CLAIMS};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Where a policy's cases stand.
pub fn cases_file(policy: &Path) -> PathBuf {
    policy.with_extension("cases.toml")
}

/// Reads cases. Those that name no issuer are of the only one that the policy speaks of; an issuer that is not among those
/// known is a GitLab.
///
/// # Errors
/// Every problem of the file, by line.
pub fn load_cases(file: &Path, policy: &Policy, known: &[KnownIssuer]) -> Result<Vec<Case>, Vec<Problem>> {
    let text = read_text(file, "keep cases beside the rules, or name their file with --cases")?;
    let reader = Reader::new(file, &text);
    let mut root = reader.document();
    let mut usual = root.section("claims");
    let usual = claims_in(&mut usual);
    let issuers: BTreeSet<_> = policy.rules().iter().map(|rule| &rule.issuer).collect();
    let only = (issuers.len() == 1).then(|| issuers.first().map(|name| (*name).clone())).flatten();
    let sections = root.sections("case");
    if sections.is_empty() {
        root.problem("case", None, "no case", "add a [[case]]: a file without one shows nothing");
    }
    let mut names = BTreeSet::new();
    let mut cases = Vec::new();
    for section in sections {
        let line = section.line();
        let Some(case) = read_case(section, &usual, (only.as_ref(), known)) else { continue };
        if !names.insert(case.name.clone()) {
            root.problem("case", line, format!("a second case \"{}\"", case.name), "give each case a name of its own");
        }
        cases.push(case);
    }
    root.finish();
    reader.settled(Some(cases))
}

fn read_case(
    mut section: Section<'_, '_>,
    usual: &Map<String, Value>,
    (only, known): (Option<&IssuerName>, &[KnownIssuer]),
) -> Option<Case> {
    let name = section.text("name", "what the case shows");
    let name = name.or_else(|| section.missing("name", "name what the case shows"));
    let issuer = section.text("issuer", "the name that rules give the issuer").map(|name| IssuerName(name.into()));
    let issuer = issuer
        .or_else(|| only.cloned())
        .or_else(|| section.missing("issuer", "name the issuer; the policy speaks of several"));
    let kind = known.iter().find(|known| Some(&known.name) == issuer.as_ref()).map(|known| known.kind);
    let claims = read_claims(&mut section, usual, (issuer, kind.unwrap_or_default()));
    let facts = read_facts(&mut section.section("facts"));
    let wish = read_wish(&mut section);
    let expected = read_expected(&mut section);
    let rule = section.text("rule", "the name of the rule that must speak");
    section.finish();
    Some(Case { name: name?, claims: claims?, facts, wish: wish?, expected: expected?, rule })
}

/// The payload of the case's file, or else the file's usual claims, with the case's own over them.
fn read_claims(
    section: &mut Section<'_, '_>,
    usual: &Map<String, Value>,
    (issuer, kind): (Option<IssuerName>, IssuerKind),
) -> Option<Claims> {
    let line = section.line_of("claims").or_else(|| section.line_of("claims_file")).or_else(|| section.line());
    let (payload, mut claims) = match (section.holds("claims_file"), section.file("claims_file")) {
        // What other kinds tell stands there for other cases.
        (false, _) => (Map::new(), usual.iter().filter(|(name, _)| can_be_of(kind, name)).map(owned).collect()),
        (true, None) => return None,
        (true, Some((_, bytes))) => {
            let Ok(Value::Object(claims)) = serde_json::from_slice(&bytes) else {
                section.problem("claims_file", line, "no JSON object", "name a file with a token's payload");
                return None;
            };
            // A GitLab's own names are those that rules use.
            if kind == IssuerKind::GitLab { (Map::new(), claims) } else { (claims, Map::new()) }
        }
    };
    claims.extend(claims_in(&mut section.section("claims")));
    let remedy = match kind {
        IssuerKind::GitHub | IssuerKind::GitLab => {
            "write a job's claims, at least project_id, project_path and namespace_id"
        }
        IssuerKind::Kubernetes | IssuerKind::Okta | IssuerKind::Operators | IssuerKind::Spiffe | IssuerKind::Zuul => {
            "write a bearer's claims by the names that rules use, at least project_path"
        }
    };
    let issuer = issuer?;
    let payload = Claims::sample(kind, payload, claims)
        .map_err(|name| format!("{name}, which no token of issuer {issuer} ({}) has", kind.as_str()));
    let claims =
        payload.and_then(|payload| Claims::unproven_of(kind, &payload, issuer).map_err(|error| error.to_string()));
    claims.map_err(|found| section.problem("claims", line, found, remedy)).ok()
}

/// Whether a claim may stand in a case of this kind, or is of no kind and so a mistake.
fn can_be_of(kind: IssuerKind, name: &str) -> bool {
    kind.claim_kind(name).is_some() || !KNOWN_CLAIMS.contains(&name)
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// What other systems say of the job: a fact's value, or `{ no = "why" }` and `{ unavailable = "why" }`.
fn read_facts(section: &mut Section<'_, '_>) -> Answers {
    let mut facts = Vec::new();
    for (line, name, value) in section.entries() {
        let names = KNOWN_FACTS.map(|(known, _)| known);
        let Some(fact) = names.into_iter().find(|known| *known == name) else {
            section.problem(&format!("{name:?}"), Some(line), "no fact", format!("facts are: {}", names.join(", ")));
            continue;
        };
        let Some(answer) = to_json(value.get_ref()).and_then(answer) else {
            let remedy = "write what it is, or { no = \"why\" } or { unavailable = \"why\" }";
            section.problem(&format!("{name:?}"), Some(line), an(value.get_ref()), remedy);
            continue;
        };
        facts.push((fact.into(), answer));
    }
    facts.into_iter().collect()
}

fn answer(value: Value) -> Option<Answer> {
    let why = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match (why("no"), why("unavailable")) {
        (Some(why), None) => Some(Answer::No(why)),
        (None, Some(why)) => Some(Answer::Unavailable { why, retry_after: None }),
        (Some(_), Some(_)) => None,
        (None, None) => serde_json::from_value(value).ok().map(Answer::Is),
    }
}

fn claims_in(section: &mut Section<'_, '_>) -> Map<String, Value> {
    let mut claims = Map::new();
    for (line, name, value) in section.entries() {
        match to_json(value.get_ref()) {
            Some(value) => {
                claims.insert(name, value);
            }
            None => {
                section.problem(&name, Some(line), an(value.get_ref()), "write a text, a number, a truth or a list");
            }
        }
    }
    claims
}

fn to_json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Integer(number) => Value::Number(u64::from_str_radix(number.as_str(), number.radix()).ok()?.into()),
        DeValue::Array(list) => Value::Array(list.iter().map(|one| to_json(one.get_ref())).collect::<Option<_>>()?),
        DeValue::Table(table) => Value::Object(object(table)?),
        DeValue::Datetime(_) | DeValue::Float(_) => return None,
    })
}

fn object(table: &DeTable<'_>) -> Option<Map<String, Value>> {
    table.iter().map(|(key, value)| Some((key.get_ref().clone().into_owned(), to_json(value.get_ref())?))).collect()
}

fn read_wish(section: &mut Section<'_, '_>) -> Option<Wish> {
    let is_jwt = section.parsed("wish", "\"x509\" or \"jwt\"", |text| match text {
        "jwt" => Ok(true),
        "x509" => Ok(false),
        _ => Err("no kind of SVID"),
    });
    let profile = section.text("profile", "one of the rule's profiles");
    if is_jwt != Some(true) {
        for key in ["audiences", "with_key"] {
            if section.holds(key) {
                section.problem(key, section.line_of(key), "a JWT-SVID's", "say wish = \"jwt\", or remove it");
            }
        }
        section.skip("audiences");
        section.skip("with_key");
        return Some(Wish::X509 { profile });
    }
    let audiences = section.list("audiences", "whom the JWT-SVID is for", |text| Ok::<_, String>(text.to_owned()));
    let audiences = audiences.or_else(|| section.missing("audiences", "say whom the JWT-SVID is for"))?;
    let has_key = section.flag("with_key").unwrap_or(true);
    Some(Wish::Jwt { profile, audiences, has_key })
}

fn read_expected(section: &mut Section<'_, '_>) -> Option<Expected> {
    let is_id = |text: &str| if text.starts_with(['/', 's']) { Ok(text.to_owned()) } else { Err("no path") };
    let id = section.parsed("id", "a SPIFFE ID, or its path from the first slash on", is_id);
    let code = section.text("refused", "the code of a refusal, such as \"no_rule_matches\"");
    let ttl = section.duration("ttl", TTL_MAX);
    match (id, code) {
        (Some(id), None) => Some(Expected::Granted { id, ttl }),
        (None, Some(code)) if ttl.is_none() => Some(Expected::Refused { code }),
        (None, Some(_)) => {
            section.problem("ttl", None, "a span beside a refusal", "remove it: who is refused gets nothing");
            None
        }
        (Some(_), Some(_)) => {
            section.problem("refused", None, "both an id and a refusal", "keep the one that is wanted");
            None
        }
        (None, None) => section.missing("id", "say what is wanted: an id, or refused with its code"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Lifetimes, check_policy};
    use super::*;
    use crate::identity::TrustDomain;

    const POLICY: &str = r#"
[[rule]]
name = "while it runs"
id = "/{project_path}/-/running/pipelines/{pipeline_id}"
when = { issuer = "corp", project_id = 7 }
need = { "job.state" = "running" }
"#;

    const SAMPLE: &str = r#"{
        "project_id": "7", "project_path": "acme/api", "namespace_id": "72", "pipeline_id": "574", "ref": "main"
    }"#;

    fn judged(cases: &str) -> Result<Vec<String>, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let (policy, file) = (folder.path().join("policy.toml"), folder.path().join("policy.cases.toml"));
        std::fs::write(folder.path().join("sample.json"), SAMPLE).unwrap();
        std::fs::write(folder.path().join("list.json"), "[]").unwrap();
        std::fs::write(&policy, POLICY).unwrap();
        std::fs::write(&file, cases).unwrap();
        let checked = check_policy(&policy, &[], Lifetimes::SVID).unwrap();
        assert!(checked.warnings[0].found.contains("was not checked"), "{:?}", checked.warnings);
        let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
        let judge = |case: &Case| {
            let judged = case.judge(&checked.policy, &trust_domain);
            format!("{} {}", judged.got, judged.decided_by.unwrap_or_default())
        };
        Ok(load_cases(&file, &checked.policy, &[])?.iter().map(judge).collect())
    }

    fn with(facts: &str) -> String {
        let claims = "project_id = 7, project_path = \"acme/api\", namespace_id = 72";
        format!("[[case]]\nname = \"a\"\nrefused = \"x\"\n{facts}\nclaims = {{ {claims} }}\n")
    }

    #[test]
    fn a_case_takes_its_claims_from_a_file_with_its_own_on_top() {
        let with = |lines: &str| {
            let case = "[[case]]\nname = \"a\"\nrefused = \"x\"\nfacts = { \"job.state\" = \"running\" }";
            judged(&format!("[claims]\nref_type = 7\n{case}\n{lines}\n"))
        };
        let got = |lines: &str| with(&format!("claims_file = \"sample.json\"\n{lines}")).unwrap().remove(0);
        assert!(got("").contains("/acme/api/-/running/pipelines/574"), "{}", got(""));
        assert!(got("claims.pipeline_id = 575").contains("/acme/api/-/running/pipelines/575"));
        assert!(got("claims.project_id = 8").contains("no_rule_matches"));
        for (file, told) in [("list.json", "no JSON object"), ("nowhere.json", "nowhere.json")] {
            let problems = with(&format!("claims_file = \"{file}\"")).unwrap_err();
            assert!(problems.len() == 1 && problems[0].line == Some(7), "{problems:?}");
            assert!(problems[0].found.contains(told), "{problems:?}");
        }
    }

    #[test]
    fn a_case_says_what_other_systems_say() {
        let got = |facts: &str| judged(&with(facts)).unwrap().remove(0);
        assert!(got("facts = { \"job.state\" = \"running\" }").contains("/acme/api/-/running/pipelines/1"));
        for (facts, told) in [
            ("facts = { \"job.state\" = \"success\" }", ["need_failed", "job.state is success"]),
            ("facts = { \"job.state\" = { no = \"another job\" } }", ["need_failed", "another job"]),
            ("facts = { \"job.state\" = { unavailable = \"down\" } }", ["fact_unavailable", "(down)"]),
            ("", ["fact_unavailable", "job.state was not asked for"]),
        ] {
            let got = got(facts);
            assert!(told.iter().all(|part| got.contains(part)), "{facts}: {got}");
        }
    }

    #[test]
    fn what_no_system_says_is_a_problem_of_the_case() {
        for (facts, told) in [
            ("facts = { \"job.status\" = \"running\" }", "no fact"),
            ("facts = { \"job.state\" = { perhaps = \"x\" } }", "a table"),
            ("facts = { \"job.state\" = { no = \"x\", unavailable = \"y\" } }", "a table"),
            ("facts = \"running\"", "a string"),
        ] {
            let problems = judged(&with(facts)).unwrap_err();
            assert!(problems.len() == 1 && problems[0].found.contains(told), "{facts}: {problems:?}");
        }
    }
}
