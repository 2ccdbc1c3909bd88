//! What each policy of the page says to every sample of GitLab's tokens, as tables that a reviewer can read.

use super::page::{Examples, issuers, trust_domain};
use super::{golden, root};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::policy::{Answers, Kind, Policy, Ruling, Wish};
use lanyard::token::{Claims, Expectations, IssuerKind, IssuerName, TokenAlgorithm, UnverifiedToken};
use serde_json::Value;
use std::fmt::Write as _;

const SAMPLES: &str = include_str!("../vectors/gitlab-claims.json");

/// One line of a table: what is granted or the code of the no, and by which rule.
struct Row {
    verdict: String,
    rule: String,
}

/// What a sample says, or the code of what keeps it from policy. That its signature is good is not asked here.
fn claims_of(sample: &Value, audience: &str) -> Result<Claims, &'static str> {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let token = format!("{}.{}.{}", part(&sample["header"]), part(&sample["claims"]), part(&Value::Null));
    let token = UnverifiedToken::parse(&token).map_err(|error| error.code())?;
    let known = issuers().into_iter().find(|issuer| issuer.url == token.issuer()).ok_or("issuer_unknown")?;
    let expected = expectations(&known.name, known.url, audience);
    token.unproven(known.name, Some(&expected)).map_err(|error| error.code())
}

fn expectations(issuer: &IssuerName, issuer_url: String, audience: &str) -> Expectations {
    Expectations {
        issuer: issuer.clone(),
        issuer_url,
        audience: audience.to_owned(),
        allow_shared_audience: false,
        allow_missing_jti: false,
        kind: IssuerKind::GitLab,
        algorithms: vec![TokenAlgorithm::Rs256],
        leeway: Expectations::LEEWAY,
        max_token_age: Expectations::MAX_TOKEN_AGE,
    }
}

/// All that the rule for these claims would grant, or the one refusal.
fn rows(policy: &Policy, claims: &Claims) -> Vec<Row> {
    let trial: Vec<&str> = policy.on_trial(claims).map(|rule| rule.name.as_str()).collect();
    let trial = if trial.is_empty() { String::new() } else { format!("  (on trial: {})", trial.join(", ")) };
    let wishes = policy.choose(claims).map_or_else(
        |_refused| vec![Wish::X509 { profile: None }],
        |rule| {
            let gives = &rule.gives;
            gives.svids.iter().map(|svid| wish(&gives.kinds, &gives.audiences, svid.profile.clone())).collect()
        },
    );
    let row = |wish: &Wish| {
        let ruling = policy.rule_on((claims, &Answers::NONE), wish, &trust_domain());
        let rule = ruling.rule().unwrap_or("-");
        let head = match wish {
            Wish::Jwt { .. } => "jwt ".to_owned(),
            Wish::X509 { profile } => profile.as_ref().map(|name| format!("{name} ")).unwrap_or_default(),
        };
        let verdict = match &ruling {
            Ruling::Granted { spiffe_id, .. } => {
                format!("{head}{}", spiffe_id.strip_prefix("spiffe://ci.example.org").unwrap())
            }
            Ruling::Denied { code, .. } => code.clone(),
        };
        Row { verdict, rule: format!("{rule}{trial}") }
    };
    wishes.iter().map(row).collect()
}

fn wish(kinds: &[Kind], audiences: &[String], profile: Option<String>) -> Wish {
    if kinds.contains(&Kind::X509) {
        return Wish::X509 { profile };
    }
    Wish::Jwt { profile, audiences: audiences.iter().take(1).cloned().collect(), has_key: true }
}

fn table(policy: &Policy, file: &Value) -> String {
    let audience = file["audience"].as_str().unwrap();
    let mut table = format!("{:<34}{:<84}{}\n", "SAMPLE", "VERDICT", "RULE");
    let samples = file["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 42);
    for sample in samples {
        let rows = match claims_of(sample, audience) {
            Ok(claims) => rows(policy, &claims),
            Err(code) => vec![Row { verdict: code.to_owned(), rule: "-".to_owned() }],
        };
        for (at, Row { verdict, rule }) in rows.iter().enumerate() {
            let name = if at == 0 { sample["name"].as_str().unwrap() } else { "" };
            writeln!(table, "{name:<34}{verdict:<84}{rule}").unwrap();
        }
    }
    table
}

#[test]
fn every_policy_of_the_page_says_to_every_sample_what_was_reviewed() {
    let (examples, file) = (Examples::read(), serde_json::from_str(SAMPLES).unwrap());
    for name in &examples.names {
        let golden = root().join("tests/golden/policy").join(format!("{name}.txt"));
        golden::hold(&golden, &table(&examples.policy(name), &file));
    }
}
