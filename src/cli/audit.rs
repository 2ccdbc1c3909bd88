//! `lanyard audit show|verify|archive|accept-time`: the evidence, read from the journal's own files; no server need run.

use super::failure::WrongUsage;
use super::remote::named_config;
use super::{archive, render, verify};
use crate::audit::{PinnedBy, Received};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{SystemEnvironment, load_server, parse_duration};
use crate::issuance::RequestId;
use crate::policy::PathPin;
use crate::store::{AcceptedTime, JournalReader, Record, accept_time};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The kinds of entries, as the journal writes them.
const KINDS: [&str; 20] = [
    "authority",
    "ban_added",
    "ban_removed",
    "checkpoint",
    "hook_refused",
    "intent",
    "issued",
    "job_closed",
    "observed",
    "pin_changed",
    "policy_changed",
    "refused",
    "segments_archived",
    "segments_removed",
    "session_ended",
    "sessions_revoked",
    "started",
    "swept",
    "tail_cut",
    "time_accepted",
];

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// What was decided: who got which identity, by which rule, and who was refused
    Show {
        #[command(flatten)]
        journal: Journal,
        #[command(flatten)]
        filter: Filter,
        /// One JSON object a record, as it stands in the journal
        #[arg(long)]
        json: bool,
    },
    /// Whether the journal is whole: every record's digest, the chain between them, every checkpoint
    Verify(verify::Args),
    /// Moves old segments elsewhere, or removes them; what is left still proves itself. The server must be stopped
    Archive(archive::Args),
    /// Writes that the clock is right now, after records of a clock that once ran ahead; the server must be stopped
    AcceptTime {
        #[command(flatten)]
        journal: Journal,
        /// What happened to the clock; stands in the journal
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(clap::Args, Debug)]
pub(super) struct Journal {
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration; its data folder holds the journal [env: LANYARD_CONFIG]"
    )]
    pub(super) config: Option<PathBuf>,
    /// The data folder itself, or a copy of it
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct Filter {
    /// Only this request, as an answer or a refusal named it; the first eight characters will do
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only jobs of this project, by path or id
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only what happened since: a span such as 2h, or a time such as 2026-11-21T05:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Since>,
    /// Only entries of this kind
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    kind: Option<String>,
}

/// How much of a name a terminal shows.
const SHORT: usize = 8;

#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    Ago(std::time::Duration),
    At(OffsetDateTime),
}

impl Since {
    /// The time that is meant, now.
    pub(super) fn time(self) -> OffsetDateTime {
        match self {
            Self::Ago(span) => SystemClock.now() - span,
            Self::At(at) => at,
        }
    }
}

pub(super) fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Since::At(at));
    }
    parse_duration(text)
        .map(Since::Ago)
        .map_err(|_no_span| "write a span such as 2h, or a time such as 2026-11-21T05:00:00Z".to_owned())
}

/// Reads the journal.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Show { journal, filter, json } => show(journal, filter, *json),
        Action::Verify(args) => verify::run(args),
        Action::Archive(args) => archive::run(args),
        Action::AcceptTime { journal, reason } => accept(journal, reason),
    }
}

impl Journal {
    /// The configuration, typed or the variable's.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        named_config(self.config.clone())
    }

    /// The data folder; none when the configuration has problems, which are printed then.
    pub(super) fn folder(&self) -> anyhow::Result<Option<PathBuf>> {
        match (&self.data_dir, self.config_file()) {
            (Some(folder), _) => Ok(Some(folder.clone())),
            (None, Some(file)) => Ok(load_server(&file, &SystemEnvironment)
                .map(|settings| settings.data_dir)
                .map_err(|problems| render::problems(&problems))
                .ok()),
            (None, None) => {
                Err(WrongUsage::new("name the journal: --config FILE, --data-dir DIR, or LANYARD_CONFIG").into())
            }
        }
    }
}

impl Filter {
    fn admits(&self, record: &Record, entry: &Received, since: Option<OffsetDateTime>) -> bool {
        let of_project = |wanted: &String| {
            let is_path = entry.more.get("path").is_some_and(|path| *path == PathPin::fold(wanted));
            let wanted_id = wanted.parse().ok();
            let id = |name: &str| wanted_id.is_some() && entry.more.get(name).and_then(Value::as_u64) == wanted_id;
            match &entry.job {
                Some(job) if job.project_path == *wanted || wanted_id == Some(job.project_id) => true,
                // A closed job of which nothing is known but its ids, or a pin.
                Some(_) | None => {
                    id("project_id") || (entry.kind == "pin_changed" && (is_path || id("old") || id("new")))
                }
            }
        };
        since.is_none_or(|since| record.at >= since)
            && self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && self
                .request_id
                .as_ref()
                .is_none_or(|id| entry.request_id.as_ref().is_some_and(|own| RequestId::is_meant(id, own)))
            && self.project.as_ref().is_none_or(of_project)
    }
}

fn show(journal: &Journal, filter: &Filter, as_json: bool) -> anyhow::Result<ExitCode> {
    let Some(folder) = journal.folder()? else { return Ok(ExitCode::FAILURE) };
    let since = filter.since.map(Since::time);
    let mut rows = Vec::new();
    let mut found = false;
    for record in JournalReader::open(&folder)? {
        let record = record?;
        let entry: Received = serde_json::from_str(record.entry.get())?;
        if !filter.admits(&record, &entry, since) {
            continue;
        }
        found = true;
        if as_json {
            // Evidence stays as it was written, to the millisecond.
            let at = record.at.format(&Rfc3339)?;
            render::json(
                &json!({ "position": record.position, "at": at, "digest": record.digest, "entry": record.entry }),
            )?;
        } else {
            rows.push(row(&record, entry));
        }
    }
    if let (false, Some(id)) = (found, &filter.request_id) {
        let elsewhere = archive::whereabouts(&folder)?;
        anyhow::bail!(
            "the journal has no entry of request {id:?} that you asked for; `lanyard audit show` lists all{elsewhere}"
        );
    }
    if !as_json {
        render::rows(&["position", "at", "kind", "project", "job", "what", "request"], rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Enough of a name or a digest to tell it from its neighbours.
pub(super) fn short(name: &str) -> &str {
    name.get(..SHORT).unwrap_or(name)
}

fn row(record: &Record, entry: Received) -> Vec<String> {
    let what = what(&entry);
    let (project, job) = entry.job.map(|job| (job.project_path, job.job_id.to_string())).unwrap_or_default();
    let request = entry.request_id.unwrap_or_default();
    let request = if render::is_terminal() { short(&request).to_owned() } else { request };
    vec![record.position.to_string(), render::time(record.at), entry.kind, project, job, what, request]
}

/// What tells most of each kind: the identity, the code, the session, the key and what became of it.
fn what(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| entry.more.get(name).and_then(Value::as_u64).unwrap_or_default();
    match entry.kind.as_str() {
        "authority" => {
            let (authority, key, step) = (text("authority"), short(text("key_id")), text("step"));
            format!("{authority} {key} {step}, sequence {}", number("sequence"))
        }
        "hook_refused" => format!("{}: {}", text("issuer"), text("code")),
        "intent" => text("spiffe_id").to_owned(),
        "issued" => format!("SHA-256 {}", short(text("digest"))),
        "observed" => format!("on trial, {}: {}", text("rule"), text("would")),
        "pin_changed" => pin_changed(entry),
        "policy_changed" => format!("{} instead of {}", short(text("new")), short(text("old"))),
        "refused" => text("code").to_owned(),
        "ban_added" | "ban_removed" | "sessions_revoked" => {
            format!("{} ({}), by user id {}", text("selector"), text("say"), number("uid"))
        }
        "job_closed" => format!("{} job {}: {}", text("issuer"), number("job_id"), text("why")),
        "session_ended" => format!("{}: {}", text("why"), text("session")),
        "segments_archived" | "segments_removed" => {
            let whither =
                entry.more.get("to").and_then(Value::as_str).map(|to| format!(" to {to}")).unwrap_or_default();
            let (first, last) = (number("first"), number("last"));
            format!("records {first} to {last}{whither} ({}), {}", text("reason"), text("by"))
        }
        "tail_cut" => format!("{} unfinished bytes of {}", number("bytes"), text("segment")),
        "started" => text("version").to_owned(),
        "time_accepted" => format!("instead of {}: {}", text("instead_of"), text("reason")),
        "swept" => format!("{} records", number("records")),
        _ => String::new(),
    }
}

/// Whose a path is, whose it was, and who says so.
fn pin_changed(entry: &Received) -> String {
    let id = |name: &str| entry.more.get(name).and_then(Value::as_u64);
    let path = entry.more.get("path").and_then(Value::as_str).unwrap_or_default();
    let by: Option<PinnedBy> = serde_json::from_value(entry.more.clone().into()).ok();
    let by = by.map(|by| format!(" ({by})")).unwrap_or_default();
    match (id("old"), id("new")) {
        (None, Some(new)) => format!("{path} is project {new}{by}"),
        (Some(old), Some(new)) => format!("{path} is project {new}, was {old}{by}"),
        (Some(old), None) => format!("{path} is nobody's, was project {old}{by}"),
        (None, None) => String::new(),
    }
}

fn accept(journal: &Journal, reason: &str) -> anyhow::Result<ExitCode> {
    let Some(folder) = journal.folder()? else { return Ok(ExitCode::FAILURE) };
    let by = format!("uid {}", rustix::process::getuid().as_raw());
    let now = SystemClock.now();
    let said = match accept_time(&folder, now, &by, reason)? {
        Some(AcceptedTime { position, instead_of }) => format!(
            "record {position} accepts {} after {}; the server can be started",
            render::time(now),
            render::time(instead_of)
        ),
        None => "nothing to accept: no record is later than the clock".to_owned(),
    };
    render::say(&said)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(entry: Value) -> String {
        what(&serde_json::from_value(entry).unwrap())
    }

    #[test]
    fn each_kind_tells_what_matters_of_it() {
        let key = json!({
            "kind": "authority", "authority": "x509-intermediate", "key_id": "af5fdb1199", "step": "succeed",
            "generation": 2, "sequence": 7,
        });
        assert_eq!(told(key), "x509-intermediate af5fdb11 succeed, sequence 7");
        assert_eq!(told(json!({ "kind": "started", "version": "0.1.0" })), "0.1.0");
        assert_eq!(told(json!({ "kind": "refused", "code": "token_replayed" })), "token_replayed");
        let pin = json!({ "kind": "pin_changed", "path": "acme/api", "old": 1, "new": 2, "how": "operator", "uid": 7 });
        assert_eq!(told(pin), "acme/api is project 2, was 1 (uid 7)");
        assert_eq!(told(json!({ "kind": "of tomorrow" })), "");
    }

    #[test]
    fn a_request_is_found_by_what_a_terminal_shows_of_it() {
        assert!(RequestId::is_meant("0123abcd", "0123abcd99"));
        assert!(RequestId::is_meant("0123", "0123"));
        assert!(!RequestId::is_meant("0123abc", "0123abcd99"));
    }
}
