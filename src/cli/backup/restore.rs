//! `lanyard backup restore`: an archive into an empty data folder, and what its server does not know.

use super::command::of;
use crate::backup::{Restore, Restored, restore};
use crate::cli::audit::{Since, parse_since};
use crate::cli::failure::WrongUsage;
use crate::cli::remote::named_config;
use crate::cli::render;
use crate::clock::{Clock, SystemClock};
use crate::config::{SystemEnvironment, load_server};
use crate::server::open_places;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The backup
    file: PathBuf,
    #[arg(
        long,
        value_name = "FILE",
        help = "The configuration of the server to be; its data folder must be empty, but for the sealing key [env: LANYARD_CONFIG]"
    )]
    config: Option<PathBuf>,
    /// When the lost server surely did nothing more, such as 2026-11-21T05:00:00Z or 2h [default: now]. Tokens of before, and
    /// half a minute more, are refused; with the time of a stopped server's backup none is, since nothing was lost
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    accept_tokens_since: Option<Since>,
    /// Gives up records that a checkpoint outside tells of
    #[arg(long)]
    accept_loss: bool,
    /// Why; stands in the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Lays it down, and says what is to be done again.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { file, config, accept_tokens_since, accept_loss: accepts_loss, reason, json } = args;
    let config = named_config(config);
    let config =
        config.ok_or_else(|| WrongUsage::new("name the server's configuration: --config FILE, or LANYARD_CONFIG"))?;
    let settings = match load_server(&config, &SystemEnvironment) {
        Ok(settings) => settings,
        Err(problems) => {
            render::problems(&problems);
            return Ok(ExitCode::FAILURE);
        }
    };
    let stopped_at = accept_tokens_since.map(Since::time);
    if stopped_at.is_some_and(|at| at > SystemClock.now()) {
        return Err(
            WrongUsage::new("--accept-tokens-since is a time that has been: when the lost server stopped").into()
        );
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let asked = Restore {
        archive: &file,
        folder: &settings.folder(),
        sealing: &settings.keys.sealing,
        places: &open_places((settings.vault.as_ref(), &settings.keys.places), Arc::clone(&clock))?.1,
        checkpoints: &settings.checkpoints.signing,
        longest_ttl: settings.policy.longest_ttl(),
        people: settings.people,
        stopped_at,
        accepts_loss,
        uid: rustix::process::getuid().as_raw(),
        reason: &reason,
    };
    let done = restore(&asked, clock).await.map_err(of(&file))?;
    tell(&done, (&settings.data_dir, json))?;
    Ok(ExitCode::SUCCESS)
}

fn tell(done: &Restored, (folder, json): (&std::path::Path, bool)) -> anyhow::Result<()> {
    let Restored { head, refused_before, lost_upto, witness } = done;
    let (made_at, last) = (render::time(head.made_at), head.journal.last);
    if json {
        let before = refused_before.and_then(|before| before.format(&Rfc3339).ok());
        let told = json!({ "data_dir": folder, "head": head, "refused_before": before, "lost_upto": lost_upto, "witness": witness });
        return render::json(&told);
    }
    render::say(&format!(
        "{} is as it was at {made_at}, up to record {last}; a server can be started on it",
        folder.display()
    ))?;
    if let (Some(lost), Some(witness)) = (lost_upto, witness) {
        let first = last + 1;
        render::say(&format!(
            "records {first} to {lost} are lost; what told of them is kept as {}",
            witness.display()
        ))?;
    }
    let Some(before) = refused_before else { return render::say("nothing was lost: what lived then lives on") };
    let before = render::time(*before);
    render::say(&format!(
        "tokens from before {before} are refused, and sessions of before are over: retry those jobs"
    ))?;
    render::aside(&format!(
        "what was done between {made_at} and {before} is not known here, so do it again: bans, revocations, erasures, pins, \
         and steps of `lanyard authority`. Keys made since then are lost: what they signed is not believed any more"
    ));
    Ok(())
}
