//! Policies of chance. Most of them load: rules usually have a word of their own in their IDs, as people write them.

use super::model::{Policy, Refusal, Rule, Table, Term, Wanted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Words that rules put into their IDs; some read like numbers, or like the words of others.
const WORDS: [&str; 8] = ["a", "b", "production", "7", "x7", "v", "w", "a-7"];
const LAYOUTS: [(u32, &str); 7] = [
    (60, "{project_path}"),
    (20, "projects/{project_id}"),
    (6, "{namespace_path}/-/{project_id}"),
    (4, "x/{project_path}"),
    (3, "p{project_id}"),
    (3, "acme/api"),
    (2, "{namespace_path}"),
];
const ENDINGS: [&str; 6] =
    ["", "/pipelines/{pipeline_id}", "/jobs/{job_id}", "/{pipeline_id}", "-{pipeline_id}", "/{pipeline_id}-{job_id}"];

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    // Rules of two issuers meet, unless each issuer has a word of its own.
    let issuers = prop_oneof![7 => Just((false, false)), 3 => Just((true, true)), 1 => Just((true, false))];
    let rules = prop::collection::vec(rule(), 1..7);
    (issuers, rules, prop::collection::vec(refusal(), 0..3)).prop_map(|((several, told_apart), rules, refusals)| {
        let refusals = refusals.into_iter().enumerate().map(|(at, when)| Refusal { name: format!("no{at}"), when });
        let rules = rules.into_iter().enumerate().map(|(at, sketch)| {
            let word = if sketch.lonely { WORDS.get(at) } else { WORDS.get(sketch.word) };
            sketch.drawn(&format!("r{at}"), word.unwrap_or(&WORDS[0]), several, told_apart)
        });
        Policy { refusals: refusals.collect(), rules: rules.collect() }
    })
}

/// A rule, before it is known where it stands.
#[derive(Clone, Debug)]
struct Sketch {
    lonely: bool,
    word: usize,
    second_issuer: bool,
    observe: bool,
    ids: Vec<(&'static str, &'static str)>,
    when: Table,
    unless: Table,
}

impl Sketch {
    fn drawn(self, name: &str, word: &str, several: bool, told_apart: bool) -> Rule {
        let Self { second_issuer, observe, ids, mut when, unless, .. } = self;
        let issuer = if several && second_issuer { "other" } else { "corp" };
        let head = if told_apart { format!("/{issuer}") } else { String::new() };
        let ids: Vec<_> = ids.iter().map(|(layout, ending)| format!("{head}/{layout}/-/{word}{ending}")).collect();
        if !ids.iter().all(|id| id.contains("{project_"))
            && !when.iter().any(|term| term.claims().contains(&"project_id"))
        {
            when.push(Term::Is("project_id", Wanted::Ids(vec![7])));
        }
        Rule { name: name.to_owned(), issuer, when, unless, ids, observe }
    }
}

fn rule() -> impl Strategy<Value = Sketch> {
    let place = (prop::bool::weighted(0.75), 0..WORDS.len(), any::<bool>(), prop::bool::weighted(0.12));
    (place, ids(), (whose(), demands(), joint()), unless()).prop_map(
        |((lonely, word, second_issuer, observe), ids, (whose, demands, joint), unless)| {
            let when = [whose, demands, joint].concat();
            Sketch { lonely, word, second_issuer, observe, ids, when, unless }
        },
    )
}

/// One template, or two; those of one rule usually name the project in one way.
fn ids() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let layout = || {
        proptest::strategy::Union::new_weighted(LAYOUTS.iter().map(|(weight, text)| (*weight, Just(*text))).collect())
    };
    let endings = subsequence(ENDINGS.to_vec(), 2);
    (layout(), layout(), prop::bool::weighted(0.1), prop::bool::weighted(0.3), endings).prop_map(
        |(first, other, mixed, two, endings)| {
            let layouts = [first, if mixed { other } else { first }];
            layouts.into_iter().zip(endings).take(if two { 2 } else { 1 }).collect()
        },
    )
}

/// Which projects. A pattern for paths stands beside the namespace's id, as the loader wants it.
fn whose() -> impl Strategy<Value = Table> {
    let paths = vec!["acme/api", "acme/**", "acme/*", "**/7", "*/api", "projects/7", "x/**"];
    let ids = |claim, ids: Vec<u64>| {
        let most = ids.len();
        subsequence(ids, 1..=most).prop_map(move |some| Term::Is(claim, Wanted::Ids(some)))
    };
    let texts = subsequence(paths, 1..3).prop_map(|some| Term::Is("project_path", Wanted::Texts(some)));
    prop_oneof![
        4 => Just(Vec::new()),
        2 => ids("project_id", vec![7, 11, 17, 1, 77]).prop_map(|one| vec![one]),
        2 => ids("namespace_id", vec![1, 2, 3]).prop_map(|one| vec![one]),
        3 => (texts, ids("namespace_id", vec![1, 2, 3, 4])).prop_map(|(path, space)| vec![path, space]),
    ]
}

/// What a job must be beside.
fn demands() -> impl Strategy<Value = Table> {
    let environment = [
        Term::Is("environment", Wanted::Texts(vec!["production"])),
        Term::Is("environment_protected", Wanted::Bool(true)),
    ];
    let seldom = |terms: &[Term]| {
        let terms = terms.to_vec();
        prop::bool::weighted(0.2).prop_map(move |is| if is { terms.clone() } else { Vec::new() })
    };
    let users = || subsequence(vec![1, 2, 3], 1..=3).prop_map(|ids| vec![Term::Is("user_id", Wanted::Ids(ids))]);
    let seen = || {
        let texts = subsequence(vec!["private", "p*", "public"], 1..3);
        texts.prop_map(|texts| vec![Term::Is("project_visibility", Wanted::Texts(texts))])
    };
    let all = (
        seldom(&[Term::Is("ref_protected", Wanted::Bool(true))]),
        seldom(&environment),
        prop_oneof![4 => Just(Vec::new()), 1 => users()],
        prop_oneof![5 => Just(Vec::new()), 1 => seen()],
    );
    all.prop_map(|(protected, environment, users, seen)| [protected, environment, users, seen].concat())
}

/// Terms of several claims.
fn joint() -> impl Strategy<Value = Table> {
    let tag = || Term::Is("ref_type", Wanted::Texts(vec!["tag"]));
    let level = || Term::Is("user_access_level", Wanted::Texts(vec!["maintainer", "owner"]));
    let hosted = || Term::Is("runner_environment", Wanted::Texts(vec!["gitlab-*"]));
    let runner = || Term::Is("runner_id", Wanted::Ids(vec![7, 11, 1]));
    prop_oneof![
        6 => Just(Vec::new()),
        1 => Just(vec![Term::Any(vec![vec![tag()], vec![level(), runner()]])]),
        1 => Just(vec![Term::Not(vec![hosted()])]),
        1 => Just(vec![Term::Not(vec![Term::All(vec![vec![tag()], vec![Term::Not(vec![level()])]])])]),
        1 => Just(vec![Term::All(vec![vec![runner()], vec![Term::Any(vec![vec![tag()], vec![level()]])]])]),
    ]
}

fn unless() -> impl Strategy<Value = Table> {
    let bots = || Term::Is("actor.kind", Wanted::Texts(vec!["*_token", "service_account"]));
    let public = || Term::Is("environment", Wanted::Texts(vec!["staging", "prod*"]));
    prop_oneof![
        6 => Just(Vec::new()),
        2 => Just(vec![bots()]),
        1 => Just(vec![Term::Any(vec![vec![bots()], vec![Term::Is("ref_type", Wanted::Texts(vec!["tag"]))]])]),
        1 => Just(vec![public()]),
    ]
}

fn refusal() -> impl Strategy<Value = Table> {
    let issuer = select(vec!["corp", "other"]).prop_map(|name| Term::Is("issuer", Wanted::Texts(vec![name])));
    let whom = select(vec![
        Term::Is("actor.kind", Wanted::Texts(vec!["*_token"])),
        Term::Is("fork", Wanted::Bool(true)),
        Term::Is("namespace_id", Wanted::Ids(vec![2])),
        Term::Is("project_path", Wanted::Texts(vec!["acme/pay/**", "x/*/api"])),
        Term::Not(vec![Term::Is("ref_protected", Wanted::Bool(true))]),
    ]);
    (prop::option::of(issuer), whom).prop_map(|(issuer, whom)| issuer.into_iter().chain([whom]).collect())
}
