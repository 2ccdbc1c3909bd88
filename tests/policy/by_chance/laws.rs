//! What loads, and what it gives.

use super::chance::policy;
use super::checker::{Broken, broken_law};
use super::model::{Policy, Rule, Said, profile};
use super::plants::{Plant, with_a_shadowed_rule};
use super::templates::{can_meet, expand, holes, is_legal};
use super::tries::{Tally, load, try_all, words};
use super::world::{Known, jobs};
use lanyard::config::Problem;
use lanyard::identity::{IdTemplate, TrustDomain};
use lanyard::policy::{Answers, Policy as Loaded, Ruling, Verdict, Wish};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use std::collections::BTreeMap;

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("ci.example.org").unwrap()
}

#[test]
fn the_loader_and_the_laws_agree_on_which_policies_load() {
    let tally = Tally::default();
    try_all(2000, &policy(), |policy| {
        let (loaded, broken) = (load(&policy), broken_law(&policy));
        tally.count(match broken {
            None => "loaded",
            Some(Broken::Contradiction) => "contradict themselves",
            Some(Broken::IllegalTemplate) => "illegal",
            Some(Broken::Issuers) => "one beginning for two issuers",
            Some(Broken::ManyProjects) => "one ID for many projects",
            Some(Broken::UnequalDemands) => "one ID for unequal demands",
        });
        let said = loaded.as_ref().map_or_else(|problems| words(problems), |_| "it loads".to_owned());
        prop_assert_eq!(loaded.is_ok(), broken.is_none(), "{:?}; the loader: {}\n{}", broken, said, policy.text());
        Ok(())
    });
    tally.at_least(&[
        ("loaded", 1200),
        ("one ID for many projects", 20),
        ("one beginning for two issuers", 40),
        ("one ID for unequal demands", 40),
    ]);
}

#[test]
fn a_fault_planted_into_a_good_policy_is_found() {
    let tally = Tally::default();
    try_all(1000, &(policy(), select(Plant::ALL.to_vec())), |(good, plant)| {
        if broken_law(&good).is_some() {
            return Ok(());
        }
        let Some(bad) = plant.into(&good) else { return Ok(()) };
        tally.count(plant.name());
        let (law, piece) = plant.breaks();
        let problems = load(&bad).err().unwrap_or_default();
        prop_assert!(words(&problems).contains(piece), "{:?}: {}\n{}", plant, words(&problems), bad.text());
        prop_assert_eq!(broken_law(&bad), Some(law), "{}", bad.text());
        Ok(())
    });
    tally.at_least(&Plant::ALL.map(|plant| (plant.name(), 15)));
}

#[test]
fn a_rule_that_is_said_to_be_out_of_reach_decides_about_nobody() {
    let (tally, jobs) = (Tally::default(), jobs());
    try_all(300, &policy(), |policy| {
        let Ok(checked) = load(&policy) else { return Ok(()) };
        let Some(with_more) = with_a_shadowed_rule(&policy) else { return Ok(()) };
        let warned = load(&with_more).map_err(|problems| TestCaseError::fail(words(&problems)))?.warnings;
        prop_assert!(out_of_reach(&warned, "planted"), "{}\n{}", words(&warned), with_more.text());
        for rule in policy.rules.iter().filter(|rule| out_of_reach(&checked.warnings, &rule.name)) {
            tally.count("out of reach by chance");
            let decides =
                |known: &Known| matches!(policy.says(&known.job), Said::Granted(one) if one.name == rule.name);
            prop_assert!(!jobs.iter().any(decides), "{}: {}", rule.name, policy.text());
        }
        tally.count("out of reach");
        Ok(())
    });
    tally.at_least(&[("out of reach", 150), ("out of reach by chance", 10)]);
}

fn out_of_reach(warnings: &[Problem], rule: &str) -> bool {
    let named = format!("rule {rule:?}");
    warnings.iter().any(|warning| warning.found.contains("never reached") && warning.key == named)
}

#[test]
fn no_two_projects_ever_get_one_id_and_every_job_gets_what_the_rules_say() {
    let (tally, jobs) = (Tally::default(), jobs());
    try_all(400, &policy(), |policy| {
        let Ok(checked) = load(&policy) else { return Ok(()) };
        tally.count("loaded");
        let mut owners = BTreeMap::new();
        for known in &jobs {
            check_answers(&policy, &checked.policy, known, &mut owners)
                .map_err(|broken| TestCaseError::fail(format!("{broken}: {:?}\n{}", known.job, policy.text())))?;
            check_walk(&checked.policy, known)?;
            let granted = rulings(&checked.policy, known).iter().filter(|answer| answer.is_ok()).count();
            tally.count(if granted > 0 { "granted" } else { "refused" });
        }
        Ok(())
    });
    tally.at_least(&[("loaded", 200), ("granted", 5_000), ("refused", 5_000)]);
}

/// What a job is given is what the rules say, and nobody else's.
fn check_answers(
    policy: &Policy,
    loaded: &Loaded,
    known: &Known,
    owners: &mut BTreeMap<String, (String, u64)>,
) -> Result<(), TestCaseError> {
    for (wanted, given) in answers(policy, known).into_iter().zip(rulings(loaded, known)) {
        prop_assert_eq!(&wanted, &given);
        let Ok(id) = given else { continue };
        let owner = owners.entry(id).or_insert_with(|| known.project());
        prop_assert_eq!(&*owner, &known.project());
    }
    Ok(())
}

/// The default SVID, and the second where there are two: the ID, or the code of the no.
fn answers(policy: &Policy, known: &Known) -> [Result<String, String>; 2] {
    let of = |rule: &Rule, at: usize| {
        let id = rule.ids.get(at).ok_or("profile_unknown".to_owned())?;
        let path = expand(id, &known.job).ok_or("id_does_not_fit".to_owned())?;
        Ok(format!("spiffe://ci.example.org{path}"))
    };
    match policy.says(&known.job) {
        Said::Granted(rule) => [of(rule, 0), of(rule, 1)],
        Said::NoRule => ["no_rule_matches", "no_rule_matches"].map(|code| Err(code.to_owned())),
        Said::Refused => ["refused_by_rule", "refused_by_rule"].map(|code| Err(code.to_owned())),
    }
}

fn rulings(policy: &Loaded, known: &Known) -> [Result<String, String>; 2] {
    [None, Some(profile(1))].map(|profile| {
        let ruling = policy.rule_on((&known.claims, &Answers::NONE), &Wish::X509 { profile }, &trust_domain());
        match ruling {
            Ruling::Granted { spiffe_id, .. } => Ok(spiffe_id),
            Ruling::Denied { code, .. } => Err(code),
        }
    })
}

/// The walk says what the decision says, and marks as matching the rule that spoke.
fn check_walk(policy: &Loaded, known: &Known) -> Result<(), TestCaseError> {
    let (walk, ruling) = (
        policy.walk(&known.claims, &trust_domain()),
        policy.rule_on((&known.claims, &Answers::NONE), &Wish::X509 { profile: None }, &trust_domain()),
    );
    for rule in walk.refusals.iter().chain(&walk.rules) {
        prop_assert_eq!(rule.matches, rule.misses == 0);
    }
    prop_assert_eq!(&walk.clone().knowing_only(|_every| true), &walk);
    let part = policy.concerning(&known.claims);
    let asked = (&known.claims, &Answers::NONE);
    prop_assert_eq!(&part.rule_on(asked, &Wish::X509 { profile: None }, &trust_domain()), &ruling);
    match (&walk.verdict, &ruling) {
        (Verdict::Granted { rule, spiffe_id, .. }, Ruling::Granted { rule: same, spiffe_id: same_id, .. }) => {
            prop_assert_eq!((rule, spiffe_id), (same, same_id));
            let first = walk.rules.iter().find(|one| one.matches && !one.observe);
            prop_assert_eq!(first.map(|one| &one.name), Some(rule));
        }
        (Verdict::Denied { code, .. }, Ruling::Denied { code: same, .. }) => prop_assert_eq!(code, same),
        other => prop_assert!(false, "{:?}", other),
    }
    Ok(())
}

/// Texts that are templates, and texts that nearly are.
fn template() -> impl Strategy<Value = String> {
    let segment = select(vec![
        "{project_path}",
        "{namespace_path}",
        "{project_id}",
        "{pipeline_id}",
        "{job_id}",
        "-",
        "-",
        "a",
        "7",
        "x7",
        "acme",
        "{project_id}-{pipeline_id}",
        "{project_id}7{job_id}",
        "p{project_id}",
        "{pipeline_id}7",
        "ns",
        "sa",
        "SA",
        "lanyard",
        "..",
        "a b",
        "{ref}",
        "{project_id",
        "x{project_path}",
        "",
    ]);
    prop::collection::vec(segment, 1..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

#[test]
fn what_is_a_template_and_what_two_of_them_can_give_is_agreed_on() {
    let (tally, jobs) = (Tally::default(), jobs());
    try_all(2000, &(template(), template()), |(one, other)| {
        let read = IdTemplate::parse(&one);
        prop_assert_eq!(read.is_ok(), is_legal(&one), "{}: {:?}", one, read);
        tally.count(if read.is_ok() { "legal" } else { "illegal" });
        if !is_legal(&one) || !is_legal(&other) {
            return Ok(());
        }
        let mut named = BTreeMap::new();
        for known in &jobs {
            let shown: Vec<_> = holes(&one).into_iter().map(|hole| known.job.get(hole)).collect();
            let first = named.entry(expand(&one, &known.job).unwrap()).or_insert_with(|| shown.clone());
            prop_assert_eq!(first, &shown, "{} gives one ID for different claims", one);
        }
        tally.count(if can_meet(&one, &other) { "meet" } else { "never meet" });
        Ok(())
    });
    tally.at_least(&[("legal", 200), ("illegal", 700), ("meet", 3), ("never meet", 30)]);
}
