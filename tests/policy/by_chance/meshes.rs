//! What meshes admit by the rendered rules of any policy: nobody for whom the rule would not speak.

use super::chance::policy;
use super::model::AUDIENCE;
use super::tries::{Tally, load, try_all};
use super::world::{Known as Job, jobs};
use crate::meshes::hostile::{envoy, istio, linkerd, trust_domain, vault};
use crate::meshes::matching::{
    Shown, envoy_admits, istio_admits, istio_reads_a_namespace, linkerd_admits, vault_admits,
};
use lanyard::mesh::{Admitted, Callers, DnsFirst, Known, Mesh, Project, VaultLogin};
use lanyard::policy::{Answers, Policy, Rule, Ruling, Wish};
use lanyard::svid::{DnsNames, DnsSuffix, LeafProfile, SanOrder};
use lanyard::token::Claims;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use serde_json::Value;
use std::sync::Arc;

/// What whoever renders knows beside the rules.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Groups,
    Nothing,
    Project,
}

pub(super) const TOLD: [Told; 3] = [Told::Groups, Told::Nothing, Told::Project];

/// A job, the rule that speaks for it, and what its certificates show.
#[derive(Clone, Debug)]
pub(super) struct Granted<'j> {
    job: &'j Job,
    pub(super) rule: Arc<Rule>,
    pub(super) ids: Vec<String>,
}

fn dns() -> LeafProfile {
    let names = DnsNames { suffix: DnsSuffix::parse("jobs.example.org").unwrap(), order: SanOrder::DnsFirst };
    LeafProfile { dns: Some(names), ..LeafProfile::default() }
}

pub(super) fn granted<'j>(policy: &Policy, jobs: &'j [Job]) -> Vec<Granted<'j>> {
    let of = |job: &'j Job| {
        let rule = policy.choose(&job.claims).ok()?;
        let profiles = rule.gives.svids.iter().map(|svid| svid.profile.clone());
        let asked = profiles
            .map(|profile| policy.rule_on((&job.claims, &Answers::NONE), &Wish::X509 { profile }, &trust_domain()));
        let ids = asked.filter_map(|ruling| match ruling {
            Ruling::Granted { spiffe_id, .. } => Some(spiffe_id),
            Ruling::Denied { .. } => None,
        });
        Some(Granted { job, ids: ids.collect(), rule: Arc::clone(&rule) })
    };
    jobs.iter().filter_map(of).collect()
}

pub(super) fn known(told: Told, jobs: &[Job], rule: &Rule, project: &Job) -> Known {
    let own: Vec<&Job> = jobs.iter().filter(|job| job.claims.issuer == rule.issuer).collect();
    let namespace = |job: &&Job| {
        let path = job.claims.project_path.rsplit_once('/').unwrap().0.to_owned();
        (job.claims.namespace_id, path)
    };
    match told {
        Told::Groups => Known { groups: own.iter().map(namespace).collect(), ..Known::default() },
        Told::Nothing => Known::default(),
        // Of another issuer's projects it would not be true.
        Told::Project if project.claims.issuer != rule.issuer => Known::default(),
        Told::Project => {
            let claims = &project.claims;
            let one = Project { id: Some(claims.project_id), path: Some(claims.project_path.clone()) };
            Known { projects: vec![one], groups: own.iter().map(namespace).collect() }
        }
    }
}

pub(super) const STRANGERS: [&str; 4] = [
    "spiffe://ci.example.org/-/lanyard/runners/7",
    "spiffe://ci.example.org/-/lanyard/runners/-/a/pipelines/7",
    "spiffe://ci.example.org.evil.example/acme/api/-/a/pipelines/7",
    "spiffe://ci-example.org/acme/api/-/a/pipelines/7",
];

#[test]
fn no_rendered_pattern_admits_whom_its_rule_would_not() {
    let (tally, jobs) = (Tally::default(), jobs());
    let told = select(TOLD.to_vec());
    let corp: Vec<Job> = jobs.iter().filter(|job| job.project().0 == "corp").cloned().collect();
    try_all(200, &(policy(), told, select(corp)), |(policy, told, project)| {
        let Ok(checked) = load(&policy) else { return Ok(()) };
        let granted = granted(&checked.policy, &jobs);
        for uri in granted.iter().flat_map(|one| &one.ids) {
            prop_assert!(!istio_reads_a_namespace(uri), "{}", uri);
        }
        for rule in checked.policy.rules() {
            let known = known(told, &jobs, rule, &project);
            for mesh in all() {
                check(&tally, (&checked.policy, rule), (&known, &mesh), &granted)
                    .map_err(|broken| TestCaseError::fail(format!("{broken}\n{told:?} {mesh:?} {}", policy.text())))?;
            }
        }
        Ok(())
    });
    tally.at_least(&[("rendered", 300), ("refused", 300), ("admitted", 1_000), ("kept out", 5_000), ("stricter", 20)]);
}

/// All that can be told of rules.
fn all() -> [Mesh; 6] {
    let token = VaultLogin::Token { audience: AUDIENCE.to_owned(), user_claim: "sub".to_owned() };
    let by_dns = Mesh::Linkerd(DnsFirst::of(dns().dns.as_ref()));
    let vault = Mesh::Vault(VaultLogin::Certificate);
    [Mesh::Envoy, Mesh::Istio, Mesh::Linkerd(None), by_dns, vault, Mesh::Vault(token)]
}

fn check(
    tally: &Tally,
    (policy, rule): (&Policy, &Rule),
    (known, mesh): (&Known, &Mesh),
    granted: &[Granted<'_>],
) -> Result<(), TestCaseError> {
    let trust_domain = trust_domain();
    let callers = Callers { policy, trust_domain: &trust_domain, known, mesh, profile: None };
    let Ok(admitted) = callers.of(std::slice::from_ref(&rule.name)) else {
        tally.count("refused");
        return Ok(());
    };
    tally.count("rendered");
    prop_assert!(admitted.iter().all(|one| !one.peers.is_empty()));
    let objects = objects(mesh, &admitted);
    for uri in STRANGERS {
        prop_assert!(!admits(mesh, &objects, Shown { uri, first_name: uri }), "{} {:?}", uri, admitted);
    }
    let comes_in = |one: &Granted<'_>| {
        let claims = &one.job.claims;
        let name = dns().dns_san(&claims.issuer.0, claims.project_id, claims.pipeline_id).unwrap().name;
        one.ids.iter().any(|uri| {
            let first_name = if matches!(mesh, Mesh::Linkerd(Some(_))) { &name } else { uri };
            admits(mesh, &objects, Shown { uri, first_name })
        })
    };
    hold(tally, Case { rule, known, admitted: &admitted }, granted, comes_in)
}

/// A rule as it was rendered.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) rule: &'a Rule,
    pub(super) known: &'a Known,
    pub(super) admitted: &'a [Admitted],
}

/// Holds who comes in against what the rule says of each job.
pub(super) fn hold(
    tally: &Tally,
    Case { rule, known, admitted }: Case<'_>,
    granted: &[Granted<'_>],
    comes_in: impl Fn(&Granted<'_>) -> bool,
) -> Result<(), TestCaseError> {
    for one in granted {
        let (claims, comes_in) = (&one.job.claims, comes_in(one));
        prop_assert!(
            !comes_in || rule.matches(claims),
            "{:?} {:?} by {}: {:?}",
            one.ids,
            claims,
            one.rule.name,
            admitted
        );
        let is_of = |other: &Granted<'_>| other.rule.name == rule.name && is_asked(known, &other.job.claims);
        let in_vain = !granted.iter().any(is_of);
        prop_assert!(
            !comes_in || one.rule.name != rule.name || in_vain || is_asked(known, claims),
            "not asked for: {:?} {:?}",
            one.ids,
            admitted
        );
        let is_meant = known.projects.is_empty() || known.projects[0].id == Some(claims.project_id);
        prop_assert!(comes_in || one.rule.name != rule.name || !is_meant, "{:?} stays out: {:?}", one.ids, admitted);
        tally.count(match (comes_in, one.rule.name == rule.name) {
            (true, true) => "admitted",
            (true, false) => "stricter",
            (false, _) => "kept out",
        });
    }
    Ok(())
}

/// Whether it is of a project that was asked for.
fn is_asked(known: &Known, claims: &Claims) -> bool {
    known.projects.iter().any(|project| project.id == Some(claims.project_id))
}

fn objects(mesh: &Mesh, admitted: &[Admitted]) -> Vec<Value> {
    match mesh {
        Mesh::Envoy => vec![envoy(admitted)],
        Mesh::Istio => istio(admitted),
        Mesh::Linkerd(_) => linkerd(admitted),
        Mesh::Vault(login) => vault(login, admitted),
    }
}

fn admits(mesh: &Mesh, objects: &[Value], shown: Shown<'_>) -> bool {
    match mesh {
        Mesh::Envoy => envoy_admits(&objects[0], shown),
        Mesh::Istio => istio_admits(objects, shown),
        Mesh::Linkerd(_) => linkerd_admits(objects, shown),
        Mesh::Vault(_) => vault_admits(objects, shown),
    }
}
