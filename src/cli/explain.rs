//! `lanyard explain`: why a token gets its identity, or none. Decides nothing and uses nothing up.

use super::audit::names;
use super::failure::{WrongUsage, unreadable};
use super::remote::{RemoteError, ServerArgs};
use super::{login, render};
use crate::config::{Lifetimes, SystemEnvironment, load_policy, load_server};
use crate::identity::TrustDomain;
use crate::store::JournalReader;
use crate::token::{Claims, IssuerName};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use time::OffsetDateTime;

/// Stands for the trust domain where only a policy is at hand, which names none (RFC 2606 §2: never a real one).
const NO_TRUST_DOMAIN: &str = "trust-domain.invalid";

/// What can be typed.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("subject").required(true))]
pub(crate) struct Args {
    /// Ask the server what it thinks of this token; - reads standard input
    #[arg(long, value_name = "FILE", group = "subject")]
    token_file: Option<PathBuf>,
    /// Ask a policy file what it would say to these claims (a token's payload as JSON); needs no server
    #[arg(long, value_name = "FILE", group = "subject")]
    claims: Option<PathBuf>,
    /// What the journal recorded for a request
    #[arg(long, value_name = "ID", group = "subject")]
    request_id: Option<String>,
    /// The policy for --claims [default: the configuration's]
    #[arg(long, value_name = "FILE", requires = "claims")]
    policy: Option<PathBuf>,
    /// The name that rules give the claims' issuer [default: by iss from the configuration, or the policy's only one]
    #[arg(long, value_name = "NAME", requires = "claims")]
    issuer: Option<String>,
    /// The server's configuration
    #[arg(long, env = "LANYARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    /// The walk as one JSON object
    #[arg(long)]
    json: bool,
}

/// Explains.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let walk = if let Some(file) = &args.claims {
        walk_offline(&args, file)?
    } else if let Some(file) = &args.token_file {
        let token = if file == Path::new("-") {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(file)
        };
        let token = token.map_err(unreadable(file))?;
        let answer = match args.server.post("/v1/explain", &json!({ "token": token.trim() })).await {
            Ok(answer) => answer,
            Err(RemoteError::Refused(problem)) => return Ok(login::tell(&problem)),
            Err(other) => return Err(other.into()),
        };
        Some(serde_json::from_slice(&answer).context("the server's answer is no walk")?)
    } else {
        recorded(&args)?
    };
    let Some(walk) = walk else { return Ok(ExitCode::FAILURE) };
    render::unless_closed(if args.json { render::json(&walk) } else { render::say(&story(&walk)) })?;
    Ok(if walk.pointer("/verdict/outcome").is_some_and(|outcome| outcome == "denied") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// None when a file has problems, which are printed then.
fn walk_offline(args: &Args, file: &Path) -> anyhow::Result<Option<Value>> {
    let json = std::fs::read(file).map_err(unreadable(file))?;
    let payload: Value = serde_json::from_slice(&json).with_context(|| format!("{} is no JSON", file.display()))?;
    let named = args.issuer.clone();
    let loaded = match (&args.policy, &args.config) {
        (Some(policy), _) => load_policy(policy, &[], Lifetimes::SVID).map(|policy| {
            let only = policy.rules().first().map(|rule| rule.issuer.clone());
            (policy, only, TrustDomain::parse(NO_TRUST_DOMAIN).ok())
        }),
        (None, Some(config)) => load_server(config, &SystemEnvironment).map(|settings| {
            let iss = payload.get("iss").and_then(Value::as_str);
            let issuer = iss.and_then(|iss| settings.issuers.by_url(iss).map(|issuer| issuer.name().clone()));
            (settings.policy, issuer, Some(settings.trust_domain))
        }),
        (None, None) => {
            return Err(WrongUsage::new("name the policy with --policy, or the configuration with --config").into());
        }
    };
    let (policy, issuer, trust_domain) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            render::problems(&problems);
            return Ok(None);
        }
    };
    let issuer = named.map(|name| IssuerName(name.into())).or(issuer).context(
        "the configuration has no issuer with the claims' iss; issuers are compared as strings. Name one with --issuer",
    )?;
    let claims =
        Claims::unproven(&json, issuer).with_context(|| format!("{} holds no job's claims", file.display()))?;
    let trust_domain = trust_domain.context("no trust domain")?;
    let mut walk = serde_json::to_value(policy.walk(&claims, &trust_domain))?;
    if let Some(Value::String(id)) = walk.pointer_mut("/verdict/spiffe_id")
        && let Some(path) = id.strip_prefix("spiffe://").and_then(|id| id.strip_prefix(NO_TRUST_DOMAIN))
    {
        *id = format!("spiffe://<trust domain>{path}");
    }
    Ok(Some(walk))
}

/// What stands in the journal; none when the configuration has problems, which are printed then.
fn recorded(args: &Args) -> anyhow::Result<Option<Value>> {
    let config =
        args.config.as_ref().ok_or_else(|| WrongUsage::new("--request-id reads the journal: name --config"))?;
    let settings = match load_server(config, &SystemEnvironment) {
        Ok(settings) => settings,
        Err(problems) => {
            render::problems(&problems);
            return Ok(None);
        }
    };
    let wanted = args.request_id.as_deref().unwrap_or_default();
    let mut entries = Vec::new();
    for record in JournalReader::open(&settings.data_dir)? {
        let entry: Value = serde_json::from_str(record?.entry.get())?;
        if entry.get("request_id").and_then(Value::as_str).is_some_and(|own| names(wanted, own)) {
            entries.push(entry);
        }
    }
    anyhow::ensure!(!entries.is_empty(), "the journal knows no such request; `lanyard audit show` lists those it does");
    Ok(Some(json!({ "entries": entries })))
}

/// The walk as a person reads it: the verdict first, then each rule and each of its terms.
fn story(walk: &Value) -> String {
    let mut lines = Vec::new();
    lines.extend(happened(&list(walk, "entries")));
    for entry in list(walk, "entries") {
        lines.push(format!("{}:", text(&entry, "kind")));
        for (name, value) in entry.as_object().into_iter().flatten().filter(|(name, _)| *name != "kind") {
            lines.push(format!("  {name}: {}", with_times(value)));
        }
    }
    if let Some(verdict) = walk.get("verdict") {
        lines.push(if text(verdict, "outcome") == "granted" {
            let (id, rule, ttl) = (text(verdict, "spiffe_id"), text(verdict, "rule"), text(verdict, "ttl_seconds"));
            let told =
                if is_true(verdict, "build_claims") { ", telling of the build (Fulcio's extensions)" } else { "" };
            format!("granted: {id}\n  by rule \"{rule}\", for {ttl} s at most{told}")
        } else {
            format!("denied: {}\n  {}", text(verdict, "code"), text(verdict, "reason"))
        });
        lines.extend(nearest(walk, verdict));
    }
    for (kind, name) in [("refusal", "refusals"), ("rule", "rules")] {
        for rule in list(walk, name) {
            let holds = if is_true(&rule, "matches") { "matches" } else { "does not match" };
            lines.push(format!("{kind} \"{}\" {holds}", text(&rule, "name")));
            lines.extend(list(&rule, "terms").iter().map(term));
        }
    }
    lines.join("\n")
}

/// An SVID's span in a record is numbers; a person reads times.
fn with_times(value: &Value) -> Value {
    let mut value = value.clone();
    for name in ["not_before", "not_after"] {
        if let Some(at) = value.get_mut(name)
            && let Some(seconds) = at.as_i64()
            && let Ok(time) = OffsetDateTime::from_unix_timestamp(seconds)
        {
            *at = render::time(time).into();
        }
    }
    value
}

/// What became of a request, in a sentence.
fn happened(entries: &[Value]) -> Option<String> {
    let of = |kind: &str| entries.iter().find(|entry| text(entry, "kind") == kind);
    let first = entries.first()?;
    let job = first.get("job").cloned().unwrap_or_default();
    let who = format!("job {} of {}", text(&job, "job_id"), text(&job, "project_path"));
    let request = text(first, "request_id");
    Some(match (of("refused"), of("intent"), of("issued")) {
        (Some(refused), _, _) => format!("request {request}: {who} was refused with {}.\n", text(refused, "code")),
        (None, Some(intent), issued) => {
            let (id, rule) = (text(intent, "spiffe_id"), text(intent, "rule"));
            let got = if issued.is_some() { "got" } else { "was about to get, and nothing says that it got," };
            format!("request {request}: {who} {got} {id} by rule \"{rule}\".\n")
        }
        (None, None, _) => format!("request {request}: {} in the journal.\n", render::count(entries.len(), "record")),
    })
}

/// The rule that came nearest where none matched, with what kept it from matching.
fn nearest(walk: &Value, verdict: &Value) -> Vec<String> {
    let Some(name) = verdict.get("nearest").and_then(Value::as_str) else { return Vec::new() };
    let mut lines = vec![format!("nearest: rule \"{name}\", which would need")];
    let rule = list(walk, "rules").into_iter().find(|rule| text(rule, "name") == name).unwrap_or_default();
    lines.extend(list(&rule, "terms").iter().filter(|term| !is_true(term, "passes")).map(term));
    lines
}

fn term(term: &Value) -> String {
    let mark = if is_true(term, "passes") { "ok " } else { "no " };
    let [part, claim, wanted, got] = ["part", "claim", "wanted", "got"].map(|name| text(term, name));
    format!("  {mark} {part} {claim}: wants {wanted}, got {got}")
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "nothing".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn list(value: &Value, name: &str) -> Vec<Value> {
    value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn is_true(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_job_reads_which_rule_came_nearest_and_why() {
        let term = |claim: &str, passes: bool| json!({ "claim": claim, "got": "b", "passes": passes, "part": "when", "wanted": "a" });
        let walk = json!({
            "rules": [{ "name": "tags", "matches": false, "terms": [term("ref", false), term("issuer", true)] }],
            "verdict": { "outcome": "denied", "code": "no_rule", "reason": "none matched", "nearest": "tags" },
        });
        let story = story(&walk);
        let opening = "denied: no_rule\n  none matched\nnearest: rule \"tags\", which would need\n  no  when ref: wants a, got b\nrule";
        assert!(story.starts_with(opening), "{story}");
    }

    #[test]
    fn a_recorded_request_begins_with_a_sentence() {
        let job = json!({ "job_id": 7, "project_path": "acme/api" });
        let intent = json!({
            "kind": "intent", "request_id": "r1", "job": job, "rule": "all", "spiffe_id": "spiffe://a.test/acme/api",
        });
        let issued = json!({ "kind": "issued", "request_id": "r1" });
        let story = story(&json!({ "entries": [intent, issued] }));
        let sentence = "request r1: job 7 of acme/api got spiffe://a.test/acme/api by rule \"all\".";
        assert_eq!(story.lines().next(), Some(sentence));
    }
}
