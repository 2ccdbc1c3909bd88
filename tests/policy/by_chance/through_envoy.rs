//! A sample of what is rendered by chance, loaded into one real Envoy: it admits whom the rule grants, and our own account of
//! its matching, by which thousands more are judged, is its own.
//!
//! `LANYARD_SAMPLE_SEED=…` tries a sample again.
#![expect(clippy::disallowed_methods, reason = "a seed comes from the real environment")]

use super::chance::policy;
use super::meshes::{Case, Granted, STRANGERS, TOLD, granted, hold, known};
use super::real_envoy::RealEnvoy;
use super::tries::{Tally, load};
use super::world::{Known as Job, jobs};
use crate::meshes::hostile::{envoy, trust_domain};
use crate::meshes::matching::{Shown, envoy_admits};
use lanyard::mesh::{Admitted, Callers, Known, Mesh};
use lanyard::policy::Rule;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often each kind of matcher is sampled.
const OF_EACH_KIND: usize = 12;
const KINDS: [&str; 3] = ["exact", "prefix", "safe_regex"];
/// Policies that are tried for them: expressions are seldom.
const POLICIES_MAX: usize = 4000;
/// Jobs of each sampled rule's policy that are put through: the rule's own, and others.
const OWN: usize = 4;
const OTHERS: usize = 8;

/// One rule as it was rendered, with jobs of its policy.
struct Sampled<'j> {
    rule: Arc<Rule>,
    known: Known,
    admitted: Vec<Admitted>,
    bootstrap: Value,
    granted: Vec<Granted<'j>>,
    near_misses: Vec<String>,
}

impl Sampled<'_> {
    fn rules(&self) -> &Value {
        let manager = &self.bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
        &manager["typed_config"]["http_filters"][0]["typed_config"]["rules"]
    }

    /// The kind of matcher that it has most of a right to stand for.
    fn kind(&self) -> usize {
        let text = self.rules().to_string();
        KINDS.iter().rposition(|kind| text.contains(&format!("\"{kind}\":"))).unwrap()
    }

    fn uris(&self) -> impl Iterator<Item = &String> {
        self.granted.iter().flat_map(|one| &one.ids).chain(&self.near_misses)
    }
}

fn runner() -> (TestRunner, u64) {
    let seed = match std::env::var("LANYARD_SAMPLE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_unset) => TestRunner::default().rng().next_u64(),
    };
    let bytes = [seed.to_le_bytes(); 4].concat();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    (TestRunner::new_with_rng(ProptestConfig::default(), rng), seed)
}

fn drawn<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// Names that look like this one and are not.
fn near_misses(uri: &str) -> Vec<String> {
    let other = |from: &str, to: &str| uri.replacen(from, to, 1);
    let mut shorter = uri.to_owned();
    shorter.pop();
    let all = [
        format!("{uri}x"),
        format!("{uri}/x"),
        format!("{uri}/"),
        format!("{uri}0"),
        format!("{uri}\n"),
        format!("x\n{uri}"),
        format!("x{uri}"),
        shorter,
        uri.to_uppercase(),
        uri.rsplit_once('/').unwrap().0.to_owned(),
        other("ci.example.org", "ci-example.org"),
        other("ci.example.org", "ci.example.org.evil.example"),
        other("ci.example.org", "evil.example/ci.example.org"),
        other("ci.example.org/", "ci.example.org/x/"),
        other("/-/", "/x/"),
        other("/-/", "/-/x/-/"),
        other("/-/", "-/-/"),
        other("/-/", "//-/"),
        other("/-/", "%2F-/"),
        other("acme", "acm"),
        other("acme", "acme-2"),
        other("7", "07"),
        other("7", "8"),
    ];
    all.into_iter().filter(|name| name != uri).collect()
}

/// Of a policy of chance, whatever of it is wanted still.
fn take<'j>(
    wanted: &mut [usize; 3],
    runner: &mut TestRunner,
    jobs: &'j [Job],
    project: &Job,
    sample: &mut Vec<Sampled<'j>>,
) {
    let Ok(checked) = load(&drawn(&policy(), runner)) else { return };
    let (told, trust_domain) = (drawn(&select(TOLD.to_vec()), runner), trust_domain());
    for rule in checked.policy.rules() {
        let known = known(told, jobs, rule, project);
        let mesh = Mesh::Envoy;
        let callers =
            Callers { policy: &checked.policy, trust_domain: &trust_domain, known: &known, mesh: &mesh, profile: None };
        let Ok(admitted) = callers.of(std::slice::from_ref(&rule.name)) else { continue };
        let (own, others): (Vec<_>, Vec<_>) =
            granted(&checked.policy, jobs).into_iter().partition(|one| one.rule.name == rule.name);
        let some = |from: Vec<Granted<'j>>, most: usize, runner: &mut TestRunner| {
            let places: Vec<usize> = (0..from.len()).collect();
            let places = drawn(&subsequence(places, most.min(from.len())), runner);
            places.into_iter().map(|place| from[place].clone()).collect::<Vec<_>>()
        };
        let own = some(own, OWN, runner);
        let Some(first) = own.iter().flat_map(|one| &one.ids).next() else { continue };
        let near_misses = drawn(&subsequence(near_misses(first), OWN), runner);
        let granted = own.into_iter().chain(some(others, OTHERS, runner)).collect();
        let bootstrap = envoy(&admitted);
        let one = Sampled { rule: Arc::clone(rule), known, admitted, bootstrap, granted, near_misses };
        if wanted[one.kind()] > 0 {
            wanted[one.kind()] -= 1;
            sample.push(one);
        }
    }
}

/// Shows: MESH-E5.
#[test]
fn a_sample_of_rendered_patterns_admits_in_a_real_envoy_whom_its_rule_grants_and_nobody_else() {
    let (mut runner, seed) = runner();
    println!("LANYARD_SAMPLE_SEED={seed}");
    let jobs = jobs();
    let corp: Vec<Job> = jobs.iter().filter(|job| job.project().0 == "corp").cloned().collect();
    let (mut wanted, mut sample) = ([OF_EACH_KIND; 3], Vec::new());
    for _policy in 0..POLICIES_MAX {
        let project = drawn(&select(corp.clone()), &mut runner);
        take(&mut wanted, &mut runner, &jobs, &project, &mut sample);
        if wanted == [0; 3] {
            break;
        }
    }
    assert_eq!(wanted, [0; 3], "too few of {KINDS:?}: the generator has gone blind");

    let rules: Vec<Value> = sample.iter().map(|one| one.rules().clone()).collect();
    let runtime = sample.iter().map(|one| &one.bootstrap["layered_runtime"]).find(|runtime| runtime.is_object());
    let judge = RealEnvoy::of(&rules, runtime.unwrap());
    let strangers = STRANGERS.map(str::to_owned);
    let uris: BTreeSet<&String> = sample.iter().flat_map(Sampled::uris).chain(&strangers).collect();
    let verdicts: BTreeMap<&String, Vec<bool>> = uris.into_iter().map(|uri| (uri, judge.admits(uri))).collect();

    let tally = Tally::default();
    for (number, one) in sample.iter().enumerate() {
        for (uri, verdicts) in &verdicts {
            let ours = envoy_admits(&one.bootstrap, Shown { uri, first_name: uri });
            assert_eq!(verdicts[number], ours, "seed {seed}: {uri:?} by {}", one.rules());
            tally.count(if ours { "let in" } else { "turned away" });
        }
        assert!(strangers.iter().all(|uri| !verdicts[uri][number]), "seed {seed}: {}", one.rules());
        let case = Case { rule: &one.rule, known: &one.known, admitted: &one.admitted };
        let comes_in = |granted: &Granted<'_>| granted.ids.iter().any(|uri| verdicts[uri][number]);
        hold(&tally, case, &one.granted, comes_in).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    println!("{} patterns, {} names", sample.len(), verdicts.len());
    for (what, least) in [("let in", 50), ("turned away", 5000), ("admitted", 40), ("kept out", 100)] {
        assert!(tally.of(what) >= least, "only {} {what}: the generator has gone blind", tally.of(what));
    }
}
