//! A policy file: what loads grants well-formed IDs of our trust domain, what does not is told by line.

use super::law::{Cost, can_be_shown};
use super::{Seed, place, token};
use lanyard::config::{KnownIssuer, Problem, load_policy};
use lanyard::crypto::Digest;
use lanyard::identity::{IdTemplate, SpiffeId, TrustDomain};
use lanyard::policy::{Answers, Policy, Wish};
use lanyard::token::{IssuerKind, IssuerName};
use std::path::PathBuf;
use std::time::Duration;

/// The file, its tree, and what is read out of it; one entry of a list in one list is some hundred bytes,
/// and eighty tables in each other some two thousand each.
pub const COST: Cost = Cost { at_once: 512, in_all: 2048, free: 512 * 1024 };

/// The policies of the tables.
pub fn seeds() -> Vec<Seed> {
    let tables = [
        include_str!("../../tables/policy/core.txt"),
        include_str!("../../tables/policy/deploys.txt"),
        include_str!("../../tables/policy/forks.txt"),
        include_str!("../../tables/policy/limits.txt"),
        include_str!("../../tables/policy/silence.txt"),
    ];
    let blocks = tables.iter().flat_map(|table| table.split("\n=== ").skip(1));
    let policies = blocks.map(|block| {
        let (title, rest) = block.split_once('\n').unwrap();
        Seed::new(title.replace([' ', '/'], "-"), rest.split("\n--- ").next().unwrap())
    });
    policies.collect()
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let (name, url) = (IssuerName("corp".into()), "https://gitlab.example.org".to_owned());
    let issuers = [KnownIssuer { name, kind: IssuerKind::GitLab, url, facts: vec!["job.state"], groups: None }];
    let ttl = Duration::from_secs(900);
    let files = vec![(PathBuf::from("policy.toml"), bytes.to_vec())];
    let read = place::with(&files, |folder| {
        let file = folder.join("policy.toml");
        COST.of(bytes.len(), || load_policy(&file, &issuers, ttl))
    });
    match read {
        Ok(policy) => {
            assert_eq!(*policy.digest(), Digest::of(bytes));
            grants_only_ids(&policy);
            true
        }
        Err(problems) => {
            are_told(&problems, bytes);
            false
        }
    }
}

/// Each problem stands somewhere in the file, and they can be read.
pub fn are_told(problems: &[Problem], bytes: &[u8]) {
    assert!((1..=2002).contains(&problems.len()));
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for problem in problems {
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}");
        assert!(!problem.found.is_empty() && !problem.remedy.is_empty());
        assert!(problem.to_string().len() <= 4 * 4 * 2000);
    }
}

/// Whatever loads is sound, and decides about a genuine token without an ID that is none.
pub fn grants_only_ids(policy: &Policy) {
    let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
    let mut names: Vec<&str> = policy.rules().iter().map(|rule| rule.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), policy.rules().len());
    for rule in policy.rules() {
        assert!(
            !rule.gives.svids.is_empty()
                && rule.gives.ttl >= Duration::from_secs(1)
                && rule.gives.ttl <= Duration::from_secs(86_400)
        );
        for svid in &rule.gives.svids {
            assert_eq!(IdTemplate::parse(&svid.id.to_string()).as_ref(), Ok(&svid.id));
        }
    }
    let wish = Wish::X509 { profile: None };
    for verified in token::verified() {
        let claims = verified.claims();
        let walk = policy.walk(claims, &trust_domain);
        serde_json::to_string(&walk.for_bearer()).unwrap();
        let rule = match policy.choose(claims) {
            Ok(rule) => rule,
            Err(denial) => {
                assert!(denial.to_string().len() < 64 * 1024);
                continue;
            }
        };
        match rule.hear(Answers::NONE).and_then(|heard| heard.grant(verified, &wish, &trust_domain)) {
            Ok(grant) => {
                let id = grant.spiffe_id();
                assert_eq!(SpiffeId::parse(id.as_str()).as_ref(), Ok(id));
                assert!(id.names_a_workload() && id.trust_domain() == trust_domain);
                assert!(!id.path().starts_with("/-/lanyard"));
            }
            Err(denial) => can_be_shown(&denial),
        }
    }
}
