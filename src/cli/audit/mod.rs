//! `lanyard audit show|verify|archive|erase|accept-time`: the evidence. All but `erase` read the journal's own files; no server need run.

mod about;
mod erase;
mod followed;
mod place;
mod question;
mod row;
mod show;
#[cfg(test)]
mod tests;

pub(super) use place::{Journal, Place};

use super::{archive, render, verify};
use crate::clock::{Clock as _, SystemClock};
use crate::config::parse_duration;
use crate::store::{AcceptedTime, accept_time};
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The kinds of entries, as the journal writes them.
const KINDS: [&str; 35] = [
    "account_forgotten",
    "account_remembered",
    "authority",
    "ban_added",
    "ban_removed",
    "bundle_changed",
    "checkpoint",
    "crls_made",
    "federation_set",
    "holder_confirmed",
    "hook_refused",
    "intent",
    "issued",
    "job_closed",
    "observed",
    "operator_came",
    "orphan_deleted",
    "person_erased",
    "pin_changed",
    "policy_changed",
    "refused",
    "restored",
    "sealing_key_changed",
    "segments_archived",
    "segments_removed",
    "server_svid",
    "session_ended",
    "sessions_revoked",
    "started",
    "store_imported",
    "store_reconciled",
    "swept",
    "tail_cut",
    "time_accepted",
    "told_late",
];

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// What was decided: who got which identity, by which rule, what became of it, and who was refused
    Show {
        #[command(flatten)]
        journal: Journal,
        #[command(flatten)]
        question: Box<question::Args>,
        /// One JSON object a record, as it stands in the journal
        #[arg(long)]
        json: bool,
    },
    /// Whether the journal is whole: every record's digest, the chain between them, every checkpoint
    Verify(verify::Args),
    /// Moves old segments elsewhere, or removes them; what is left still proves itself. The server must be stopped
    Archive(archive::Args),
    /// Forgets a person: deletes the key that opens what the journal holds of them, and ends what lives of their jobs.
    ///
    /// For `[audit] people = "sealed"`, at the running server. No line of the journal changes, and `audit verify` says whole.
    Erase(erase::Args),
    /// Writes that the clock is right now, after records of a clock that once ran ahead; the server must be stopped
    AcceptTime {
        #[command(flatten)]
        journal: Journal,
        /// What happened to the clock; stands in the journal
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
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
pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Show { journal, question, json } => Box::pin(show::run(journal, question, *json)).await,
        Action::Verify(args) => verify::run(args),
        Action::Archive(args) => Box::pin(archive::run(args)).await,
        Action::Erase(args) => Box::pin(erase::run(args)).await,
        Action::AcceptTime { journal, reason } => accept(journal, reason),
    }
}

/// Enough of a name or a digest to tell it from its neighbours.
pub(super) fn short(name: &str) -> &str {
    name.get(..SHORT).unwrap_or(name)
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
        None => "nothing to accept: the last record is of this very time".to_owned(),
    };
    render::say(&said)?;
    Ok(ExitCode::SUCCESS)
}
