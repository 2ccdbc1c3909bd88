//! What is found by index is what a look at every rule finds, on policies and claims of chance.

use super::*;
use crate::crypto::Digest;
use crate::identity::{IdTemplate, TrustDomain};
use crate::token::{Claims, IssuerName};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const PATHS: [&str; 6] = ["acme/api", "acme/pay/api", "acme/pay/web", "acme-2/api", "board/api", "acme/pay"];
const PATTERNS: [&str; 9] =
    ["acme/**", "acme/*", "acme/pay/*", "ac*/api", "**/api", "acme/pay*", "board/**", "a/b/c/d/e/f/g/h/i/j/*", "*"];

fn claims(issuer: &str, path: &str, (project, namespace): (u64, u64), fork: bool) -> Claims {
    let payload = json!({
        "iss": "https://gitlab.example.com", "jti": "j", "sub": format!("project_path:{path}:ref_type:branch:ref:main"),
        "project_id": project.to_string(), "project_path": path, "namespace_id": namespace.to_string(),
        "namespace_path": path.rsplit_once('/').unwrap().0, "pipeline_id": "3", "job_id": "4", "pipeline_source": "push",
        "job_project_id": if fork { "99".to_owned() } else { project.to_string() }, "ref": path,
    });
    Claims::unproven(payload.to_string().as_bytes(), IssuerName(issuer.into())).unwrap()
}

pub(super) fn some_claims() -> impl Strategy<Value = Claims> {
    let issuer = prop::sample::select(vec!["corp", "other"]);
    (issuer, prop::sample::select(PATHS.to_vec()), (1..5_u64, 1..3_u64), any::<bool>())
        .prop_map(|(issuer, path, ids, fork)| claims(issuer, path, ids, fork))
}

fn some_test() -> impl Strategy<Value = Test> {
    let one = prop_oneof![
        any::<bool>().prop_map(Test::Bool),
        (1..5_u64).prop_map(Test::Id),
        prop::sample::select(PATHS.to_vec()).prop_map(|text| Test::Text(text.to_owned())),
        prop::sample::select(PATTERNS.to_vec()).prop_map(|text| Test::Glob(Glob::parse(text))),
        prop::sample::select(PATTERNS.to_vec()).prop_map(|text| Test::Prefix(text.trim_end_matches('*').to_owned())),
    ];
    let some =
        prop::collection::vec(one.clone(), 0..4).prop_map(|tests| Test::OneOf { list: None, tests: tests.into() });
    prop_oneof![3 => one, 1 => some]
}

pub(super) fn some_condition() -> impl Strategy<Value = Condition> {
    let names = vec!["project_id", "project_path", "namespace_id", "namespace_path", "fork", "ref", "runner_id"];
    let claim = (prop::sample::select(names), some_test()).prop_map(|(name, test)| Condition::Claim {
        name: name.to_owned(),
        test,
        implied: false,
    });
    claim.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::Any),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
}

fn issuer_term(issuer: &str) -> Condition {
    Condition::Claim { name: "issuer".to_owned(), test: Test::Text(issuer.to_owned()), implied: false }
}

fn some_when() -> impl Strategy<Value = Vec<Condition>> {
    (prop::sample::select(vec!["corp", "other", ""]), prop::collection::vec(some_condition(), 0..3)).prop_map(
        |(issuer, mut when)| {
            when.extend((!issuer.is_empty()).then(|| issuer_term(issuer)));
            when
        },
    )
}

fn rule(name: String, issuer: &str, observe: bool, (when, unless): (Vec<Condition>, Vec<Condition>)) -> Rule {
    let id = format!("/{issuer}/{{project_path}}/-/{name}");
    let gives = Gives {
        audiences: Vec::new(),
        build_claims: None,
        claims: ExtraClaims::default(),
        federates_with: Vec::new(),
        jwt_without_key: false,
        kinds: vec![Kind::X509],
        max_session: None,
        multi_audience: false,
        svids: vec![ProfileTemplate { profile: None, id: IdTemplate::parse(&id).unwrap() }],
        tags: Vec::new(),
        ttl: Duration::from_secs(900),
    };
    Rule {
        gives: Arc::new(gives),
        issuer: IssuerName(issuer.into()),
        name,
        needs: Vec::new(),
        observe,
        path_only: None,
        unless: unless.into(),
        when: when.into(),
    }
}

/// A rule for everything of issuer `corp`.
pub(crate) fn a_rule() -> Rule {
    rule("a".to_owned(), "corp", false, (vec![issuer_term("corp")], Vec::new()))
}

/// A rule for all jobs of an issuer.
pub(crate) fn rule_for(issuer: &str, id: &str) -> Rule {
    let mut rule = rule("all".to_owned(), issuer, false, (vec![issuer_term(issuer)], Vec::new()));
    Arc::make_mut(&mut rule.gives).svids = vec![ProfileTemplate { profile: None, id: IdTemplate::parse(id).unwrap() }];
    rule
}

fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let issuer = prop::sample::select(vec!["corp", "other"]);
    let unless = prop::collection::vec(some_condition(), 0..2);
    let one = (issuer, prop::bool::weighted(0.3), prop::collection::vec(some_condition(), 0..3), unless);
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let each = all.into_iter().enumerate().map(|(at, (issuer, observe, mut when, unless))| {
            when.push(issuer_term(issuer));
            rule(format!("r{at}"), issuer, observe, (when, unless))
        });
        each.collect()
    })
}

fn some_refusals() -> impl Strategy<Value = Vec<RefusalRule>> {
    prop::collection::vec(some_when(), 0..3).prop_map(|all| {
        let each = all.into_iter().enumerate();
        each.map(|(at, when)| RefusalRule { name: format!("no{at}"), say: "no".to_owned(), when: when.into() })
            .collect()
    })
}

/// What a look at every rule finds: the rule that speaks or the refusal, and the rules on trial before it.
fn linear(policy: &Policy, claims: &Claims) -> (Result<String, String>, Vec<String>) {
    if let Some(refusal) = policy.refusals().iter().find(|refusal| refusal.matches(claims)) {
        return (Err(refusal.name.clone()), Vec::new());
    }
    let matching = || policy.rules().iter().filter(|rule| rule.matches(claims));
    let speaks = matching().find(|rule| !rule.observe).map(|rule| rule.name.clone());
    let on_trial = matching().take_while(|rule| rule.observe).map(|rule| rule.name.clone());
    (speaks.ok_or_else(String::new), on_trial.collect())
}

fn indexed(policy: &Policy, claims: &Claims) -> (Result<String, String>, Vec<String>) {
    let refused = |denial| if let Denial::RefusedByRule { rule, .. } = denial { rule } else { String::new() };
    let chosen = policy.choose(claims).map(|rule| rule.name.clone()).map_err(refused);
    (chosen, policy.on_trial(claims).map(|rule| rule.name.clone()).collect())
}

proptest! {
    #[test]
    fn the_index_decides_as_a_look_at_every_rule_does(
        refusals in some_refusals(), rules in some_rules(), claims in some_claims(),
    ) {
        let policy = Policy::new(refusals, rules, Digest::of(b"")).unwrap();
        prop_assert_eq!(indexed(&policy, &claims), linear(&policy, &claims));
        let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
        let part = policy.concerning(&claims);
        prop_assert_eq!(
            part.walk(&claims, &trust_domain).for_bearer(),
            policy.walk(&claims, &trust_domain).for_bearer()
        );
    }
}

#[test]
fn a_request_of_the_past_is_not_decided_again_by_facts_that_nobody_asked_for() {
    let mut needing = a_rule();
    needing.needs = vec![Need::Fact { name: "job.state", wanted: Wanted::OneOf(vec!["running".to_owned()]) }];
    let policy = Policy::new(Vec::new(), vec![needing], Digest::of(b"")).unwrap();
    let (claims, mut replay) = (claims("corp", "g7/api", (7, 7), false), Replay::default());
    let said = |answer| [("job.state".into(), answer)].into_iter().collect::<Answers>();
    let away = Answer::Unavailable { why: "away".to_owned(), retry_after: None };
    assert!(!replay.knows_facts((&claims, &Answers::NONE), &policy));
    assert!(replay.knows_facts((&claims, &said(away)), &policy), "that it was away then is known");
    assert!(replay.knows_facts((&claims, &said(Answer::No("gone".to_owned()))), &policy));
    assert_eq!(replay.without_facts, 1);
    let asks_nothing = Policy::new(Vec::new(), vec![a_rule()], Digest::of(b"")).unwrap();
    assert!(replay.knows_facts((&claims, &Answers::NONE), &asks_nothing));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_rule_that_is_said_to_be_out_of_reach_is_never_reached(
        refusals in some_refusals(), rules in some_rules(), jobs in prop::collection::vec(some_claims(), 12),
    ) {
        let covered = find_covered(&refusals, &rules);
        let never: Vec<Rule> = rules.iter().filter(|rule| rule.contradiction().is_some()).cloned().collect();
        let policy = Policy::new(refusals, rules, Digest::of(b"")).unwrap();
        for claims in &jobs {
            let matching = never.iter().find(|rule| rule.matches(claims));
            prop_assert!(matching.is_none(), "{:?} matches, and contradicts itself", matching);
            let Ok(rule) = policy.choose(claims) else { continue };
            let said = covered.iter().find(|covered| covered.rule == rule.name);
            prop_assert!(said.is_none(), "{:?} decides about {:?}", said, claims);
        }
    }
}

fn exactly(name: &str, test: Test) -> Condition {
    Condition::Claim { name: name.to_owned(), test, implied: false }
}

/// Ten rules a project, each with what else it demands in its ID.
pub(super) fn rules_of_projects(projects: u64, pin: impl Fn(u64) -> Condition) -> Vec<Rule> {
    let of_project = |project: u64| {
        let pinned = pin(project);
        (0..10).map(move |at| {
            let environment = exactly("environment", Test::Text(format!("e{at}")));
            let when = vec![issuer_term("corp"), pinned.clone(), environment];
            let mut one = rule(format!("p{project}-{at}"), "corp", false, (when, Vec::new()));
            let id = format!("/{{project_path}}/-/environments/e{at}/pipelines/{{pipeline_id}}");
            Arc::make_mut(&mut one.gives).svids =
                vec![ProfileTemplate { profile: None, id: IdTemplate::parse(&id).unwrap() }];
            one
        })
    };
    (0..projects).flat_map(of_project).collect()
}

#[test]
fn rules_of_other_projects_are_not_looked_at() {
    let paths = |project: u64| Test::Text(format!("g{project}/api"));
    let folders = |project: u64| Test::Glob(Glob::parse(&format!("g{project}/**")));
    let pins: [Box<dyn Fn(u64) -> Condition>; 5] = [
        Box::new(|project| exactly("project_id", Test::Id(project))),
        Box::new(move |project| exactly("project_path", paths(project))),
        Box::new(move |project| exactly("project_path", folders(project))),
        Box::new(move |project| exactly("namespace_id", Test::Id(project))),
        Box::new(move |project| {
            let tests: Arc<[Test]> = Arc::new([paths(project), Test::Text("h/api".to_owned())]);
            Condition::Any(vec![
                exactly("project_path", Test::OneOf { list: None, tests }),
                exactly("project_id", Test::Id(project)),
            ])
        }),
    ];
    for pin in pins {
        for (projects, looked_at) in [(1, 0), (8, 10), (1000, 10)] {
            let policy = Policy::new(Vec::new(), rules_of_projects(projects, &pin), Digest::of(b"")).unwrap();
            let claims = claims("corp", "g7/api", (7, 7), false);
            assert_eq!(policy.rules_for(&claims).count(), looked_at, "{:?}", pin(7));
        }
    }
}

/// Rules of few templates and few demands, so that many of them meet.
fn some_granting() -> impl Strategy<Value = Vec<Rule>> {
    let ids = vec![
        "/{project_path}/-/a",
        "/{project_path}/-/{pipeline_id}",
        "/{project_path}/-/x-{pipeline_id}",
        "/{project_path}/-/7",
        "/acme/api/-/a",
        "/acme/{project_id}/-/a",
        "/{namespace_path}/-/a",
        "/projects/{project_id}/-/a",
        "/projects/{project_id}/-/{pipeline_id}",
    ];
    let fixed = (prop::sample::select(vec!["project_path", "project_id", "ref"]), some_test());
    let one = (prop::sample::subsequence(ids, 1..3), fixed, any::<bool>(), prop::bool::weighted(0.1));
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let each = all.into_iter().enumerate().map(|(at, (ids, (name, test), more, observe))| {
            let mut when = vec![issuer_term("corp"), exactly(name, test)];
            when.extend(more.then(|| exactly("ref_protected", Test::Bool(true))));
            let mut one = rule(format!("r{at}"), "corp", observe, (when, Vec::new()));
            let svid =
                |id: &&str| ProfileTemplate { profile: Some((*id).to_owned()), id: IdTemplate::parse(id).unwrap() };
            Arc::make_mut(&mut one.gives).svids = ids.iter().map(svid).collect();
            one
        });
        each.collect()
    })
}

proptest! {
    #[test]
    fn the_same_pairs_of_unlike_rules_are_found_as_by_comparing_all(rules in some_granting()) {
        prop_assert_eq!(shared_ids::find(&rules), shared_ids::find_among_all_pairs(&rules));
    }
}
