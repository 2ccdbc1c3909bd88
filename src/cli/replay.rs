//! `lanyard policy replay`: requests of the journal, decided again with another policy.

use super::audit::{Journal, Since, parse_since, short};
use super::render;
use crate::config::{Lifetimes, load_policy};
use crate::policy::{Before, Change, Group, Replay, Told};
use crate::session::{PastRequest, PastRequests, Then};
use crate::store::JournalReader;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// How many records are read between two words of progress: a second's work, or less.
const TOLD_EVERY: u64 = 50_000;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The policy that decides now
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Only requests since: a span such as 7d, or a time such as 2026-11-21T05:00:00Z [default: all]
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Since>,
    #[command(flatten)]
    journal: Journal,
    /// What changes, as one JSON object
    #[arg(long)]
    json: bool,
}

/// Replays.
pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(place) = args.journal.place()? else { return Ok(ExitCode::FAILURE) };
    let policy = match load_policy(&args.policy, &[], Lifetimes::SVID) {
        Ok(policy) => policy,
        Err(problems) => {
            render::problems(&problems);
            return Ok(ExitCode::FAILURE);
        }
    };
    let people = place.people().await.unwrap_or_default();
    let (mut past, mut replay) = (PastRequests::since(args.since.map(Since::time), people), Replay::default());
    for record in JournalReader::open(&place.folder)? {
        let record = record?;
        if render::is_terminal() && record.position.is_multiple_of(TOLD_EVERY) {
            render::aside(&format!("{} records read, to {}", record.position, render::time(record.at)));
        }
        let Some(PastRequest { id, job, then, asked, policy: decided_by }) = past.read(&record) else { continue };
        replay.by_itself += u64::from(decided_by == Some(*policy.digest()));
        let Some(asked) = asked else {
            replay.without_claims += 1;
            continue;
        };
        let known = (&asked.claims, &asked.facts);
        if !replay.can_do_without(&asked.withheld, &policy) || !replay.knows_facts(known, &policy) {
            continue;
        }
        let now = policy.rule_on(known, &asked.wish, &asked.trust_domain);
        let (granted, code) = match &then {
            Then::Granted { rule, spiffe_id } => (Some((rule.as_str(), spiffe_id.as_str())), ""),
            Then::Refused { code } => (None, code.as_str()),
        };
        let before = Before { request: &id, project: &job.project_path, granted, code };
        replay.add(before, &now, || policy.deciding_term((&asked.claims, &asked.trust_domain), &now, None));
    }
    render::unless_closed(tell(&replay, args.json))?;
    Ok(ExitCode::SUCCESS)
}

fn tell(replay: &Replay, as_json: bool) -> anyhow::Result<()> {
    let Replay { groups, same, without_claims, withheld, without_facts, by_itself } = replay;
    if as_json {
        let both =
            groups.iter().map(|(group, told)| Ok(merged(serde_json::to_value(group)?, serde_json::to_value(told)?)));
        let groups = both.collect::<anyhow::Result<Vec<Value>>>()?;
        return render::json(&json!({
            "loses": replay.count(Change::Loses),
            "gains": replay.count(Change::Gains),
            "changes": replay.count(Change::Changes),
            "otherwise_refused": replay.count(Change::OtherwiseRefused),
            "same": same,
            "decided_by_this_policy": by_itself,
            "not_decided": { "claims_not_recorded": without_claims, "claims_withheld": withheld, "facts_not_asked": without_facts },
            "groups": groups,
        }));
    }
    render::rows(&HEAD, rows(replay, render::is_terminal()))?;
    let [loses, gains, changes, otherwise] =
        [Change::Loses, Change::Gains, Change::Changes, Change::OtherwiseRefused].map(|change| replay.count(change));
    render::aside(&format!(
        "{loses} would lose, {gains} would gain, {changes} would change ID, {otherwise} would be refused otherwise, {same} would stay the same"
    ));
    if *by_itself > 0 {
        render::aside(&format!("{} decided by this very policy", was(*by_itself)));
    }
    if without_claims + withheld + without_facts > 0 {
        render::aside(&format!(
            "not decided again: {without_claims} whose claims are not on record (refused by something else than policy, without a session, or of an older version), {withheld} where this policy reads claims that are not kept, or whose person is erased, {without_facts} where it needs facts that nobody asked for then"
        ));
    }
    Ok(())
}

fn was(requests: u64) -> String {
    let verb = if requests == 1 { "was" } else { "were" };
    format!("{} {verb}", render::count(requests, "request"))
}

/// What is told of each group.
pub(super) const HEAD: [&str; 9] =
    ["change", "project", "requests", "rule", "rule now", "got", "would get", "decided by", "first request"];

/// As [`HEAD`]; a person reads shortened names.
pub(super) fn rows(replay: &Replay, shortened: bool) -> Vec<Vec<String>> {
    let row = |(group, told): (&Group, &Told)| {
        let request = if shortened { short(&told.first_request) } else { &told.first_request };
        vec![
            group.change.as_str().to_owned(),
            group.project.clone(),
            told.requests.to_string(),
            group.before.clone(),
            group.after.clone(),
            told.first_got.clone(),
            told.first_would_get.clone(),
            told.decided_by.clone().unwrap_or_default(),
            request.to_owned(),
        ]
    };
    replay.groups.iter().map(row).collect()
}

fn merged(first: Value, second: Value) -> Value {
    let parts = [first, second].into_iter().filter_map(|value| value.as_object().cloned());
    Value::Object(parts.flatten().collect())
}
