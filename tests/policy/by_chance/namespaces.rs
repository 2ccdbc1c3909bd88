//! What Istio's policies for namespaces and service accounts read out of our IDs: nothing, whatever projects are called.

use super::real_envoy::RealEnvoy;
use super::tries::{Tally, try_all};
use crate::meshes::hostile::trust_domain;
use crate::meshes::matching::istio_reads_a_namespace;
use lanyard::config::{Lifetimes, check_policy};
use lanyard::policy::{Answers, Policy, Ruling, Wish};
use lanyard::token::{Claims, IssuerName};
use proptest::prelude::*;
use proptest::sample::select;
use regex::Regex;
use serde_json::{Value, json};
use std::cell::RefCell;

/// Every form of template that names projects or groups, and one that names neither.
const TEMPLATES: [&str; 6] = [
    "/{project_path}/-/pipelines/{pipeline_id}",
    "/{project_path}",
    "/x/{project_path}/-/jobs/{job_id}",
    "/{namespace_path}/-/p{project_id}",
    "/g/{namespace_path}/-/{project_id}/{pipeline_id}",
    "/projects/{project_id}/-/pipelines/{pipeline_id}",
];
/// The one that Istio is meant to read.
const FOR_ISTIO: &str = "/ns/ci/sa/p{project_id}.pl{pipeline_id}";

/// Names that somebody chooses to be taken for another.
const NAMES: [&str; 14] = [
    "ns",
    "sa",
    "ns",
    "sa",
    "NS",
    "Sa",
    "istio-system",
    "default",
    "ingress",
    "acme",
    "ns.sa",
    "ns-",
    "_sa",
    "kube-system",
];

/// As Istio writes them for a namespace and for a service account (`pilot/pkg/security/authz/model`).
fn expressions(namespace: &str, account: &str) -> [String; 2] {
    [format!(".*/ns/{namespace}/.*"), format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?")]
}

fn rule_of(template: &str) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let when = "issuer = \"corp\"\nproject_id = [7, 8]\n";
    std::fs::write(&file, format!("[[rule]]\nname = \"r\"\nid = \"{template}\"\n[rule.when]\n{when}")).unwrap();
    match check_policy(&file, &[], Lifetimes::SVID) {
        Ok(checked) => checked.policy,
        Err(problems) => panic!("{template}: {problems:?}"),
    }
}

/// A job of a project that is called so.
fn job(names: &[&str]) -> Option<Claims> {
    let (path, namespace) = (names.join("/"), names[..names.len() - 1].join("/"));
    let payload = json!({
        "iss": "https://corp.example", "jti": "j", "sub": "s", "project_id": "7", "project_path": path,
        "namespace_id": "1", "namespace_path": namespace, "pipeline_id": "574", "job_id": "9", "ref_type": "branch",
        "ref_protected": "true", "pipeline_source": "push", "job_project_id": "7", "user_login": "ada",
        "user_id": "1", "user_access_level": "developer", "runner_environment": "self-hosted", "runner_id": 1,
        "project_visibility": "private",
    });
    Claims::unproven(payload.to_string().as_bytes(), IssuerName("corp".into())).ok()
}

/// What the job would be called if names were put in as they are.
fn as_it_reads(template: &str, claims: &Claims) -> String {
    let path = template.replace("{project_path}", &claims.project_path);
    let namespace = claims.project_path.rsplit_once('/').unwrap().0;
    let path = path.replace("{namespace_path}", namespace).replace("{project_id}", "7");
    format!("spiffe://ci.example.org{}", path.replace("{pipeline_id}", "574").replace("{job_id}", "9"))
}

fn issued(policy: &Policy, claims: &Claims) -> Option<String> {
    let ruling = policy.rule_on((claims, &Answers::NONE), &Wish::X509 { profile: None }, &trust_domain());
    match ruling {
        Ruling::Granted { spiffe_id, .. } => Some(spiffe_id),
        Ruling::Denied { .. } => None,
    }
}

/// Shows: MESH-B2.
#[test]
fn no_id_that_is_issued_is_of_a_namespace_or_a_service_account_to_istio() {
    let rules: Vec<(&str, Policy)> = TEMPLATES.iter().map(|template| (*template, rule_of(template))).collect();
    let (tally, seen) = (Tally::default(), RefCell::new(Vec::new()));
    let names = prop::collection::vec(select(NAMES.to_vec()), 2..7);
    try_all(4000, &names, |names| {
        let Some(claims) = job(&names) else { return Ok(()) };
        for (template, policy) in &rules {
            let would_be = as_it_reads(template, &claims);
            match issued(policy, &claims) {
                Some(id) => {
                    prop_assert_eq!(&id, &would_be);
                    prop_assert!(!istio_reads_a_namespace(&id), "{}", id);
                    tally.count("issued");
                    seen.borrow_mut().push(id);
                }
                None => tally.count(if istio_reads_a_namespace(&would_be) { "prevented" } else { "refused as well" }),
            }
        }
        Ok(())
    });
    tally.at_least(&[("issued", 3000), ("prevented", 1000)]);
    a_real_envoy_finds_none_either(&seen.into_inner());
}

/// Some of them, the longest and those that come nearest among them.
fn a_real_envoy_finds_none_either(issued: &[String]) {
    let expressions: Vec<String> =
        [".*", "istio-system", "default", "acme"].iter().flat_map(|namespace| expressions(namespace, ".*")).collect();
    let rules: Vec<Value> = expressions
        .iter()
        .map(|regex| {
            let principal = json!({ "authenticated": { "principal_name": { "safe_regex": { "regex": regex } } } });
            json!({ "action": "ALLOW", "policies": { "r": { "permissions": [{ "any": true }], "principals": [principal] } } })
        })
        .collect();
    let judge = RealEnvoy::of(&rules, &json!({}));
    let mut near: Vec<&String> = issued.iter().collect();
    near.sort_by_key(|id| std::cmp::Reverse((id.matches("ns").count() + id.matches("sa").count(), id.len())));
    near.dedup();
    for id in near.iter().take(40) {
        assert!(!judge.admits(id).contains(&true), "{id}");
    }
    for (id, admitted) in [
        ("spiffe://cluster.local/ns/default/sa/x", [true, true, false, false, true, true, false, false]),
        ("spiffe://ci.example.org/acme/ns/istio-system/x", [true, false, true, false, false, false, false, false]),
    ] {
        assert_eq!(judge.admits(id), admitted, "{id}: the judge can tell");
    }
}

/// It has one namespace, the operator's word, and no name of a project makes it another.
/// Shows: MESH-B3.
#[test]
fn the_template_that_is_meant_for_istio_is_of_its_own_namespace_alone() {
    let (policy, tally) = (rule_of(FOR_ISTIO), Tally::default());
    let whole = |expression: &str| Regex::new(&format!("^(?:{expression})$")).unwrap();
    let others = NAMES.map(|name| expressions(&regex::escape(name), ".*").map(|one| whole(&one)));
    let own = expressions("ci", ".*").map(|one| whole(&one));
    try_all(256, &prop::collection::vec(select(NAMES.to_vec()), 2..7), |names| {
        let Some(id) = job(&names).and_then(|claims| issued(&policy, &claims)) else { return Ok(()) };
        prop_assert!(own.iter().all(|one| one.is_match(&id)), "{}", id);
        prop_assert!(!others.iter().flatten().any(|one| one.is_match(&id)), "{}", id);
        tally.count("issued");
        Ok(())
    });
    tally.at_least(&[("issued", 200)]);
}
