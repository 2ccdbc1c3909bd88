//! `lanyard audit archive`: old segments, moved elsewhere or removed; what is left still proves itself.

use super::audit::{Journal, Since, parse_since};
use super::render;
use super::verify::{key_of, lay_key};
use crate::clock::{Clock as _, SystemClock};
use crate::store::{ArchiveRequest, Archived, Segments, archive};
use std::path::PathBuf;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    journal: Journal,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    fate: Fate,
    /// Why; stands in the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// The segments whose last record is older: a span such as 90d, or a time such as 2026-11-21T05:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    before: Option<Since>,
    /// All closed segments but so many of the newest
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Fate {
    /// The folder they are copied to before they leave this one; it is laid out as a data folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// They are removed for good
    #[arg(long)]
    remove: bool,
}

/// Archives, and says what.
pub(super) fn run(Args { journal, which, fate, reason }: &Args) -> anyhow::Result<ExitCode> {
    let Some(folder) = journal.folder()? else { return Ok(ExitCode::FAILURE) };
    let segments = match (which.before, which.keep) {
        (Some(before), _) => Segments::Before(before.time()),
        (None, keep) => Segments::AllBut(keep.unwrap_or_default()),
    };
    // Where it is said to have gone must still be right when somebody reads it from elsewhere.
    let to = fate.to.as_ref().map(std::path::absolute).transpose()?;
    let (verifier, by) = (key_of(&folder)?, format!("uid {}", rustix::process::getuid().as_raw()));
    let request = ArchiveRequest { segments, to: to.as_deref(), verifier: &verifier, by: &by, reason };
    let Some(done) = archive(&folder, request, SystemClock.now())? else {
        render::say("nothing to archive: no closed segment is that old")?;
        return Ok(ExitCode::SUCCESS);
    };
    let Archived { segments, first, last, digest } = done;
    let (many, place) = (render::count(segments, "segment"), to.as_ref().map(|to| to.display().to_string()));
    let went = place.map_or_else(|| "removed".to_owned(), |place| format!("moved to {place}"));
    render::say(&format!("{many} {went}: records {first} to {last}, the last of digest {digest}"))?;
    if let Some(to) = to {
        lay_key(&to, &verifier)?;
    }
    Ok(ExitCode::SUCCESS)
}
