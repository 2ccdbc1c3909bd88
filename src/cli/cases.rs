//! `lanyard policy test`: cases kept beside the rules, and cases made of real requests.

use super::audit::Journal;
use super::render;
use crate::config::{
    KnownIssuer, Lifetimes, Problem, SystemEnvironment, cases_file, load_cases, load_policy, load_server,
};
use crate::identity::TrustDomain;
use crate::issuance::RequestId;
use crate::policy::{Answer, Judged, Policy, Ruling, Wish};
use crate::session::{PastAsked, PastRequest, PastRequests, Then};
use crate::store::JournalReader;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Stands for the trust domain where only a policy is at hand (RFC 2606 §2: never a real one).
const NO_TRUST_DOMAIN: &str = "trust-domain.invalid";
/// What tells most of a person; stands in a case only where the policy reads it.
const PERSONAL: [&str; 2] = ["user_email", "user_identities"];

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The policy; without it, the one that the configuration names
    file: Option<PathBuf>,
    /// The cases [default: beside the policy, policy.cases.toml for policy.toml]
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Print a case made of this request, as the journal holds it; the first eight characters will do
    #[arg(long, value_name = "ID", conflicts_with = "cases")]
    from_journal: Option<String>,
    #[command(flatten)]
    journal: Journal,
    /// What became of each case, as one JSON object
    #[arg(long)]
    json: bool,
}

/// Tests, or prints a case.
pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.from_journal {
        Some(id) => from_journal(args, id).await,
        None => test(args),
    }
}

fn test(args: &Args) -> anyhow::Result<ExitCode> {
    let read = load(args)?.and_then(|Loaded { place, policy, issuers, trust_domain }| {
        let cases = load_cases(args.cases.as_ref().unwrap_or(&cases_file(&place)), &policy, &issuers)?;
        Ok((policy, trust_domain, cases))
    });
    let (policy, trust_domain, cases) = match read {
        Ok(read) => read,
        Err(problems) => {
            if args.json {
                let file = args.file.as_deref().unwrap_or(Path::new(""));
                render::unless_closed(render::checked(("policy", file), &problems, &[]))?;
            } else {
                render::problems(&problems);
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let stand_in = TrustDomain::parse(NO_TRUST_DOMAIN).context("no trust domain")?;
    let judge = |case: &crate::policy::Case| case.judge(&policy, trust_domain.as_ref().unwrap_or(&stand_in));
    let judged: Vec<Judged> = cases.iter().map(judge).map(without_stand_in).collect();
    let failed = judged.iter().filter(|case| !case.holds()).count();
    let told = if args.json {
        render::json(&json!({ "cases": judged, "failed": failed }))
    } else {
        let head = ["verdict", "case", "wanted", "got", "decided by"];
        render::rows(&head, judged.iter().map(row).collect()).map(|()| {
            let cases = render::count(judged.len(), "case");
            render::aside(&if failed == 0 { format!("{cases} hold") } else { format!("{failed} of {cases} failed") });
        })
    };
    render::unless_closed(told)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The policy, where it stands, and what a configuration tells where one is at hand.
struct Loaded {
    place: PathBuf,
    policy: Policy,
    issuers: Vec<KnownIssuer>,
    trust_domain: Option<TrustDomain>,
}

fn load(args: &Args) -> anyhow::Result<Result<Loaded, Vec<Problem>>> {
    Ok(match (&args.file, args.journal.config_file()) {
        (Some(file), _) => load_policy(file, &[], Lifetimes::SVID).map(|policy| Loaded {
            place: file.clone(),
            policy,
            issuers: Vec::new(),
            trust_domain: None,
        }),
        (None, Some(config)) => load_server(&config, &SystemEnvironment).map(|settings| Loaded {
            place: settings.policy_source.place,
            policy: settings.policy,
            issuers: settings.policy_source.issuers,
            trust_domain: Some(settings.trust_domain),
        }),
        (None, None) => {
            return Err(super::failure::WrongUsage::new("name the policy: lanyard policy test FILE").into());
        }
    })
}

fn without_stand_in(mut judged: Judged) -> Judged {
    if let Ruling::Granted { spiffe_id, .. } = &mut judged.got
        && let Some(path) = spiffe_id.strip_prefix("spiffe://").and_then(|id| id.strip_prefix(NO_TRUST_DOMAIN))
    {
        *spiffe_id = path.to_owned();
    }
    judged
}

fn row(judged: &Judged) -> Vec<String> {
    let verdict = if judged.holds() { "ok".to_owned() } else { format!("FAILED ({})", judged.differs.join(", ")) };
    let got = match &judged.got {
        Ruling::Granted { rule, spiffe_id, ttl_seconds } => format!("{spiffe_id} for {ttl_seconds} s by {rule:?}"),
        Ruling::Denied { code, rule: Some(rule), .. } => format!("{code} by {rule:?}"),
        Ruling::Denied { code, rule: None, .. } => code.clone(),
    };
    let decided_by = judged.decided_by.clone().unwrap_or_default();
    vec![verdict, judged.case.clone(), judged.wanted.clone(), got, decided_by]
}

async fn from_journal(args: &Args, id: &str) -> anyhow::Result<ExitCode> {
    let Some(place) = args.journal.place()? else { return Ok(ExitCode::FAILURE) };
    // Without a policy at hand the case has no personal claims; a policy with problems is none.
    let loaded = load(args).ok().and_then(Result::ok);
    let mut past = PastRequests::since(None, place.people().await.unwrap_or_default());
    for record in JournalReader::open(&place.folder)? {
        let Some(request) = past.read(&record?).filter(|request| RequestId::is_meant(id, &request.id)) else {
            continue;
        };
        let asked = request.asked.as_ref().with_context(|| {
            format!("the journal holds request {id:?}, but not its claims: something else than policy refused it, it had no session, or an older version recorded it")
        })?;
        render::say(&case(&request, asked, loaded.as_ref()))?;
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::bail!("the journal has no such request, or it is a renewal; `lanyard audit show` lists all");
}

/// The lines to put into a file of cases.
fn case(request: &PastRequest, asked: &PastAsked, loaded: Option<&Loaded>) -> String {
    let mut lines = String::from("[[case]]\n");
    let mut put = |name: &str, value: Value| {
        // Writing into a String cannot fail.
        let _infallible = writeln!(lines, "{name} = {}", toml_text(value)).is_ok();
    };
    let (path, short) = (&request.job.project_path, super::audit::short(&request.id));
    put("name", json!(format!("{path}, job {}, request {short}", request.job.job_id)));
    put("issuer", json!(asked.claims.issuer));
    match &asked.wish {
        Wish::X509 { profile } => {
            put("wish", json!("x509"));
            if let Some(profile) = profile {
                put("profile", json!(profile));
            }
        }
        Wish::Jwt { profile, audiences, has_key } => {
            put("wish", json!("jwt"));
            put("audiences", json!(audiences));
            put("with_key", json!(has_key));
            if let Some(profile) = profile {
                put("profile", json!(profile));
            }
        }
    }
    match &request.then {
        Then::Granted { rule, spiffe_id } => {
            let path = spiffe_id.strip_prefix("spiffe://").and_then(|id| id.find('/').and_then(|at| id.get(at..)));
            put("id", json!(path.unwrap_or(spiffe_id)));
            put("rule", json!(rule));
        }
        Then::Refused { code } => put("refused", json!(code)),
    }
    for (fact, answer) in asked.facts.iter() {
        put(&format!("facts.{}", toml::Value::from(fact)), told(answer));
    }
    lines.push_str("[case.claims]\n");
    let mut left_out = asked.withheld.clone();
    let issuers = loaded.iter().flat_map(|loaded| &loaded.issuers);
    let kind = issuers.filter(|known| known.name == asked.claims.issuer).map(|known| known.kind).next();
    for (name, value) in asked.claims.to_sample(kind.unwrap_or_default()) {
        if PERSONAL.contains(&name.as_str()) && loaded.is_none_or(|loaded| !loaded.policy.reads(&name)) {
            left_out.push(name);
        } else {
            let _infallible = writeln!(lines, "{name} = {}", toml_text(value)).is_ok();
        }
    }
    if !left_out.is_empty() {
        let _infallible = writeln!(lines, "# left out, because they tell of a person: {}", left_out.join(", ")).is_ok();
    }
    lines.truncate(lines.trim_end().len());
    lines
}

/// What another system said, as a case says it.
fn told(answer: &Answer) -> Value {
    match answer {
        Answer::Is(seen) => json!(seen),
        Answer::No(why) => json!({ "no": why }),
        Answer::Unavailable { why, .. } => json!({ "unavailable": why }),
    }
}

/// A value in TOML, on one line.
fn toml_text(value: Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.into_iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        Value::Object(object) => {
            let pairs = object.into_iter().map(|(name, value)| format!("{name} = {}", toml_text(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => toml::Value::String(text.replace(['\n', '\r'], " ")).to_string(),
        Value::Bool(_) | Value::Null | Value::Number(_) => value.to_string(),
    }
}
